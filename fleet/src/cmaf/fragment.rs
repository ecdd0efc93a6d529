//! Writes movie fragments (`moof` + `mdat`) from samples with presentation times.
//!
//! Decode times are not the encoder's: the decode time of sample *i* is the *i*-th smallest presentation time of
//! its fragment. A fragment therefore decodes exactly as long as it is shown, whatever the encoder's delay, and
//! the next one begins where it ends.

/// One access unit or audio frame of a fragment, in decode order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Presentation time in the track's timescale, without the presentation delay.
    pub pts: i64,
    /// Size in bytes.
    pub size: u32,
    /// Whether decoding may start here (an IDR or IRAP picture; every audio frame).
    pub sync: bool,
}

/// Why a fragment could not be written. The output buffer is untouched then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FragmentError {
    /// A fragment holds at least one sample.
    #[error("a fragment without samples")]
    Empty,
    /// The sizes of the samples do not add up to the payload.
    #[error("samples of {samples} bytes in a payload of {payload}")]
    PayloadMismatch {
        /// Sum of the sample sizes in bytes.
        samples: u64,
        /// Length of the payload in bytes.
        payload: u64,
    },
    /// A `moof` or `mdat` would not fit its 32-bit size.
    #[error("a fragment of {samples} samples and {payload} bytes does not fit 32-bit boxes")]
    TooLarge {
        /// Number of samples.
        samples: usize,
        /// Length of the payload in bytes.
        payload: u64,
    },
    /// A decode time before zero has no place in `tfdt`.
    #[error("first decode time {0} is negative")]
    NegativeDecodeTime(i64),
    /// The last sample is shown at or after the end of the fragment.
    #[error("fragment ends at {end}, its last sample is shown at {last}")]
    EndsTooEarly {
        /// The end given by the caller, in the timescale.
        end: i64,
        /// Largest presentation time, in the timescale.
        last: i64,
    },
    /// A duration or a composition offset leaves its 32-bit field.
    #[error("time {0} does not fit the 32-bit field of a track run")]
    TimeOutOfRange(i64),
}

/// Sample flags of a picture that needs no other (`sample_depends_on` = 2), ISO/IEC 14496-12 8.8.3.1.
const SYNC_FLAGS: u32 = 0x0200_0000;
/// Sample flags of a picture that needs others (`sample_depends_on` = 1, `sample_is_non_sync_sample`).
const NON_SYNC_FLAGS: u32 = 0x0101_0000;

const TFHD_DEFAULT_DURATION: u32 = 0x00_0008;
const TFHD_DEFAULT_FLAGS: u32 = 0x00_0020;
const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
const TRUN_DATA_OFFSET: u32 = 0x0001;
const TRUN_DURATION: u32 = 0x0100;
const TRUN_SIZE: u32 = 0x0200;
const TRUN_FLAGS: u32 = 0x0400;
const TRUN_COMPOSITION_OFFSET: u32 = 0x0800;

/// Track id written in every `tfhd`: each rendition is a file of one track.
const TRACK_ID: u32 = 1;

/// Box header and, for a full box, version and flags, in bytes.
const HEADER: usize = 8;
const FULL_HEADER: usize = 12;

