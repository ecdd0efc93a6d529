//! Input through a callback: FFmpeg asks for bytes at a place and never opens anything itself.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ffmpeg_next::ffi;

use crate::error::{Result, no_memory};

/// Bytes at any place of one source of known length.
pub trait ReadAt: Send {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the source has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at most `buffer.len()` bytes at `offset`; 0 only at the end.
    ///
    /// # Errors
    /// Whatever the transport gives; FFmpeg sees `EIO`, and the error itself is kept for the caller of the demuxer.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// Bytes FFmpeg asks for at a time.
const BUFFER: usize = 256 * 1024;

struct State {
    source: Box<dyn ReadAt>,
    position: u64,
    error: Option<io::Error>,
}

/// An `AVIOContext` over a [`ReadAt`].
pub(crate) struct Input {
    context: *mut ffi::AVIOContext,
    state: *mut State,
}

// SAFETY: both pointers are owned by this value alone, and `ReadAt` is `Send`.
unsafe impl Send for Input {}

impl Input {
    pub(crate) fn new(source: Box<dyn ReadAt>) -> Result<Self> {
        let state = Box::into_raw(Box::new(State { source, position: 0, error: None }));
        // SAFETY: the buffer comes from av_malloc as avio_alloc_context asks; `state` lives until `Drop`, after the
        // context that holds it is gone.
        let context = unsafe {
            let buffer = ffi::av_malloc(BUFFER);
            if buffer.is_null() {
                std::ptr::null_mut()
            } else {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_possible_wrap,
                    reason = "a constant of 256 KiB"
                )]
                let context = ffi::avio_alloc_context(
                    buffer.cast(),
                    BUFFER as i32,
                    0,
                    state.cast(),
                    Some(read),
                    None,
                    Some(seek),
                );
                if context.is_null() {
                    ffi::av_free(buffer);
                }
                context
            }
        };
        let input = Self { context, state };
        if context.is_null() { Err(no_memory("open input")) } else { Ok(input) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::AVIOContext {
        self.context
    }

    /// The error of the last failed read, once.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        // SAFETY: `state` is owned by this value; the callbacks run only inside calls on the same thread that also
        // need `&mut` to the demuxer, so none runs now.
        unsafe { (*self.state).error.take() }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: the context and its (possibly exchanged) buffer were made by `new` and are freed once; `state` came
        // from Box::into_raw.
        unsafe {
            if !self.context.is_null() {
                ffi::av_freep((&raw mut (*self.context).buffer).cast());
                ffi::avio_context_free(&raw mut self.context);
            }
            drop(Box::from_raw(self.state));
        }
    }
}

unsafe extern "C" fn read(opaque: *mut libc::c_void, buffer: *mut u8, size: i32) -> i32 {
    // SAFETY: FFmpeg passes back the `State` of `Input::new`, which is alive while the context is, and a buffer that
    // is valid for `size` bytes; no other reference to the state exists during the callback.
    let (state, buffer) = unsafe {
        let Ok(size) = usize::try_from(size) else { return ffi::AVERROR(libc::EINVAL) };
        (&mut *opaque.cast::<State>(), std::slice::from_raw_parts_mut(buffer, size))
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| state.source.read_at(state.position, buffer)));
    match outcome {
        Ok(Ok(0)) => ffi::AVERROR_EOF,
        Ok(Ok(n)) if n <= buffer.len() => {
            state.position += n as u64;
            i32::try_from(n).unwrap_or(ffi::AVERROR(libc::EIO))
        }
        Ok(Ok(_)) | Err(_) => {
            state.error = Some(io::Error::other("the source broke its contract"));
            ffi::AVERROR(libc::EIO)
        }
        Ok(Err(error)) => {
            state.error = Some(error);
            ffi::AVERROR(libc::EIO)
        }
    }
}

unsafe extern "C" fn seek(opaque: *mut libc::c_void, offset: i64, whence: i32) -> i64 {
    // SAFETY: as in `read`.
    let state = unsafe { &mut *opaque.cast::<State>() };
    let Ok(length) = i64::try_from(state.source.len()) else { return i64::from(ffi::AVERROR(libc::EIO)) };
    // AVSEEK_FORCE (0x20000) may be or-ed in and changes nothing here.
    let target = match whence & !0x20000 {
        ffi::AVSEEK_SIZE => return length,
        libc::SEEK_SET => Some(offset),
        libc::SEEK_CUR => i64::try_from(state.position).ok().and_then(|p| p.checked_add(offset)),
        libc::SEEK_END => length.checked_add(offset),
        _ => None,
    };
    match target.and_then(|t| u64::try_from(t).ok()) {
        Some(position) => {
            state.position = position;
            target.unwrap_or_default()
        }
        None => i64::from(ffi::AVERROR(libc::EINVAL)),
    }
}
