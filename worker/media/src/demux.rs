//! Demuxing: containers and codecs from an allow list, nothing opened by name.

use std::ffi::CStr;
use std::io;

use ffmpeg_next::ffi;

use crate::decode::MAX_PIXELS;
use crate::encode::Encoder;
use crate::error::{Error, Received, Result, check, no_memory, received};
use crate::frame::pixel_format_name;
use crate::io::{Input, ReadAt};
use crate::options::Dictionary;
use crate::packet::known;
use crate::{Packet, Rational, compat};

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

/// Kind of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles, time codes, telemetry, attachments.
    Other,
}

/// What a container says of one stream.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct StreamFacts {
    /// Position in the container.
    pub index: usize,
    /// Kind.
    pub kind: StreamKind,
    /// FFmpeg's codec name, for example `h264`; `none` when unknown.
    pub codec: String,
    /// Whether a decoder of the allow list exists.
    pub decodable: bool,
    /// Codec profile and level as numbers of the codec; negative when unknown.
    pub profile: i32,
    /// See `profile`.
    pub level: i32,
    /// Ticks of its times.
    pub time_base: Rational,
    /// First time in ticks.
    pub start: Option<i64>,
    /// Duration in ticks.
    pub duration: Option<i64>,
    /// Frames, when the container counts them.
    pub frames: Option<u64>,
    /// Bits per second, when known.
    pub bit_rate: Option<u64>,
    /// ISO 639-2 language, when given.
    pub language: Option<String>,
    /// Flagged as the default of its kind.
    pub is_default: bool,
    /// A cover picture rather than a film.
    pub is_cover: bool,
    /// Carries encryption headers.
    pub is_encrypted: bool,
    /// Coded width in pixels.
    pub width: i32,
    /// Coded height in pixels.
    pub height: i32,
    /// Sample aspect ratio; 0/1 when unknown.
    pub aspect: Rational,
    /// Pixel format name.
    pub pixel_format: String,
    /// Whether the header says that pictures hold two fields.
    pub is_interlaced: bool,
    /// Numbers of range, matrix, primaries and transfer.
    pub colour: [u32; 4],
    /// Frames that decoding order runs behind display order.
    pub reorder: i32,
    /// Lowest rate at which all times can be told exactly (a guess of the demuxer).
    pub base_rate: Rational,
    /// Average frame rate.
    pub average_rate: Rational,
    /// Display matrix, row by row, 16.16 fixed point (the last column 2.30), when there is one.
    pub matrix: Option<[i32; 9]>,
    /// Audio channels.
    pub channels: i32,
    /// Samples per second.
    pub sample_rate: i32,
    /// Samples of encoder delay at the start.
    pub initial_padding: i32,
    /// Codec headers (`avcC`, `hvcC`, `AudioSpecificConfig`, …).
    pub extradata: Vec<u8>,
}

/// An owned copy of what a decoder needs to know of a stream.
#[derive(Debug)]
pub struct StreamParameters {
    parameters: *mut ffi::AVCodecParameters,
    /// Ticks of its packets' times.
    pub time_base: Rational,
}

// SAFETY: owned by this value alone.
unsafe impl Send for StreamParameters {}

impl StreamParameters {
    pub(crate) fn as_ptr(&self) -> *const ffi::AVCodecParameters {
        self.parameters
    }

    /// What a decoder of an encoder's packets needs.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of_encoder(encoder: &Encoder) -> Result<Self> {
        let op = "copy encoder parameters";
        // SAFETY: the fresh struct is owned by the result before anything can fail; the context is valid, the call copies.
        unsafe {
            let parameters = ffi::avcodec_parameters_alloc();
            if parameters.is_null() {
                return Err(no_memory(op));
            }
            let result = Self { parameters, time_base: (*encoder.context()).time_base.into() };
            check(op, ffi::avcodec_parameters_from_context(parameters, encoder.context()))?;
            Ok(result)
        }
    }
}

