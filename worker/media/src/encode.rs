//! Encoders.

use ffmpeg_next::ffi;

use crate::device::GpuFrames;
use crate::error::{Error, Received, Result, c_string, check, no_memory, received};
use crate::options::Dictionary;
use crate::{Frame, Packet, Rational};

/// Everything an encoder is opened with. Times of frames and packets are counted in frames (time base 1/rate).
#[derive(Clone, Debug, PartialEq)]
pub struct VideoSettings {
    /// FFmpeg's name of the encoder, for example `libx264`.
    pub encoder: String,
    /// Width in pixels, even.
    pub width: i32,
    /// Height in pixels, even.
    pub height: i32,
    /// Frames per second.
    pub rate: Rational,
    /// Pixel format in memory, for example `yuv420p`; not used for GPU pictures.
    pub pixel_format: String,
    /// Average bit rate in bit/s; 0 for pure constant quality.
    pub bit_rate: i64,
    /// VBV rate in bit/s.
    pub max_rate: i64,
    /// VBV size in bits.
    pub buffer_bits: i32,
    /// Longest distance of IDR frames, in frames.
    pub gop: i32,
    /// Numbers of range, matrix, primaries and transfer to signal; see [`PictureShape`](crate::frame::PictureShape).
    pub colour: [u32; 4],
    /// Private options, checked: an unknown one is an error.
    pub options: Vec<(String, String)>,
}

/// A video or audio encoder.
#[derive(Debug)]
pub struct Encoder {
    context: *mut ffi::AVCodecContext,
}

// SAFETY: owned by this value alone; FFmpeg contexts may move between threads.
unsafe impl Send for Encoder {}

impl Encoder {
    fn allocate(op: &'static str, name: &str) -> Result<(Self, *const ffi::AVCodec)> {
        let c_name = c_string(op, name)?;
        // SAFETY: the name is valid for the call, codecs are static, the context is owned by the result.
        unsafe {
            let codec = ffi::avcodec_find_encoder_by_name(c_name.as_ptr());
            if codec.is_null() {
                return Err(Error::with(op, ffi::AVERROR_ENCODER_NOT_FOUND, name));
            }
            let context = ffi::avcodec_alloc_context3(codec);
            if context.is_null() { Err(no_memory(op)) } else { Ok((Self { context }, codec)) }
        }
    }

    /// Opens a video encoder; with `gpu` it takes pictures of that pool, else pictures in memory.
    ///
    /// # Errors
    /// The encoder is missing, refuses an option, or (GPU) has no session free: see [`Error::is_out_of_memory`].
    pub fn video(settings: &VideoSettings, gpu: Option<&GpuFrames>) -> Result<Self> {
        let op = "open encoder";
        let (encoder, codec) = Self::allocate(op, &settings.encoder)?;
        let pixel_format = c_string(op, &settings.pixel_format)?;
        let mut options = Dictionary::new(&settings.options)?;
        // SAFETY: plain fields of a context that is owned and not yet open; the references given away are fresh; the
        // colour numbers come from frames and stream parameters of the same FFmpeg, so they are valid enum values.
        unsafe {
            let context = &mut *encoder.context;
            context.width = settings.width;
            context.height = settings.height;
            context.time_base = ffi::AVRational { num: settings.rate.den, den: settings.rate.num };
            context.framerate = settings.rate.into();
            context.sample_aspect_ratio = ffi::AVRational { num: 1, den: 1 };
            context.bit_rate = settings.bit_rate;
            context.rc_max_rate = settings.max_rate;
            context.rc_buffer_size = settings.buffer_bits;
            context.gop_size = settings.gop;
            context.thread_count = 1;
            // Setting GLOBAL_HEADER alone would clear x264's default CLOSED_GOP and open the GOPs.
            context.flags |= (ffi::AV_CODEC_FLAG_GLOBAL_HEADER | ffi::AV_CODEC_FLAG_CLOSED_GOP) as i32;
            let [range, matrix, primaries, transfer] = settings.colour;
            context.color_range = std::mem::transmute::<u32, ffi::AVColorRange>(range);
            context.colorspace = std::mem::transmute::<u32, ffi::AVColorSpace>(matrix);
            context.color_primaries = std::mem::transmute::<u32, ffi::AVColorPrimaries>(primaries);
            context.color_trc = std::mem::transmute::<u32, ffi::AVColorTransferCharacteristic>(transfer);
            match gpu {
                Some(frames) => {
                    context.pix_fmt = ffi::AVPixelFormat::AV_PIX_FMT_CUDA;
                    context.hw_frames_ctx = frames.reference();
                }
                None => context.pix_fmt = ffi::av_get_pix_fmt(pixel_format.as_ptr()),
            }
            let code = ffi::avcodec_open2(encoder.context, codec, options.as_mut());
            check(op, code).map_err(|e| Error::with(op, e.code, settings.encoder.clone()))?;
        }
        options.expect_used(op)?;
        Ok(encoder)
    }

    /// Opens the AAC-LC encoder: planar float stereo in, 1024 samples a frame.
    ///
    /// # Errors
    /// The encoder refuses the rate.
    pub fn aac(sample_rate: i32, bit_rate: i64) -> Result<Self> {
        let op = "open AAC encoder";
        let (encoder, codec) = Self::allocate(op, "aac")?;
        // SAFETY: plain fields of a context that is owned and not yet open.
        unsafe {
            let context = &mut *encoder.context;
            context.sample_rate = sample_rate;
            context.sample_fmt = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
            ffi::av_channel_layout_default(&raw mut context.ch_layout, 2);
            context.bit_rate = bit_rate;
            context.time_base = ffi::AVRational { num: 1, den: sample_rate };
            context.flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as i32;
            check(op, ffi::avcodec_open2(encoder.context, codec, std::ptr::null_mut()))?;
        }
        Ok(encoder)
    }

    /// Gives one frame, whose `pts` is its number. The caller has taken all packets before.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        // SAFETY: both are valid; the encoder takes its own reference.
        check("encode", unsafe { ffi::avcodec_send_frame(self.context, frame.as_ptr()) }).map(drop)
    }

    /// Says that no frame follows.
    ///
    /// # Errors
    /// The encoder was told before.
    pub fn send_end(&mut self) -> Result<()> {
        // SAFETY: a null frame means the end.
        check("encode", unsafe { ffi::avcodec_send_frame(self.context, std::ptr::null()) }).map(drop)
    }

    /// Takes one packet.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn receive(&mut self) -> Result<Received<Packet>> {
        let packet = Packet::new()?;
        // SAFETY: both are valid.
        let code = unsafe { ffi::avcodec_receive_packet(self.context, packet.as_ptr()) };
        received("encode", code, packet)
    }

    pub(crate) fn context(&self) -> *const ffi::AVCodecContext {
        self.context
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::avcodec_free_context(&raw mut self.context) }
    }
}