/// Appends one `moof` and its `mdat` to `out`.
///
/// `payload` holds the samples one after the other in decode order. `end` is the presentation time at which the
/// next fragment begins, without delay; the last sample lasts until then. `delay` is added to every presentation
/// time so that reordered pictures never need a negative composition offset; for audio, which is never reordered,
/// add it to the times instead and give 0 here: the composition offsets are then left out.
///
/// Fields that are the same for all samples are written once, as defaults of the fragment.
///
/// # Errors
///
/// [`FragmentError`] when the samples contradict the payload or a value leaves its field; `out` is then unchanged.
pub fn write_fragment(
    out: &mut Vec<u8>,
    sequence: u32,
    samples: &[Sample],
    payload: &[u8],
    end: i64,
    delay: i64,
) -> Result<(), FragmentError> {
    let payload_len = payload.len() as u64;
    let sizes: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
    if sizes != payload_len {
        return Err(FragmentError::PayloadMismatch { samples: sizes, payload: payload_len });
    }
    let timing = Timing::plan(samples, end, delay)?;
    let sync_everywhere = samples.iter().all(|sample| sample.sync);

    let tfhd_flags = TFHD_DEFAULT_BASE_IS_MOOF
        | if timing.one_duration { TFHD_DEFAULT_DURATION } else { 0 }
        | if sync_everywhere { TFHD_DEFAULT_FLAGS } else { 0 };
    let trun_flags = TRUN_DATA_OFFSET
        | TRUN_SIZE
        | if timing.one_duration { 0 } else { TRUN_DURATION }
        | if sync_everywhere { 0 } else { TRUN_FLAGS }
        | if timing.no_offsets { 0 } else { TRUN_COMPOSITION_OFFSET };

    // All sizes are known before the first byte is written, so nothing is patched and nothing reallocates twice.
    let per_sample = 4 * (trun_flags >> 8).count_ones() as usize;
    let tfhd = FULL_HEADER + 4 + 4 * usize::from(timing.one_duration) + 4 * usize::from(sync_everywhere);
    let tfdt = FULL_HEADER + 8;
    let mfhd = FULL_HEADER + 4;
    let trun = FULL_HEADER + 8 + per_sample * samples.len();
    let traf = HEADER + tfhd + tfdt + trun;
    let moof = HEADER + mfhd + traf;
    let mdat = HEADER + payload.len();
    let too_large = || FragmentError::TooLarge { samples: samples.len(), payload: payload_len };
    let fits = |size: usize| u32::try_from(size).map_err(|_| too_large());
    let (moof_size, mdat_size, count) = (fits(moof)?, fits(mdat)?, fits(samples.len())?);
    // `trun` holds the data offset as a signed number.
    let data_offset = i32::try_from(moof + HEADER).map_err(|_| too_large())?;
    let (traf_size, tfhd_size, trun_size) = (fits(traf)?, fits(tfhd)?, fits(trun)?);

    out.reserve(moof + mdat);
    header(out, moof_size, *b"moof");
    full_header(out, 16, *b"mfhd", 0, 0);
    put(out, sequence);
    header(out, traf_size, *b"traf");
    full_header(out, tfhd_size, *b"tfhd", 0, tfhd_flags);
    put(out, TRACK_ID);
    if timing.one_duration {
        put(out, timing.runs[0].duration);
    }
    if sync_everywhere {
        put(out, SYNC_FLAGS);
    }
    full_header(out, 20, *b"tfdt", 1, 0);
    out.extend_from_slice(&timing.first_decode.to_be_bytes());
    full_header(out, trun_size, *b"trun", 1, trun_flags);
    put(out, count);
    out.extend_from_slice(&data_offset.to_be_bytes());
    for (sample, run) in samples.iter().zip(&timing.runs) {
        if !timing.one_duration {
            put(out, run.duration);
        }
        put(out, sample.size);
        if !sync_everywhere {
            put(out, if sample.sync { SYNC_FLAGS } else { NON_SYNC_FLAGS });
        }
        if !timing.no_offsets {
            out.extend_from_slice(&run.offset.to_be_bytes());
        }
    }
    header(out, mdat_size, *b"mdat");
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends the segment type box that opens a segment file: a DASH/CMAF media segment (`msdh`, `cmfs`).
///
/// CMAF makes it optional; it lets a tool recognise a segment that lies alone in a folder. `msix` is not
/// claimed, it would promise a segment index.
pub fn write_styp(out: &mut Vec<u8>) {
    header(out, 24, *b"styp");
    out.extend_from_slice(b"msdh");
    put(out, 0);
    out.extend_from_slice(b"msdhcmfs");
}

/// Duration and composition offset of one sample in a track run.
struct Run {
    duration: u32,
    offset: i32,
}

/// The decode timeline of a fragment.
struct Timing {
    first_decode: u64,
    runs: Vec<Run>,
    one_duration: bool,
    no_offsets: bool,
}

impl Timing {
    fn plan(samples: &[Sample], end: i64, delay: i64) -> Result<Self, FragmentError> {
        let mut decode: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
        decode.sort_unstable();
        let (Some(&first), Some(&last)) = (decode.first(), decode.last()) else {
            return Err(FragmentError::Empty);
        };
        if last >= end {
            return Err(FragmentError::EndsTooEarly { end, last });
        }
        // A picture reordered by more than the delay would be decoded after it is shown. Decoding it, and all
        // before it, earlier keeps the times in order and the offsets non-negative.
        let mut latest = i64::MAX;
        for (time, sample) in decode.iter_mut().zip(samples).rev() {
            let shown = sample.pts.checked_add(delay).ok_or(FragmentError::TimeOutOfRange(sample.pts))?;
            latest = latest.min(shown);
            *time = (*time).min(latest);
        }
        let first_decode =
            u64::try_from(decode[0]).map_err(|_| FragmentError::NegativeDecodeTime(first.min(decode[0])))?;

        let ends = decode.iter().skip(1).chain(std::iter::once(&end));
        let runs = decode
            .iter()
            .zip(ends)
            .zip(samples)
            .map(|((&time, &next), sample)| {
                // Times are in `0..=end` and in order here, so the differences do not overflow.
                let (duration, offset) = (next - time, sample.pts + delay - time);
                Ok(Run {
                    duration: u32::try_from(duration).map_err(|_| FragmentError::TimeOutOfRange(duration))?,
                    offset: i32::try_from(offset).map_err(|_| FragmentError::TimeOutOfRange(offset))?,
                })
            })
            .collect::<Result<Vec<Run>, FragmentError>>()?;
        Ok(Self {
            first_decode,
            one_duration: runs.iter().all(|run| run.duration == runs[0].duration),
            no_offsets: runs.iter().all(|run| run.offset == 0),
            runs,
        })
    }
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn header(out: &mut Vec<u8>, size: u32, kind: [u8; 4]) {
    put(out, size);
    out.extend_from_slice(&kind);
}

fn full_header(out: &mut Vec<u8>, size: u32, kind: [u8; 4], version: u8, flags: u32) {
    header(out, size, kind);
    put(out, u32::from(version) << 24 | flags);
}

#[cfg(test)]
mod tests;
