use super::*;
use crate::cmaf::{FourCc, FragmentFacts, InitFacts, SampleDefaults, TrackKind, parse_segment};
use proptest::prelude::*;

fn init(kind: TrackKind) -> InitFacts {
    InitFacts {
        brands: Vec::new(),
        track_id: TRACK_ID,
        kind,
        timescale: 1000,
        sample_entry: FourCc(*b"test"),
        codec: "test".into(),
        other_codecs: Vec::new(),
        video: None,
        audio: None,
        defaults: SampleDefaults::default(),
        edit_start: None,
    }
}

fn sample(pts: i64, sync: bool) -> Sample {
    Sample { pts, size: 3, sync }
}

fn read(samples: &[Sample], end: i64, delay: i64) -> FragmentFacts {
    let payload = vec![7; samples.iter().map(|sample| sample.size as usize).sum()];
    let mut bytes = Vec::new();
    write_styp(&mut bytes);
    let before = bytes.len() as u64;
    write_fragment(&mut bytes, 9, samples, &payload, end, delay).unwrap();
    let mut facts = parse_segment(&bytes, &init(TrackKind::Video)).unwrap();
    assert_eq!(facts.size, bytes.len() as u64);
    assert_eq!(facts.fragments[0].first_sample_range.offset, before);
    facts.fragments.remove(0)
}

#[test]
fn reordered_pictures_keep_their_times_and_offsets_stay_positive() {
    // I P B B, 40 ms a picture, in decode order.
    let samples = [sample(80, true), sample(200, false), sample(120, false), sample(160, false)];
    let facts = read(&samples, 240, 200);
    assert_eq!((facts.sequence, facts.samples, facts.sync_samples, facts.mdat_bytes), (9, 4, 1, 12));
    assert_eq!((facts.tfdt, facts.duration, facts.decode_end()), (80, 160, 240));
    assert_eq!((facts.first_presentation, facts.last_presentation, facts.presentation_end), (280, 400, 440));
    assert_eq!(facts.min_composition_offset, 160);
    assert!(facts.starts_with_sync);
    assert_eq!(facts.sync_presentations, [280]);
}

#[test]
fn deep_reordering_is_decoded_early_enough_to_be_shown_in_time() {
    let samples = [sample(0, true), sample(300, false), sample(200, false), sample(100, false)];
    let facts = read(&samples, 400, 100);
    assert_eq!(facts.min_composition_offset, 0);
    assert_eq!((facts.first_presentation, facts.last_presentation, facts.duration), (100, 400, 400));
}

#[test]
fn audio_is_written_with_defaults_only() {
    let samples: Vec<Sample> = (0..10).map(|index| sample(9600 + index * 1024, true)).collect();
    let mut bytes = Vec::new();
    write_fragment(&mut bytes, 1, &samples, &[0; 30], 9600 + 10 * 1024, 0).unwrap();
    // moof 8, mfhd 16, traf 8, tfhd 24, tfdt 20, trun 20 and 4 bytes a sample, mdat 8 and 30.
    assert_eq!(bytes.len(), 8 + 16 + 8 + 24 + 20 + 20 + 40 + 38);
    let facts = parse_segment(&bytes, &init(TrackKind::Audio)).unwrap().fragments.remove(0);
    assert_eq!((facts.tfdt, facts.samples, facts.sync_samples, facts.min_composition_offset), (9600, 10, 10, 0));
    assert_eq!((facts.min_sample_duration, facts.max_sample_duration), (1024, 1024));
    assert!(facts.sync_presentations.is_empty());
}

#[test]
fn contradictions_are_refused_and_leave_the_output_alone() {
    use FragmentError as E;
    let two = [sample(0, true), sample(40, false)];
    let cases: [(&[Sample], usize, i64, i64, FragmentError); 8] = [
        (&[], 0, 40, 0, E::Empty),
        (&two, 5, 80, 0, E::PayloadMismatch { samples: 6, payload: 5 }),
        (&two, 6, 40, 0, E::EndsTooEarly { end: 40, last: 40 }),
        (&[sample(-1, true)], 3, 40, 0, E::NegativeDecodeTime(-1)),
        (&[sample(5, true)], 3, 40, -6, E::NegativeDecodeTime(-1)),
        (&[sample(0, true)], 3, 1 << 32, 0, E::TimeOutOfRange(1 << 32)),
        (&[sample(0, true)], 3, 40, 1 << 31, E::TimeOutOfRange(1 << 31)),
        (&[sample(7, true)], 3, 40, i64::MAX, E::TimeOutOfRange(7)),
    ];
    for (samples, payload, end, delay, error) in cases {
        let mut out = vec![1, 2, 3];
        assert_eq!(write_fragment(&mut out, 1, samples, &vec![0; payload], end, delay), Err(error));
        assert_eq!(out, [1, 2, 3]);
    }
}

/// A closed GOP in some decode order: a permutation of distinct times whose first is the earliest.
fn any_gop() -> impl Strategy<Value = (Vec<Sample>, i64, i64)> {
    let steps = proptest::collection::vec((1..200_i64, 1..5_u32), 1..40);
    (0..1_i64 << 40, steps, 0..2000_i64)
        .prop_flat_map(|(start, steps, delay)| {
            let mut at = start;
            let mut times = Vec::new();
            for (step, size) in steps {
                times.push((at, size));
                at += step;
            }
            let first = times.remove(0);
            (Just(first), Just(times).prop_shuffle(), Just(at), Just(delay))
        })
        .prop_map(|(first, rest, end, delay)| {
            let picture = |(pts, size), sync| Sample { pts, size, sync };
            let samples = std::iter::once(picture(first, true)).chain(rest.into_iter().map(|it| picture(it, false)));
            (samples.collect(), end, delay)
        })
}

proptest! {
    #[test]
    fn any_decode_order_round_trips_without_loss_of_time((samples, end, delay) in any_gop()) {
        let facts = read(&samples, end, delay);
        let pts = samples.iter().map(|sample| sample.pts);
        let (first, last) = (pts.clone().min().unwrap(), pts.max().unwrap());
        prop_assert_eq!(facts.samples as usize, samples.len());
        prop_assert_eq!(facts.tfdt, first);
        prop_assert_eq!(facts.decode_end(), end);
        prop_assert_eq!(facts.first_presentation, first + delay);
        prop_assert_eq!(facts.last_presentation, last + delay);
        prop_assert!(facts.min_composition_offset >= 0);
        prop_assert_eq!(facts.sync_presentations, vec![first + delay]);
    }

    #[test]
    fn fragments_join_without_a_seam(gops in proptest::collection::vec(any_gop(), 1..5)) {
        let mut bytes = Vec::new();
        let mut at = 0;
        for (samples, end, delay) in &gops {
            let shift = at - samples[0].pts;
            let moved: Vec<Sample> = samples.iter().map(|s| Sample { pts: s.pts + shift, ..*s }).collect();
            let payload = vec![0; moved.iter().map(|sample| sample.size as usize).sum()];
            at = end + shift;
            write_fragment(&mut bytes, 1, &moved, &payload, at, *delay).unwrap();
        }
        let facts = parse_segment(&bytes, &init(TrackKind::Video)).unwrap();
        prop_assert_eq!(facts.fragments.len(), gops.len());
        prop_assert_eq!(facts.duration(), at);
        for pair in facts.fragments.windows(2) {
            prop_assert_eq!(pair[0].decode_end(), pair[1].tfdt);
        }
    }
}
