//! Demuxing: containers and codecs from an allow list, nothing opened by name.

mod facts;
mod parameters;

use std::ffi::CStr;
use std::io;

use ffmpeg_next::ffi;

pub use self::facts::{StreamFacts, StreamKind};
pub use self::parameters::StreamParameters;
use crate::Packet;
use crate::decode::MAX_PIXELS;
use crate::error::{Error, Received, Result, check, no_memory, received};
use crate::io::{Input, ReadAt};
use crate::options::Dictionary;
use crate::packet::known;

/// Which of FFmpeg's demuxers a source is offered. Which one it is for is found before, without FFmpeg: the demuxer of
/// boxes gets only files whose boxes were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containers {
    /// MP4 and MOV.
    Boxes,
    /// The other containers that are accepted.
    Others,
    /// All that FFmpeg has, with whatever they open by name, and no limit: for showing that a sandbox holds alone. No
    /// engine asks for it.
    Unguarded,
}

impl Containers {
    /// Names of the demuxers; `None` for all.
    #[must_use]
    pub fn allowed(self) -> Option<&'static str> {
        match self {
            Self::Boxes => Some("mov"),
            Self::Others => Some("matroska,webm,mpegts,mpeg,avi,asf,ogg,mxf,flv"),
            Self::Unguarded => None,
        }
    }
}

/// Codecs that are accepted; names of FFmpeg's decoders.
pub const CODECS: &str = "h264,hevc,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4v3,msmpeg4,h263,h263i,\
    flv,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,libaom-av1,prores,dnxhd,dvvideo,mjpeg,theora,wmv1,wmv2,wmv3,vc1,\
    cfhd,h264_cuvid,hevc_cuvid,\
    aac,aac_fixed,aac_latm,mp3,mp3float,mp2,mp2float,ac3,ac3_fixed,eac3,opus,libopus,vorbis,libvorbis,flac,alac,\
    wmav1,wmav2,wmapro,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,dca,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,\
    pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_u8,pcm_s8,pcm_mulaw,\
    pcm_alaw,pcm_bluray,pcm_dvd,nellymoser,speex";

/// Streams in a container; more are refused at open.
const MAX_STREAMS: &str = "128";
/// Bytes that are read, beside an index, to learn what the streams hold; FFmpeg's usual number, said here because a limit
/// that is relied on is one that is set.
const PROBE_BYTES: &str = "5000000";
/// Samples of sound that one packet may decode to.
const MAX_SAMPLES: &str = "1048576";

/// One place of a container's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Decode time in ticks of the stream.
    pub time: i64,
    /// Whether decoding can begin here.
    pub is_key: bool,
    /// Place of the packet's bytes in the source.
    pub position: u64,
}

/// An open container.
pub struct Demuxer {
    context: *mut ffi::AVFormatContext,
    input: Input,
}

// SAFETY: owned by this value alone; the input is `Send`.
unsafe impl Send for Demuxer {}

impl std::fmt::Debug for Demuxer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demuxer").field("container", &self.container()).finish_non_exhaustive()
    }
}

impl Demuxer {
    /// Opens a container and looks at its streams, reading at most a few megabytes beside its index.
    ///
    /// # Errors
    /// Not an accepted container; or the source cannot be read, and the second part says why.
    pub fn open(
        source: Box<dyn ReadAt>,
        containers: Containers,
    ) -> std::result::Result<Self, (Error, Option<io::Error>)> {
        let mut input = Input::new(source).map_err(|e| (e, None))?;
        match Self::open_inner(&mut input, containers) {
            Ok(context) => Ok(Self { context, input }),
            Err(error) => Err((error, input.take_error())),
        }
    }