impl Drop for StreamParameters {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::avcodec_parameters_free(&raw mut self.parameters) }
    }
}

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

    /// Facts of stream `index`; `None` when there is none.
    #[must_use]
    pub fn facts(&self, index: usize) -> Option<StreamFacts> {
        let pointer = self.stream_ptr(index)?;
        // SAFETY: a stream of the open context; its parameters are never null. All reads are of plain fields, of
        // strings that live as long as the stream, and of side data through its own accessor.
        unsafe {
            let stream = &*pointer;
            let parameters = &*stream.codecpar;
            let kind = match parameters.codec_type {
                ffi::AVMediaType::AVMEDIA_TYPE_VIDEO => StreamKind::Video,
                ffi::AVMediaType::AVMEDIA_TYPE_AUDIO => StreamKind::Audio,
                _ => StreamKind::Other,
            };
            let decoder = ffi::avcodec_find_decoder(parameters.codec_id);
            let decodable = !decoder.is_null() && {
                let name = CStr::from_ptr((*decoder).name).to_string_lossy();
                CODECS.split(',').any(|allowed| allowed.trim() == name)
            };
            let aspect = if stream.sample_aspect_ratio.num > 0 {
                stream.sample_aspect_ratio
            } else {
                parameters.sample_aspect_ratio
            };
            let matrix = compat::side_data(pointer, ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX)
                .filter(|bytes| bytes.len() >= 36)
                .map(|bytes| {
                    let mut matrix = [0; 9];
                    for (value, bytes) in matrix.iter_mut().zip(bytes.chunks_exact(4)) {
                        *value = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    }
                    matrix
                });
            let encryption =
                compat::side_data(pointer, ffi::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INIT_INFO).is_some();
            let tag = parameters.codec_tag.to_le_bytes();
            let extradata = match usize::try_from(parameters.extradata_size) {
                Ok(size) if !parameters.extradata.is_null() => {
                    std::slice::from_raw_parts(parameters.extradata, size).to_vec()
                }
                _ => Vec::new(),
            };
            Some(StreamFacts {
                index,
                kind,
                codec: CStr::from_ptr(ffi::avcodec_get_name(parameters.codec_id)).to_string_lossy().into_owned(),
                decodable,
                profile: parameters.profile,
                level: parameters.level,
                time_base: stream.time_base.into(),
                start: known(stream.start_time),
                duration: known(stream.duration).filter(|d| *d > 0),
                frames: u64::try_from(stream.nb_frames).ok().filter(|n| *n > 0),
                bit_rate: u64::try_from(parameters.bit_rate).ok().filter(|n| *n > 0),
                language: language(stream.metadata),
                is_default: stream.disposition & ffi::AV_DISPOSITION_DEFAULT != 0,
                is_cover: stream.disposition & ffi::AV_DISPOSITION_ATTACHED_PIC != 0,
                is_encrypted: encryption || tag == *b"encv" || tag == *b"enca",
                width: parameters.width,
                height: parameters.height,
                aspect: aspect.into(),
                pixel_format: if kind == StreamKind::Video {
                    pixel_format_name(parameters.format)
                } else {
                    String::new()
                },
                is_interlaced: !matches!(
                    parameters.field_order,
                    ffi::AVFieldOrder::AV_FIELD_UNKNOWN | ffi::AVFieldOrder::AV_FIELD_PROGRESSIVE
                ),
                colour: [
                    parameters.color_range as u32,
                    parameters.color_space as u32,
                    parameters.color_primaries as u32,
                    parameters.color_trc as u32,
                ],
                reorder: parameters.video_delay,
                base_rate: stream.r_frame_rate.into(),
                average_rate: stream.avg_frame_rate.into(),
                matrix,
                channels: parameters.ch_layout.nb_channels,
                sample_rate: parameters.sample_rate,
                initial_padding: parameters.initial_padding,
                extradata,
            })
        }
    }

    /// What a decoder of stream `index` needs.
    ///
    /// # Errors
    /// No such stream, or out of memory.
    pub fn parameters(&self, index: usize) -> Result<StreamParameters> {
        let op = "copy stream parameters";
        let stream = self.stream_ptr(index).ok_or_else(|| Error::new(op, ffi::AVERROR_STREAM_NOT_FOUND))?;
        // SAFETY: the fresh struct is owned by the result before anything can fail; the call copies.
        unsafe {
            let parameters = ffi::avcodec_parameters_alloc();
            if parameters.is_null() {
                return Err(no_memory(op));
            }
            let result = StreamParameters { parameters, time_base: (*stream).time_base.into() };
            check(op, ffi::avcodec_parameters_copy(parameters, (*stream).codecpar))?;
            Ok(result)
        }
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

unsafe fn language(metadata: *mut ffi::AVDictionary) -> Option<String> {
    // SAFETY: by the caller, the dictionary lives; keys and values are NUL-terminated.
    unsafe {
        let entry = ffi::av_dict_get(metadata, c"language".as_ptr(), std::ptr::null(), 0);
        if entry.is_null() {
            return None;
        }
        let text = CStr::from_ptr((*entry).value).to_string_lossy();
        let usable = text.len() == 3 && text.bytes().all(|b| b.is_ascii_lowercase()) && text != "und";
        usable.then(|| text.into_owned())
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
