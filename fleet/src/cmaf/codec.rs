//! Codec strings as RFC 6381 wants them, read from the decoder configuration that the sample entry carries.

use super::boxes::{CmafError, Fields, FourCc, Mp4Box};

/// `avc1.PPCCLL` from an `avcC` (RFC 6381 3.3), and the bytes of a NAL unit length.
pub(super) fn avc(entry: FourCc, config: Mp4Box<'_>) -> Result<(String, u8), CmafError> {
    let mut fields = config.fields();
    if fields.u8()? != 1 {
        return Err(config.invalid("unknown configuration version"));
    }
    let (profile, constraints, level) = (fields.u8()?, fields.u8()?, fields.u8()?);
    let length_size = (fields.u8()? & 3) + 1;
    Ok((format!("{entry}.{profile:02x}{constraints:02x}{level:02x}"), length_size))
}

/// `hvc1.1.6.L93.B0` from an `hvcC` (ISO/IEC 14496-15 annex E.3), and the bytes of a NAL unit length.
pub(super) fn hevc(entry: FourCc, config: Mp4Box<'_>) -> Result<(String, u8), CmafError> {
    let mut fields = config.fields();
    if fields.u8()? != 1 {
        return Err(config.invalid("unknown configuration version"));
    }
    let profile = fields.u8()?;
    let compatibility = fields.u32()?.reverse_bits();
    let constraints = fields.bytes(6)?;
    let level = fields.u8()?;
    // Segmentation, parallelism, chroma, bit depths, frame rate: not part of the string.
    fields.bytes(8)?;
    let length_size = (fields.u8()? & 3) + 1;

    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let mut codec = format!("{entry}.{space}{}.{compatibility:X}.{tier}{level}", profile & 0x1f);
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        codec.push_str(&format!(".{byte:X}"));
    }
    Ok((codec, length_size))
}

/// What an `esds` says.
pub(super) struct Mpeg4Audio {
    /// `mp4a.40.2` and the like (RFC 6381 3.3).
    pub(super) codec: String,
    /// Channels and samples a second of the `AudioSpecificConfig`, which are right where the sample entry's fixed
    /// fields often are not.
    pub(super) layout: Option<(u16, u32)>,
}

/// Reads `esds` (ISO/IEC 14496-1 7.2.6: descriptors within descriptors) down to the `AudioSpecificConfig`.
pub(super) fn mpeg4_audio(entry: FourCc, esds: Mp4Box<'_>) -> Result<Mpeg4Audio, CmafError> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    let (_, _, mut fields) = esds.full_fields()?;
    let mut es = descriptor(&mut fields, ES).map_err(|()| esds.invalid("no elementary stream descriptor"))?;
    es.u16()?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.u16()?;
    }
    if flags & 0x40 != 0 {
        let length = es.u8()?;
        es.bytes(usize::from(length))?;
    }
    if flags & 0x20 != 0 {
        es.u16()?;
    }
    let mut config = descriptor(&mut es, DECODER_CONFIG).map_err(|()| esds.invalid("no decoder configuration"))?;
    let object_type = config.u8()?;
    config.bytes(12)?;
    if object_type != 0x40 {
        return Ok(Mpeg4Audio { codec: format!("{entry}.{object_type:x}"), layout: None });
    }
    let specific = descriptor(&mut config, DECODER_SPECIFIC).map_err(|()| esds.invalid("no audio configuration"))?;
    let (audio_object_type, layout) =
        audio_specific_config(specific.left()).ok_or_else(|| esds.invalid("audio configuration is cut short"))?;
    Ok(Mpeg4Audio { codec: format!("{entry}.40.{audio_object_type}"), layout })
}

/// The body of the next descriptor, which must have `tag`. Its length is in up to four bytes of seven bits.
fn descriptor<'a>(fields: &mut Fields<'a>, tag: u8) -> Result<Fields<'a>, ()> {
    if fields.u8().map_err(drop)? != tag {
        return Err(());
    }
    let mut length = 0_usize;
    for _ in 0..4 {
        let byte = fields.u8().map_err(drop)?;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let body = fields.bytes(length).map_err(drop)?;
            return Ok(Fields::new(FourCc(*b"esds"), body));
        }
    }
    Err(())
}

