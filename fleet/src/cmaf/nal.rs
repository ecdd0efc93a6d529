//! NAL units: from an encoder's Annex B byte stream to the length-prefixed form of ISO/IEC 14496-15.

/// Which codec's NAL unit header to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NalCodec {
    /// H.264, ITU-T H.264 table 7-1.
    Avc,
    /// H.265, ITU-T H.265 table 7-1.
    Hevc,
}

/// Why an access unit could not be converted. The output buffer is untouched then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NalError {
    /// The bytes do not begin with a start code, so they are not an Annex B byte stream.
    #[error("access unit of {0} bytes does not begin with a start code")]
    NoStartCode(usize),
    /// Sample sizes are 32-bit numbers.
    #[error("access unit of {0} bytes is too large for a sample")]
    TooLarge(usize),
}

impl NalCodec {
    fn unit_type(self, header: u8) -> u8 {
        match self {
            Self::Avc => header & 0x1f,
            Self::Hevc => header >> 1 & 0x3f,
        }
    }

    /// Delimiters and filler say nothing in a sample, and parameter sets live in the sample entry: `avc1` and
    /// `hvc1` forbid them in the stream (ISO/IEC 14496-15 5.3.2 and 8.3.3).
    fn is_dropped(self, header: u8) -> bool {
        match (self, self.unit_type(header)) {
            // Sequence and picture parameter sets, delimiter, filler, parameter set extension and subset.
            (Self::Avc, 7 | 8 | 9 | 12 | 13 | 15) => true,
            // Video, sequence and picture parameter sets, delimiter, filler.
            (Self::Hevc, 32..=35 | 38) => true,
            _ => false,
        }
    }

    /// Whether the unit is a slice of an IDR (AVC) or IRAP (HEVC) picture.
    fn is_random_access(self, header: u8) -> bool {
        match (self, self.unit_type(header)) {
            (Self::Avc, kind) => kind == 5,
            (Self::Hevc, kind) => (16..=23).contains(&kind),
        }
    }

    /// Whether the unit is a slice at all.
    fn is_slice(self, header: u8) -> bool {
        match (self, self.unit_type(header)) {
            (Self::Avc, kind) => (1..=5).contains(&kind),
            (Self::Hevc, kind) => kind < 32,
        }
    }
}

/// Appends an Annex B access unit to `out` as NAL units with 4-byte lengths, without access unit delimiters,
/// filler and parameter sets. Returns the bytes appended, which is the sample's size.
///
/// # Errors
///
/// [`NalError`]; `out` is then unchanged.
pub fn annexb_to_length_prefixed(au: &[u8], codec: NalCodec, out: &mut Vec<u8>) -> Result<u32, NalError> {
    let begin = out.len();
    let Some(mut start) = next_start_code(au, 0).filter(|&at| au[..at].iter().all(|&byte| byte == 0)) else {
        return Err(NalError::NoStartCode(au.len()));
    };
    // A start code of 3 bytes grows to a length of 4: at worst every unit is one byte long.
    if u32::try_from(au.len() / 3 * 4 + 4).is_err() {
        return Err(NalError::TooLarge(au.len()));
    }
    out.reserve(au.len() + 16);
    loop {
        start += 3;
        let next = next_start_code(au, start);
        let unit = trim_trailing_zeros(&au[start..next.unwrap_or(au.len())]);
        if let Some(&header) = unit.first()
            && !codec.is_dropped(header)
        {
            // Below the length that was checked above.
            out.extend_from_slice(&(unit.len() as u32).to_be_bytes());
            out.extend_from_slice(unit);
        }
        match next {
            Some(next) => start = next,
            None => return Ok((out.len() - begin) as u32),
        }
    }
}

/// Whether a length-prefixed H.264 sample is an IDR picture: its first slice is one. Malformed bytes are none.
#[must_use]
pub fn avc_has_idr(length_prefixed: &[u8]) -> bool {
    starts_at_random_access(length_prefixed, 4, NalCodec::Avc)
}

/// Whether a length-prefixed H.265 sample is an IRAP picture: its first slice is one. Malformed bytes are none.
#[must_use]
pub fn hevc_has_irap(length_prefixed: &[u8]) -> bool {
    starts_at_random_access(length_prefixed, 4, NalCodec::Hevc)
}

/// As [`avc_has_idr`], for NAL units with lengths of `length_size` bytes (1 to 4).
pub(super) fn starts_at_random_access(mut sample: &[u8], length_size: usize, codec: NalCodec) -> bool {
    while let Some((prefix, rest)) = sample.split_at_checked(length_size) {
        let length = prefix.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        let Some((unit, rest)) = rest.split_at_checked(length) else {
            return false;
        };
        if let Some(&header) = unit.first()
            && codec.is_slice(header)
        {
            return codec.is_random_access(header);
        }
        if length_size == 0 {
            return false;
        }
        sample = rest;
    }
    false
}

