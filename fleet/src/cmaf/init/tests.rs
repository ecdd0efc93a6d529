use super::*;
use proptest::prelude::*;

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

/// An init segment with a track (handler, timescale, sample entry) that begins at `edit_start` each, and defaults for
/// track 1.
pub(crate) fn movie(tracks: &[(&[u8; 4], u32, Vec<u8>)], edit_start: u32) -> Vec<u8> {
    let mut traks = Vec::new();
    for (id, (handler, timescale, entry)) in (1_u32..).zip(tracks) {
        let tkhd = boxed(b"tkhd", &[&[0; 12], &id.to_be_bytes(), &[0; 68]]);
        let elst = boxed(b"elst", &[&[0; 4], &1_u32.to_be_bytes(), &[0; 4], &edit_start.to_be_bytes(), &[0, 1, 0, 0]]);
        let mdhd = boxed(b"mdhd", &[&[0; 12], &timescale.to_be_bytes(), &[0; 8]]);
        let hdlr = boxed(b"hdlr", &[&[0; 8], *handler, &[0; 13]]);
        let stsd = boxed(b"stsd", &[&[0; 4], &1_u32.to_be_bytes(), entry]);
        let minf = boxed(b"minf", &[&boxed(b"stbl", &[&stsd])]);
        traks.extend(boxed(b"trak", &[&tkhd, &boxed(b"edts", &[&elst]), &boxed(b"mdia", &[&mdhd, &hdlr, &minf])]));
    }
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let mvex = boxed(b"mvex", &[&boxed(b"trex", &[&words(&[0, 1, 1, 512, 0, 0x0101_0000])])]);
    [boxed(b"ftyp", &[b"iso6", &[0; 4], b"iso6cmfc"]), boxed(b"moov", &[&traks, &mvex])].concat()
}

/// An H.264 sample entry, High profile, level 4.0, BT.709.
pub(crate) fn avc_entry(width: u16, height: u16, pixel_aspect: (u8, u8)) -> Vec<u8> {
    let size = [&[0; 24][..], &width.to_be_bytes(), &height.to_be_bytes(), &[0; 50]].concat();
    let avcc = boxed(b"avcC", &[&[1, 0x64, 0, 0x28, 0xff, 0xe0, 0]]);
    let colr = boxed(b"colr", &[b"nclx", &[0, 1, 0, 1, 0, 1, 0]]);
    boxed(b"avc1", &[&size, &avcc, &colr, &boxed(b"pasp", &[&[0, 0, 0, pixel_aspect.0, 0, 0, 0, pixel_aspect.1]])])
}

/// An AAC-LC sample entry of 48 kHz that says stereo, with a configuration of `channels`.
pub(crate) fn aac_entry(channels: u8) -> Vec<u8> {
    let fixed = [&[0; 16][..], &[0, 2, 0, 16, 0, 0, 0, 0], &(48_000_u32 << 16).to_be_bytes()].concat();
    let esds =
        [&[0, 0, 0, 0, 3, 22, 0, 1, 0, 4, 17, 0x40, 0x15][..], &[0; 11], &[5, 2, 0x11, 0x80 | channels << 3]].concat();
    boxed(b"mp4a", &[&fixed, &boxed(b"esds", &[&esds])])
}

#[test]
fn video_track_is_described_from_its_configuration() {
    let facts = parse_init(&movie(&[(b"vide", 30_000, avc_entry(1920, 1080, (4, 3)))], 1024)).unwrap();
    assert_eq!((facts.kind, facts.timescale, facts.track_id), (TrackKind::Video, 30_000, 1));
    assert_eq!((facts.codec.as_str(), facts.sample_entry), ("avc1.640028", FourCc(*b"avc1")));
    assert_eq!(facts.brands, [FourCc(*b"iso6"), FourCc(*b"cmfc")]);
    let video = facts.video.unwrap();
    assert_eq!((video.width, video.height, video.pixel_aspect, video.nal_length_size), (1920, 1080, (4, 3), Some(4)));
    assert_eq!(video.colour, Some(Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false }));
    assert_eq!(facts.defaults, SampleDefaults { duration: 512, size: 0, flags: 0x0101_0000 });
    assert_eq!(facts.edit_start, Some(1024));
}

#[test]
fn channels_come_from_the_audio_configuration_not_the_sample_entry() {
    let facts = parse_init(&movie(&[(b"soun", 48_000, aac_entry(1))], 1024)).unwrap();
    assert_eq!((facts.kind, facts.codec.as_str()), (TrackKind::Audio, "mp4a.40.2"));
    assert_eq!(facts.audio, Some(AudioFacts { channels: 1, sample_rate: 48_000 }));
}

#[test]
fn of_several_tracks_the_video_is_described_and_the_others_named() {
    let facts =
        parse_init(&movie(&[(b"soun", 48_000, aac_entry(1)), (b"vide", 25, avc_entry(1920, 1080, (4, 3)))], 1024))
            .unwrap();
    assert_eq!((facts.track_id, facts.codec.as_str()), (2, "avc1.640028"));
    assert_eq!(facts.other_codecs, ["mp4a.40.2"]);
}

#[test]
fn facts_survive_json() {
    let facts = parse_init(&movie(&[(b"vide", 30_000, avc_entry(1920, 1080, (4, 3)))], 1024)).unwrap();
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<InitFacts>(&text).unwrap(), facts);
}

#[test]
fn init_segments_that_describe_nothing_are_refused() {
    let missing = |kind| Err(CmafError::Missing(FourCc(kind)));
    assert_eq!(parse_init(&[]), missing(*b"moov"));
    assert_eq!(parse_init(&boxed(b"moov", &[])), missing(*b"trak"));
    assert_eq!(
        parse_init(&movie(&[(b"vide", 0, avc_entry(1920, 1080, (4, 3)))], 1024)),
        Err(CmafError::Invalid { kind: FourCc(*b"mdhd"), what: "timescale is zero" })
    );
}

#[test]
fn init_segment_cut_anywhere_is_refused() {
    let bytes = movie(&[(b"vide", 30_000, avc_entry(1920, 1080, (4, 3)))], 1024);
    for cut in 0..bytes.len() {
        assert!(parse_init(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn mutated_init_segments_never_panic(changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..8)) {
        let mut bytes = movie(&[(b"vide", 30_000, avc_entry(1920, 1080, (4, 3))), (b"soun", 48_000, aac_entry(1))], 1024);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        parse_init(&bytes).ok();
    }
}
