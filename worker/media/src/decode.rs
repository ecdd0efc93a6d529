//! Decoders.

use ffmpeg_next::ffi;

use crate::demux::{CODECS, StreamParameters};
use crate::device::CudaDevice;
use crate::error::{Error, Received, Result, check, no_memory, received};
use crate::options::Dictionary;
use crate::{Frame, Packet};

/// Largest picture that is decoded, in pixels: 8K.
pub const MAX_PIXELS: u32 = 7680 * 4320;

/// Pictures of a GPU decoder that may be held outside of it: three in a deinterlacer or two whose time on screen is not
/// known yet, and those on their way. NVDEC has no more than 32 for everything, references and reordering included, and
/// does not open when asked for more (libavcodec/nvdec.c); so whoever keeps pictures longer keeps copies.
const HELD_GPU_PICTURES: i32 = 6;

/// A video or audio decoder.
#[derive(Debug)]
pub struct Decoder {
    context: *mut ffi::AVCodecContext,
}

// SAFETY: owned by this value alone; FFmpeg contexts may move between threads.
unsafe impl Send for Decoder {}

impl Decoder {
    /// Opens a decoder for a stream. `threads` is 1 for one slot of many; with a GPU, pictures that it can decode stay
    /// there, and the others come in memory.
    ///
    /// # Errors
    /// No decoder for the codec, or it refuses the stream's headers.
    pub fn open(stream: &StreamParameters, threads: i32, gpu: Option<&CudaDevice>) -> Result<Self> {
        let op = "open decoder";
        // SAFETY: the parameters are valid for the call; the context is owned by `decoder` from its allocation on, so
        // every early return frees it.
        unsafe {
            let codec = ffi::avcodec_find_decoder((*stream.as_ptr()).codec_id);
            if codec.is_null() {
                return Err(Error::new(op, ffi::AVERROR_DECODER_NOT_FOUND));
            }
            let context = ffi::avcodec_alloc_context3(codec);
            if context.is_null() {
                return Err(no_memory(op));
            }
            let decoder = Self { context };
            check(op, ffi::avcodec_parameters_to_context(context, stream.as_ptr()))?;
            (*context).pkt_timebase = stream.time_base.into();
            (*context).thread_count = threads;
            (*context).max_pixels = i64::from(MAX_PIXELS);
            (*context).max_samples = 1 << 20;
            if let Some(gpu) = gpu {
                (*context).hw_device_ctx = gpu.reference();
                (*context).get_format = Some(prefer_cuda);
                (*context).extra_hw_frames = HELD_GPU_PICTURES;
            }
            let mut options = Dictionary::new(&[("codec_whitelist", CODECS)])?;
            check(op, ffi::avcodec_open2(context, codec, options.as_mut()))?;
            Ok(decoder)
        }
    }

    /// Gives one packet. The caller has taken all frames before, so it is never refused for lack of room.
    ///
    /// # Errors
    /// The packet is damaged; the decoder can go on with the next.
    pub fn send(&mut self, packet: &Packet) -> Result<()> {
        // SAFETY: both are valid; the decoder takes its own reference.
        check("decode", unsafe { ffi::avcodec_send_packet(self.context, packet.as_ptr()) }).map(drop)
    }

    /// Says that no packet follows.
    ///
    /// # Errors
    /// The decoder was told before.
    pub fn send_end(&mut self) -> Result<()> {
        // SAFETY: a null packet means the end.
        check("decode", unsafe { ffi::avcodec_send_packet(self.context, std::ptr::null()) }).map(drop)
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// The frame is damaged beyond use; the decoder can go on.
    pub fn receive(&mut self) -> Result<Received<Frame>> {
        let frame = Frame::new()?;
        // SAFETY: both are valid.
        let code = unsafe { ffi::avcodec_receive_frame(self.context, frame.as_ptr()) };
        received("decode", code, frame)
    }

    /// Description of the sound that comes out, as the filter `abuffer` wants it; known after the first frame.
    #[must_use]
    pub fn sound_format(frame: &Frame) -> SoundFormat {
        let raw = frame.raw();
        let mut text = [0u8; 64];
        // SAFETY: the layout belongs to the frame, the buffer is valid for its length and always terminated; the
        // sample format number comes from FFmpeg.
        let layout = unsafe {
            ffi::av_channel_layout_describe(&raw const raw.ch_layout, text.as_mut_ptr().cast(), text.len());
            std::ffi::CStr::from_bytes_until_nul(&text).map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
        };
        SoundFormat { rate: raw.sample_rate, format: raw.format, channels: raw.ch_layout.nb_channels, layout }
    }
}

/// Sound as a decoder gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundFormat {
    /// Samples a second.
    pub rate: i32,
    /// FFmpeg's number of the sample format.
    pub format: i32,
    /// Channels.
    pub channels: i32,
    /// FFmpeg's name of the channel layout, for example `5.1`.
    pub layout: String,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::avcodec_free_context(&raw mut self.context) }
    }
}

/// Takes the GPU when it offers itself for pictures of a kind that every GPU decodes (4:2:0), else the first format in
/// memory. To try the others would cost log lines that count as damage.
unsafe extern "C" fn prefer_cuda(
    _context: *mut ffi::AVCodecContext,
    mut formats: *const ffi::AVPixelFormat,
) -> ffi::AVPixelFormat {
    let (mut cuda, mut halved) = (false, false);
    let mut in_memory = ffi::AVPixelFormat::AV_PIX_FMT_NONE;
    // SAFETY: FFmpeg passes a list that ends with AV_PIX_FMT_NONE; descriptors are static.
    unsafe {
        while *formats != ffi::AVPixelFormat::AV_PIX_FMT_NONE {
            cuda |= *formats == ffi::AVPixelFormat::AV_PIX_FMT_CUDA;
            let descriptor = ffi::av_pix_fmt_desc_get(*formats).as_ref();
            let hardware = descriptor.is_some_and(|d| d.flags & u64::from(ffi::AV_PIX_FMT_FLAG_HWACCEL as u32) != 0);
            if in_memory == ffi::AVPixelFormat::AV_PIX_FMT_NONE && !hardware {
                in_memory = *formats;
                halved = descriptor.is_some_and(|d| (d.log2_chroma_w, d.log2_chroma_h) == (1, 1));
            }
            formats = formats.add(1);
        }
    }
    if cuda && halved { ffi::AVPixelFormat::AV_PIX_FMT_CUDA } else { in_memory }
}