/// Position of the next `00 00 01` at or after `from`.
///
/// This runs over every encoded byte. It looks at the last byte of a candidate first: above 1, no start code can
/// end at it or at the two bytes after it, so coded data, which is mostly that, is crossed in steps of three.
fn next_start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 2;
    while let Some(&last) = bytes.get(at) {
        if last > 1 {
            at += 3;
        } else if last == 1 {
            if bytes[at - 1] == 0 && bytes[at - 2] == 0 {
                return Some(at - 2);
            }
            at += 3;
        } else {
            at += 1;
        }
    }
    None
}

/// Without the `trailing_zero_8bits` of Annex B; a NAL unit itself never ends in a zero byte.
fn trim_trailing_zeros(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &unit[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(au: &[u8], codec: NalCodec) -> Result<Vec<u8>, NalError> {
        let mut out = vec![0xee];
        let size = annexb_to_length_prefixed(au, codec, &mut out)?;
        assert_eq!(size as usize, out.len() - 1);
        assert_eq!(out.remove(0), 0xee, "what was in the buffer stays");
        Ok(out)
    }

    #[test]
    fn delimiter_and_parameter_sets_are_dropped() {
        let au = [
            &[0, 0, 0, 1, 0x09, 0xf0][..],
            &[0, 0, 0, 1, 0x67, 0x64, 0, 0x1f],
            &[0, 0, 1, 0x68, 0xeb],
            &[0, 0, 1, 0x06, 5, 0x80],
            &[0, 0, 1, 0x65, 0x88, 0x84, 0, 0, 3, 1],
        ]
        .concat();
        let expected = [&[0, 0, 0, 3, 0x06, 5, 0x80][..], &[0, 0, 0, 7, 0x65, 0x88, 0x84, 0, 0, 3, 1]].concat();
        assert_eq!(converted(&au, NalCodec::Avc).unwrap(), expected);
        assert!(avc_has_idr(&expected));
    }

    #[test]
    fn hevc_headers_are_read_as_hevc() {
        let au =
            [&[0, 0, 1, 0x40, 1, 0x0c][..], &[0, 0, 1, 0x26, 1, 0xaf, 0, 0, 0], &[0, 0, 1, 0x02, 1, 0xd0]].concat();
        let expected = [&[0, 0, 0, 3, 0x26, 1, 0xaf][..], &[0, 0, 0, 3, 0x02, 1, 0xd0]].concat();
        assert_eq!(converted(&au, NalCodec::Hevc).unwrap(), expected);
        assert!(hevc_has_irap(&expected));
        assert!(!hevc_has_irap(&expected[7..]));
    }

    #[test]
    fn bytes_without_a_start_code_are_refused_and_change_nothing() {
        for au in [&[][..], &[0, 0], &[0, 0, 0, 3, 0x65, 1, 2], &[7, 0, 0, 1, 0x65]] {
            assert_eq!(converted(au, NalCodec::Avc), Err(NalError::NoStartCode(au.len())));
        }
    }

    #[test]
    fn random_access_is_read_from_the_first_slice_only() {
        assert!(!avc_has_idr(&[0, 0, 0, 2, 0x41, 1, 0, 0, 0, 2, 0x65, 1]));
        assert!(avc_has_idr(&[0, 0, 0, 2, 0x06, 1, 0, 0, 0, 2, 0x65, 1]));
        assert!(!avc_has_idr(&[0, 0, 0, 9, 0x65, 1]), "a length past the end");
        assert!(!avc_has_idr(&[]));
        assert!(starts_at_random_access(&[2, 0x65, 1], 1, NalCodec::Avc));
        assert!(!starts_at_random_access(&[2, 0x65, 1], 0, NalCodec::Avc));
    }

    /// The obvious way to find a start code.
    fn naive_start_code(bytes: &[u8], from: usize) -> Option<usize> {
        (from..bytes.len()).find(|&at| bytes[at..].starts_with(&[0, 0, 1]))
    }

    proptest! {
        #[test]
        fn fast_scan_finds_what_the_obvious_one_finds(
            bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0), Just(1), 0..=3_u8, any::<u8>()], 0..200),
            from in 0_usize..210,
        ) {
            prop_assert_eq!(next_start_code(&bytes, from), naive_start_code(&bytes, from));
        }

        #[test]
        fn any_bytes_convert_or_are_refused(
            bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..200),
        ) {
            for codec in [NalCodec::Avc, NalCodec::Hevc] {
                if let Ok(units) = converted(&bytes, codec) {
                    prop_assert!(units.len() <= bytes.len() / 3 * 4 + 4);
                }
            }
            starts_at_random_access(&bytes, 2, NalCodec::Avc);
        }
    }
}
