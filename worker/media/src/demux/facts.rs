//! What a container says of its streams.

use std::ffi::CStr;

use ffmpeg_next::ffi;

use super::{CODECS, Demuxer};
use crate::frame::pixel_format_name;
use crate::packet::known;
use crate::{Rational, compat};

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

impl Demuxer {
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
