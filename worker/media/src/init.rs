//! CMAF init segments, written by libavformat: it knows `avcC`, `hvcC` and `esds` best.

use ffmpeg_next::ffi;

use crate::demux::StreamParameters;
use crate::encode::Encoder;
use crate::error::{Error, Result, c_string, check, no_memory};
use crate::options::Dictionary;

/// The init segment of an encoder's output. `timescale` is in ticks per second; `language` is ISO 639-2 or empty.
///
/// # Errors
/// The muxer refuses the codec.
pub fn of_encoder(encoder: &Encoder, timescale: u32, language: &str) -> Result<Vec<u8>> {
    write(timescale, language, |parameters| {
        // SAFETY: both are valid; the call copies.
        check("write init segment", unsafe { ffi::avcodec_parameters_from_context(parameters, encoder.context()) })
            .map(drop)
    })
}

/// The init segment of a stream whose packets are copied.
///
/// # Errors
/// The muxer refuses the codec.
pub fn of_stream(stream: &StreamParameters, timescale: u32, language: &str) -> Result<Vec<u8>> {
    write(timescale, language, |parameters| {
        // SAFETY: both are valid; the call copies.
        check("write init segment", unsafe { ffi::avcodec_parameters_copy(parameters, stream.as_ptr()) })?;
        // SAFETY: plain field; a rotation or edit of the source must not reach the output.
        unsafe { (*parameters).codec_tag = 0 };
        Ok(())
    })
}

fn write(
    timescale: u32,
    language: &str,
    fill: impl FnOnce(*mut ffi::AVCodecParameters) -> Result<()>,
) -> Result<Vec<u8>> {
    let op = "write init segment";
    let ticks = i32::try_from(timescale).map_err(|_| Error::with(op, ffi::AVERROR(libc::EINVAL), "time scale"))?;
    let mut muxer = Muxer::open(op)?;
    let language = c_string(op, language)?;
    // SAFETY: the stream belongs to the muxer that is owned here; the dictionary entry is copied.
    unsafe {
        let stream = ffi::avformat_new_stream(muxer.context, std::ptr::null());
        if stream.is_null() {
            return Err(no_memory(op));
        }
        fill((*stream).codecpar)?;
        // HLS asks for hvc1: parameter sets in the sample entry only.
        if (*(*stream).codecpar).codec_id == ffi::AVCodecID::AV_CODEC_ID_HEVC {
            (*(*stream).codecpar).codec_tag = u32::from_le_bytes(*b"hvc1");
        }
        (*stream).time_base = ffi::AVRational { num: 1, den: ticks };
        if !language.is_empty() {
            check(op, ffi::av_dict_set(&raw mut (*stream).metadata, c"language".as_ptr(), language.as_ptr(), 0))?;
        }
    }
    let mut options = Dictionary::new(&[
        ("movflags", "+empty_moov+default_base_moof+skip_trailer+cmaf"),
        ("use_editlist", "0"),
        ("video_track_timescale", &timescale.to_string()),
        ("fflags", "+bitexact"),
    ])?;
    // SAFETY: the muxer is complete; options are consumed entry by entry.
    check(op, unsafe { ffi::avformat_write_header(muxer.context, options.as_mut()) })?;
    options.expect_used(op)?;
    Ok(muxer.take_bytes())
}

struct Muxer {
    context: *mut ffi::AVFormatContext,
}

impl Muxer {
    fn open(op: &'static str) -> Result<Self> {
        let mut muxer = Self { context: std::ptr::null_mut() };
        // SAFETY: both calls write fresh objects into fields that `Drop` frees.
        unsafe {
            check(
                op,
                ffi::avformat_alloc_output_context2(
                    &raw mut muxer.context,
                    std::ptr::null_mut(),
                    c"mp4".as_ptr(),
                    std::ptr::null(),
                ),
            )?;
            check(op, ffi::avio_open_dyn_buf(&raw mut (*muxer.context).pb))?;
        }
        Ok(muxer)
    }

    fn take_bytes(&mut self) -> Vec<u8> {
        let mut data = std::ptr::null_mut();
        // SAFETY: closes the memory buffer that `open` made; the returned block has `size` bytes and is freed here.
        unsafe {
            ffi::avio_flush((*self.context).pb);
            let size = ffi::avio_close_dyn_buf((*self.context).pb, &raw mut data);
            (*self.context).pb = std::ptr::null_mut();
            let bytes = match usize::try_from(size) {
                Ok(size) if !data.is_null() => std::slice::from_raw_parts(data, size).to_vec(),
                _ => Vec::new(),
            };
            ffi::av_free(data.cast());
            bytes
        }
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        if self.context.is_null() {
            return;
        }
        // SAFETY: owned; an open memory buffer is closed first, and the context freed once.
        unsafe {
            if !(*self.context).pb.is_null() {
                let mut data = std::ptr::null_mut();
                ffi::avio_close_dyn_buf((*self.context).pb, &raw mut data);
                ffi::av_free(data.cast());
                (*self.context).pb = std::ptr::null_mut();
            }
            ffi::avformat_free_context(self.context);
        }
    }
}