/// Object type, and channels with sample rate, of an `AudioSpecificConfig` (ISO/IEC 14496-3 1.6.2.1).
fn audio_specific_config(bytes: &[u8]) -> Option<(u32, Option<(u16, u32)>)> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    const CHANNELS: [u16; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
    let mut bits = Bits { bytes, at: 0 };
    let mut object_type = bits.read(5)?;
    if object_type == 31 {
        object_type = 32 + bits.read(6)?;
    }
    let rate = match bits.read(4)? {
        15 => Some(bits.read(24)?),
        index => RATES.get(index as usize).copied(),
    };
    let channels = CHANNELS.get(bits.read(4)? as usize).copied().filter(|&channels| channels > 0);
    Some((object_type, channels.zip(rate)))
}

/// Reads bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 32.
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed<'a>(kind: &[u8; 4], body: &'a [u8]) -> Mp4Box<'a> {
        Mp4Box { kind: FourCc(*kind), offset: 0, body, body_offset: 8 }
    }

    #[test]
    fn avc_string_is_profile_constraints_level() {
        let config = boxed(b"avcC", &[1, 0x64, 0, 0x28, 0xff]);
        assert_eq!(avc(FourCc(*b"avc1"), config).unwrap(), ("avc1.640028".to_owned(), 4));
        assert!(avc(FourCc(*b"avc1"), boxed(b"avcC", &[1, 0x64])).is_err());
        assert!(avc(FourCc(*b"avc1"), boxed(b"avcC", &[2, 0x64, 0, 0x28, 0xff])).is_err());
    }

    #[test]
    fn hevc_string_has_reversed_flags_and_no_trailing_zero_constraints() {
        // (profile byte, compatibility, constraints, level, expected)
        let cases: [(u8, u32, [u8; 6], u8, &str); 3] = [
            (0x01, 0x6000_0000, [0xb0, 0, 0, 0, 0, 0], 93, "hvc1.1.6.L93.B0"),
            (0x22, 0x2000_0000, [0x90, 0, 0x08, 0, 0, 0], 150, "hvc1.2.4.H150.90.0.8"),
            (0x41, 0x6000_0000, [0; 6], 120, "hvc1.A1.6.L120"),
        ];
        for (profile, compatibility, constraints, level, expected) in cases {
            let mut body = vec![1, profile];
            body.extend(compatibility.to_be_bytes());
            body.extend(constraints);
            body.push(level);
            body.extend([0; 8]);
            body.push(0x0f);
            assert_eq!(hevc(FourCc(*b"hvc1"), boxed(b"hvcC", &body)).unwrap(), (expected.to_owned(), 4));
        }
    }

    #[test]
    fn aac_layout_comes_from_the_audio_specific_config() {
        // (configuration, codec, layout)
        for (config, codec, layout) in [
            (&[0x11, 0x90][..], "mp4a.40.2", Some((2, 48_000))),
            (&[0x12, 0x08], "mp4a.40.2", Some((1, 44_100))),
            (&[0x2b, 0x92, 0x08, 0x00], "mp4a.40.5", Some((2, 22_050))),
            (&[0x11, 0x80], "mp4a.40.2", None),
        ] {
            let mut decoder = vec![0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            decoder.extend([5, 0x80, 0x80, config.len() as u8]);
            decoder.extend(config);
            let mut body = vec![0, 0, 0, 0, 3, (5 + decoder.len()) as u8, 0, 1, 0, 4, decoder.len() as u8];
            body.extend(decoder);
            let read = mpeg4_audio(FourCc(*b"mp4a"), boxed(b"esds", &body)).unwrap();
            assert_eq!((read.codec.as_str(), read.layout), (codec, layout));
            for cut in 0..body.len() {
                assert!(mpeg4_audio(FourCc(*b"mp4a"), boxed(b"esds", &body[..cut])).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn mp3_in_mp4_is_named_by_its_object_type() {
        let body = [0, 0, 0, 0, 3, 18, 0, 1, 0, 4, 13, 0x6b, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(mpeg4_audio(FourCc(*b"mp4a"), boxed(b"esds", &body)).unwrap().codec, "mp4a.6b");
    }
}
