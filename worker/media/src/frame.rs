//! A reference-counted picture or block of sound.

use std::ffi::CStr;

use ffmpeg_next::ffi;

use crate::compat;
use crate::error::{Result, check, no_memory};
use crate::packet::known;
use crate::{Error, Rational};

/// A decoded, filtered or to-be-encoded frame. [`share`](Frame::share) is cheap: pictures are never copied on the CPU
/// and never leave the GPU by it.
#[derive(Debug)]
pub struct Frame(*mut ffi::AVFrame);

// SAFETY: owned by this value alone; the reference counts of its buffers are atomic.
unsafe impl Send for Frame {}

/// What must stay the same for one filter graph to serve several frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureShape {
    /// Coded width in pixels.
    pub width: i32,
    /// Coded height in pixels.
    pub height: i32,
    /// FFmpeg's number of the pixel format.
    pub format: i32,
    /// Sample aspect ratio.
    pub aspect: Rational,
    /// Numbers of range, matrix, primaries and transfer.
    pub colour: [u32; 4],
}

impl Frame {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: allocation; checked.
        let frame = unsafe { ffi::av_frame_alloc() };
        if frame.is_null() { Err(no_memory("allocate frame")) } else { Ok(Self(frame)) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::AVFrame {
        self.0
    }

    pub(crate) fn raw(&self) -> &ffi::AVFrame {
        // SAFETY: never null after `new`, freed only in `Drop`.
        unsafe { &*self.0 }
    }

    fn raw_mut(&mut self) -> &mut ffi::AVFrame {
        // SAFETY: as in `raw`, and `&mut self` is exclusive.
        unsafe { &mut *self.0 }
    }

    /// A second reference to the same picture.
    ///
    /// # Errors
    /// Out of memory.
    pub fn share(&self) -> Result<Self> {
        // SAFETY: the source frame is valid; the result is checked.
        let frame = unsafe { ffi::av_frame_clone(self.0) };
        if frame.is_null() { Err(no_memory("share frame")) } else { Ok(Self(frame)) }
    }

    /// Presentation time in the time base of whoever made the frame.
    #[must_use]
    pub fn pts(&self) -> Option<i64> {
        known(self.raw().pts)
    }

    /// The decoder's best guess of the presentation time.
    #[must_use]
    pub fn best_effort_pts(&self) -> Option<i64> {
        known(self.raw().best_effort_timestamp).or_else(|| self.pts())
    }

    /// Sets the presentation time.
    pub fn set_pts(&mut self, pts: i64) {
        self.raw_mut().pts = pts;
    }

    /// Asks the encoder for an IDR here, or leaves the choice to it. Decoded frames carry the picture type of the
    /// source, which an encoder would otherwise take for an order.
    pub fn set_idr(&mut self, idr: bool) {
        self.raw_mut().pict_type =
            if idr { ffi::AVPictureType::AV_PICTURE_TYPE_I } else { ffi::AVPictureType::AV_PICTURE_TYPE_NONE };
    }

    /// Duration in the time base of the stream; 0 when unknown.
    #[must_use]
    pub fn duration(&self) -> i64 {
        compat::duration(self.raw())
    }

    /// Whether the picture holds two fields.
    #[must_use]
    pub fn is_interlaced(&self) -> bool {
        compat::is_interlaced(self.raw())
    }

    /// Whether the decoder found the picture damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.raw().decode_error_flags != 0
    }

    /// Whether the picture lives on a GPU.
    #[must_use]
    pub fn is_on_gpu(&self) -> bool {
        !self.raw().hw_frames_ctx.is_null()
    }

    /// What a filter graph was built for.
    #[must_use]
    pub fn shape(&self) -> PictureShape {
        let raw = self.raw();
        PictureShape {
            width: raw.width,
            height: raw.height,
            format: raw.format,
            aspect: raw.sample_aspect_ratio.into(),
            colour: [raw.color_range as u32, raw.colorspace as u32, raw.color_primaries as u32, raw.color_trc as u32],
        }
    }

    /// Name of the pixel format, for example `yuv420p`; for a GPU picture, that of what the GPU holds.
    #[must_use]
    pub fn pixel_format(&self) -> String {
        let raw = self.raw();
        if raw.hw_frames_ctx.is_null() {
            return pixel_format_name(raw.format);
        }
        // SAFETY: `data` of a hardware frames reference is an AVHWFramesContext (libavutil/hwcontext.h).
        let format = unsafe { (*(*raw.hw_frames_ctx).data.cast::<ffi::AVHWFramesContext>()).sw_format };
        pixel_format_name(format as i32)
    }

