use super::*;
use crate::cmaf::{Sample, VideoFacts, write_fragment};
use proptest::prelude::*;

fn video() -> InitFacts {
    InitFacts {
        brands: Vec::new(),
        track_id: 1,
        kind: TrackKind::Video,
        timescale: 25,
        sample_entry: FourCc(*b"avc1"),
        codec: "avc1.640028".into(),
        other_codecs: Vec::new(),
        video: Some(VideoFacts { width: 16, height: 16, pixel_aspect: (1, 1), colour: None, nal_length_size: Some(4) }),
        audio: None,
        defaults: SampleDefaults::default(),
        edit_start: None,
    }
}

/// Two GOPs of two pictures each; the payload of every picture is one slice of six bytes.
fn segment() -> Vec<u8> {
    let mut bytes = Vec::new();
    for gop in 0..2 {
        let samples = [0, 1].map(|n| Sample { pts: gop * 2 + n, size: 6, sync: n == 0 });
        let payload = [0, 0, 0, 2, 0x65, 1, 0, 0, 0, 2, 0x41, 1];
        write_fragment(&mut bytes, 1, &samples, &payload, gop * 2 + 2, 5).unwrap();
    }
    bytes
}

#[test]
fn pictures_are_read_from_the_bytes_not_only_from_the_flags() {
    let mut bytes = segment();
    let facts = parse_segment(&bytes, &video()).unwrap();
    assert_eq!((facts.samples(), facts.duration(), facts.tfdt(), facts.decode_end()), (4, 4, 0, 4));
    assert_eq!((facts.first_presentation(), facts.presentation_end()), (5, 9));
    assert!(facts.fragments.iter().all(|fragment| fragment.starts_with_random_access == Some(true)));
    let range = facts.fragments[1].first_sample_range;
    let end = (range.offset + range.length) as usize;
    assert_eq!(&bytes[end - 2..end], [0x65, 1]);

    bytes[end - 2] = 0x41;
    let facts = parse_segment(&bytes, &video()).unwrap();
    assert!(facts.fragments[1].starts_with_sync);
    assert_eq!(facts.fragments[1].starts_with_random_access, Some(false));
}

#[test]
fn segment_cut_anywhere_is_refused_or_ends_at_a_fragment() {
    let bytes = segment();
    let whole = bytes.len() / 2;
    for cut in 0..bytes.len() {
        let parsed = parse_segment(&bytes[..cut], &video());
        assert_eq!(parsed.is_ok(), cut == whole, "cut at {cut}: {parsed:?}");
    }
}

#[test]
fn a_run_of_four_thousand_million_samples_is_refused_at_once() {
    let mut bytes = Vec::new();
    write_fragment(&mut bytes, 1, &[Sample { pts: 0, size: 0, sync: true }], &[], 1, 0).unwrap();
    let trun = bytes.windows(4).position(|four| four == b"trun").unwrap();
    // All values default: the run needs no bytes per sample.
    bytes[trun + 4..trun + 12].copy_from_slice(&[1, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(parse_segment(&bytes, &video()), Err(CmafError::TooManySamples(MAX_SAMPLES)));
}

#[test]
fn fragments_of_another_track_do_not_count() {
    let init = InitFacts { track_id: 2, ..video() };
    assert_eq!(parse_segment(&segment(), &init), Err(CmafError::NoFragment(2)));
}

proptest! {
    #[test]
    fn mutated_segments_never_panic(changes in proptest::collection::vec((0..300_usize, any::<u8>()), 1..8)) {
        let mut bytes = segment();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(facts) = parse_segment(&bytes, &video()) {
            for fragment in &facts.fragments {
                let range = fragment.first_sample_range;
                prop_assert!(range.offset + range.length <= bytes.len() as u64);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse_segment(&bytes, &video()).ok();
    }
}
