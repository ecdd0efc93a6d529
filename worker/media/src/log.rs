//! `av_log` → `tracing`, with a limit, because a damaged file can print a line per macroblock.

use std::ffi::CStr;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use ffmpeg_next::ffi;

/// Lines a second that are passed on; the rest are counted.
const LINES_PER_SECOND: u64 = 20;

static SECOND: AtomicU64 = AtomicU64::new(0);
static LINES: AtomicU64 = AtomicU64::new(0);
static DECODER_ERRORS: AtomicU64 = AtomicU64::new(0);
static CONTAINER_ERRORS: AtomicU64 = AtomicU64::new(0);

/// Sends FFmpeg's log lines to `tracing` (target `ffmpeg`) from now on; process-wide.
pub fn to_tracing() {
    // SAFETY: the callback is a plain function that lives for ever, and may be called from any thread.
    unsafe { ffi::av_log_set_callback(Some(callback)) }
}

/// Lines at error level from decoders since the start of the process, also those that the limit swallowed: decoders
/// hide what they could not read, and only say so.
#[must_use]
pub fn decoder_errors() -> u64 {
    DECODER_ERRORS.load(Relaxed)
}

/// The same of demuxers.
#[must_use]
pub fn container_errors() -> u64 {
    CONTAINER_ERRORS.load(Relaxed)
}

/// The counter for errors of a log context's kind.
///
/// # Safety
/// `context` must be null or what FFmpeg passed to a log callback.
unsafe fn counter(context: *mut libc::c_void) -> Option<&'static AtomicU64> {
    if context.is_null() {
        return None;
    }
    // SAFETY: a log context is a struct whose first field points to its AVClass (libavutil/log.h), or null.
    let category = unsafe {
        let class = *context.cast::<*const ffi::AVClass>();
        if class.is_null() {
            return None;
        }
        match (*class).get_category {
            Some(get) => get(context),
            None => (*class).category,
        }
    };
    match category {
        ffi::AVClassCategory::AV_CLASS_CATEGORY_DECODER => Some(&DECODER_ERRORS),
        ffi::AVClassCategory::AV_CLASS_CATEGORY_DEMUXER => Some(&CONTAINER_ERRORS),
        _ => None,
    }
}

unsafe extern "C" fn callback(
    context: *mut libc::c_void,
    level: i32,
    format: *const libc::c_char,
    arguments: *mut ffi::__va_list_tag,
) {
    if level > ffi::AV_LOG_INFO {
        return;
    }
    if level <= ffi::AV_LOG_ERROR {
        // SAFETY: the context is as FFmpeg gave it.
        if let Some(counter) = unsafe { counter(context) } {
            counter.fetch_add(1, Relaxed);
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    if SECOND.swap(now, Relaxed) != now {
        let dropped = LINES.swap(0, Relaxed).saturating_sub(LINES_PER_SECOND);
        if dropped > 0 {
            tracing::warn!(target: "ffmpeg", dropped, "left out {dropped} lines");
        }
    }
    if LINES.fetch_add(1, Relaxed) >= LINES_PER_SECOND {
        return;
    }
    let mut line = [0u8; 512];
    let mut prefix = 1;
    // SAFETY: context, format and arguments are passed on as FFmpeg gave them; the buffer is valid for its length and
    // always terminated.
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a constant of 512")]
    unsafe {
        ffi::av_log_format_line2(
            context,
            level,
            format,
            arguments,
            line.as_mut_ptr().cast(),
            line.len() as i32,
            &raw mut prefix,
        );
    }
    // Nothing may unwind into C; a subscriber that panics loses the line.
    let outcome = catch_unwind(|| {
        let text = CStr::from_bytes_until_nul(&line).map(CStr::to_string_lossy).unwrap_or_default();
        let text = text.trim_end();
        match level {
            l if l <= ffi::AV_LOG_ERROR => tracing::warn!(target: "ffmpeg", "{text}"),
            l if l <= ffi::AV_LOG_WARNING => tracing::info!(target: "ffmpeg", "{text}"),
            _ => tracing::debug!(target: "ffmpeg", "{text}"),
        }
    });
    if outcome.is_err() {
        LINES.fetch_add(1, Relaxed);
    }
}