    /// The picture copied from the GPU to memory.
    ///
    /// # Errors
    /// The transfer fails.
    pub fn download(&self) -> Result<Self> {
        let target = Self::new()?;
        // SAFETY: both frames are valid; the call allocates the target's buffers.
        check("download frame", unsafe { ffi::av_hwframe_transfer_data(target.0, self.0, 0) })?;
        // SAFETY: copies times and colour between two valid frames.
        check("download frame", unsafe { ffi::av_frame_copy_props(target.0, self.0) })?;
        Ok(target)
    }

    /// Tightly packed RGB of a picture in `rgb24`: `3 × width × height` bytes.
    ///
    /// # Errors
    /// The picture has another format.
    pub fn rgb24(&self) -> Result<(u32, u32, Vec<u8>)> {
        let raw = self.raw();
        let bad = || Error::with("read picture", ffi::AVERROR(libc::EINVAL), "not an rgb24 picture in memory");
        if raw.format != ffi::AVPixelFormat::AV_PIX_FMT_RGB24 as i32 || raw.data[0].is_null() {
            return Err(bad());
        }
        let (Ok(width), Ok(height), Ok(stride)) =
            (u32::try_from(raw.width), u32::try_from(raw.height), usize::try_from(raw.linesize[0]))
        else {
            return Err(bad());
        };
        let row = width as usize * 3;
        if stride < row {
            return Err(bad());
        }
        let mut pixels = Vec::with_capacity(row * height as usize);
        for y in 0..height as usize {
            // SAFETY: an rgb24 frame has `height` rows of `stride` ≥ `row` bytes from data[0] on.
            pixels.extend_from_slice(unsafe { std::slice::from_raw_parts(raw.data[0].add(y * stride), row) });
        }
        Ok((width, height, pixels))
    }

    /// The two channels of planar 32-bit float stereo sound.
    ///
    /// # Errors
    /// The frame has another format.
    pub fn stereo(&self) -> Result<[&[f32]; 2]> {
        let raw = self.raw();
        let planar = raw.format == ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP as i32
            && raw.ch_layout.nb_channels == 2
            && !raw.extended_data.is_null();
        let (Ok(samples), true) = (usize::try_from(raw.nb_samples), planar) else {
            return Err(Error::with("read sound", ffi::AVERROR(libc::EINVAL), "not planar float stereo"));
        };
        // SAFETY: planar float with two channels has two planes of `nb_samples` floats, aligned by av_malloc.
        Ok([0, 1].map(|c| unsafe { std::slice::from_raw_parts((*raw.extended_data.add(c)).cast::<f32>(), samples) }))
    }

    /// A frame of planar float stereo, both channels of equal length, at `rate` samples a second.
    ///
    /// # Errors
    /// Out of memory.
    pub fn from_stereo(channels: [&[f32]; 2], rate: i32, pts: i64) -> Result<Self> {
        let samples = channels[0].len().min(channels[1].len());
        let mut frame = Self::new()?;
        let raw = frame.raw_mut();
        raw.format = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP as i32;
        raw.nb_samples = i32::try_from(samples).map_err(|_| no_memory("allocate sound"))?;
        raw.sample_rate = rate;
        raw.pts = pts;
        // SAFETY: writes the native stereo layout into the frame's own field, and allocates two planes for it.
        unsafe {
            ffi::av_channel_layout_default(&raw mut raw.ch_layout, 2);
            check("allocate sound", ffi::av_frame_get_buffer(frame.0, 0))?;
            for (c, channel) in channels.iter().enumerate() {
                let plane = (*(*frame.0).extended_data.add(c)).cast::<f32>();
                std::ptr::copy_nonoverlapping(channel.as_ptr(), plane, samples);
            }
        }
        Ok(frame)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::av_frame_free(&raw mut self.0) }
    }
}

/// Name of a pixel format number that FFmpeg gave; `unknown` when there is none.
pub(crate) fn pixel_format_name(format: i32) -> String {
    if format < 0 {
        return "unknown".to_owned();
    }
    // SAFETY: the number comes from the linked FFmpeg, whose headers the enum was generated from; the descriptor
    // lookup checks its range and the name is a static string.
    unsafe {
        let name = ffi::av_get_pix_fmt_name(std::mem::transmute::<i32, ffi::AVPixelFormat>(format));
        if name.is_null() { "unknown".to_owned() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
    }
}