    fn open_inner(input: &mut Input, containers: Containers) -> Result<*mut ffi::AVFormatContext> {
        let op = "open container";
        let mut options = match containers.allowed() {
            None => Dictionary::new::<&str, &str>(&[])?,
            Some(names) => Dictionary::new(&[
                ("format_whitelist", names),
                ("codec_whitelist", CODECS),
                // No protocol has this name: a playlist inside a container can open nothing.
                ("protocol_whitelist", "none"),
                ("max_streams", MAX_STREAMS),
                ("max_probe_packets", "2500"),
                ("probesize", PROBE_BYTES),
                ("formatprobesize", "1048576"),
            ])?,
        };
        // A playlist resolves its entries only when it has a name itself.
        let name = if containers == Containers::Unguarded { c"/source".as_ptr() } else { std::ptr::null() };
        // SAFETY: a fresh context gets our input; avformat_open_input frees it on failure, and closing it later does
        // not touch a custom input. The stream option array has one dictionary a stream, freed below.
        unsafe {
            let mut context = ffi::avformat_alloc_context();
            if context.is_null() {
                return Err(no_memory(op));
            }
            (*context).pb = input.as_ptr();
            (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
            if containers != Containers::Unguarded {
                (*context).io_open = Some(deny_open);
            }
            check(op, ffi::avformat_open_input(&raw mut context, name, std::ptr::null(), options.as_mut()))?;
            let streams = (*context).nb_streams as usize;
            let pixels = MAX_PIXELS.to_string();
            // Probing opens decoders of its own, which would ignore the limits set later.
            let limits: &[(&str, &str)] = match containers {
                Containers::Unguarded => &[],
                _ => &[
                    ("max_pixels", &pixels),
                    ("max_samples", MAX_SAMPLES),
                    ("threads", "1"),
                    ("codec_whitelist", CODECS),
                ],
            };
            let mut per_stream =
                (0..streams).map(|_| Dictionary::new(limits)).collect::<Result<Vec<_>>>().inspect_err(|_| {
                    ffi::avformat_close_input(&raw mut context);
                })?;
            let mut pointers: Vec<*mut ffi::AVDictionary> = per_stream.iter_mut().map(|d| *d.as_mut()).collect();
            let list = if pointers.is_empty() { std::ptr::null_mut() } else { pointers.as_mut_ptr() };
            let code = ffi::avformat_find_stream_info(context, list);
            for (dictionary, pointer) in per_stream.iter_mut().zip(pointers) {
                *dictionary.as_mut() = pointer;
            }
            if code < 0 {
                ffi::avformat_close_input(&raw mut context);
                return Err(Error::new("read stream information", code));
            }
            Ok(context)
        }
    }

    fn raw(&self) -> &ffi::AVFormatContext {
        // SAFETY: never null after `open`, closed only in `Drop`.
        unsafe { &*self.context }
    }

    fn stream_ptr(&self, index: usize) -> Option<*mut ffi::AVStream> {
        let raw = self.raw();
        // SAFETY: the array has nb_streams valid pointers.
        (index < raw.nb_streams as usize).then(|| unsafe { *raw.streams.add(index) })
    }

    /// The transport error behind the last failed read, once.
    pub fn take_io_error(&mut self) -> Option<io::Error> {
        self.input.take_error()
    }

    /// FFmpeg's name of the container, for example `mov,mp4,m4a,3gp,3g2,mj2`.
    #[must_use]
    pub fn container(&self) -> String {
        // SAFETY: an open input has a format with a static name.
        unsafe { CStr::from_ptr((*self.raw().iformat).name) }.to_string_lossy().into_owned()
    }

    /// Duration in microseconds, when known or guessed.
    #[must_use]
    pub fn duration_us(&self) -> Option<i64> {
        known(self.raw().duration).filter(|d| *d > 0)
    }

    /// Number of streams; MPEG-TS may find more while reading.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.raw().nb_streams as usize
    }

    /// Lets the demuxer skip streams that are not in `wanted`.
    pub fn keep_only(&mut self, wanted: &[usize]) {
        for index in 0..self.streams() {
            if let Some(stream) = self.stream_ptr(index) {
                let discard = if wanted.contains(&index) {
                    ffi::AVDiscard::AVDISCARD_DEFAULT
                } else {
                    ffi::AVDiscard::AVDISCARD_ALL
                };
                // SAFETY: plain field of a stream of the open context.
                unsafe { (*stream).discard = discard };
            }
        }
    }

    /// The container's index of stream `index`, as far as it is known without reading on.
    #[must_use]
    pub fn index(&self, index: usize) -> Vec<IndexEntry> {
        let Some(stream) = self.stream_ptr(index) else { return Vec::new() };
        // SAFETY: entries are valid until the next call that takes the context; they are copied at once.
        unsafe {
            (0..ffi::avformat_index_get_entries_count(stream))
                .filter_map(|i| {
                    let entry = ffi::avformat_index_get_entry(stream, i);
                    if entry.is_null() {
                        return None;
                    }
                    let entry = &*entry;
                    Some(IndexEntry {
                        time: entry.timestamp,
                        is_key: entry.flags() & ffi::AVINDEX_KEYFRAME != 0,
                        position: u64::try_from(entry.pos).unwrap_or(u64::MAX),
                    })
                })
                .collect()
        }
    }

    /// Reads the next packet of any kept stream.
    ///
    /// # Errors
    /// The container is damaged here (reading may go on), or the source failed.
    pub fn read(&mut self) -> Result<Received<Packet>> {
        let packet = Packet::new()?;
        // SAFETY: both are valid.
        let code = unsafe { ffi::av_read_frame(self.context, packet.as_ptr()) };
        received("read packet", code, packet)
    }

    /// Goes to a key frame of stream `index` at or before `time`, as far as the container can tell: the caller
    /// verifies where it lands.
    ///
    /// # Errors
    /// The container has no way to seek.
    pub fn seek(&mut self, index: usize, time: i64) -> Result<()> {
        let stream = i32::try_from(index).map_err(|_| Error::new("seek", ffi::AVERROR(libc::EINVAL)))?;
        // SAFETY: plain call on the open context.
        check("seek", unsafe { ffi::avformat_seek_file(self.context, stream, i64::MIN, time, time, 0) }).map(drop)
    }
}

impl Drop for Demuxer {
    fn drop(&mut self) {
        // SAFETY: owned, closed once; the custom input stays and is freed by its own type afterwards.
        unsafe { ffi::avformat_close_input(&raw mut self.context) }
    }
}

/// Refuses whatever a container wants to open beside itself.
unsafe extern "C" fn deny_open(
    _context: *mut ffi::AVFormatContext,
    _io: *mut *mut ffi::AVIOContext,
    _url: *const libc::c_char,
    _flags: libc::c_int,
    _options: *mut *mut ffi::AVDictionary,
) -> libc::c_int {
    tracing::warn!("the container tried to open something else; denied");
    ffi::AVERROR(libc::EPERM)
}
