//! A presentation that keeps every rule, and what each damage to it breaks.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::cmaf::{Sample, aac_entry, avc_entry, movie, parse_init, parse_segment, write_fragment, write_styp};
use crate::hls::{
    Bandwidth, ByteRange, ClosedCaptions, IframeVariant, Map, MediaKind, MediaPlaylist, PlaylistType, Rendition,
    Segment, Variant, measured_bandwidth, render_media_playlist, render_multivariant_playlist,
};

/// A presentation as playlists and files, relative to its folder.
pub(super) struct Made {
    pub(super) presentation: Presentation,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Made {
    /// Writes the files and playlists.
    pub(super) fn write(&self, folder: &Path) {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        self.files.iter().for_each(|(name, bytes)| write(name, bytes));
        for track in &self.presentation.tracks {
            write(&track.uri, render_media_playlist(track.playlist.as_ref().unwrap()).as_bytes());
        }
        write("master.m3u8", render_multivariant_playlist(&self.presentation.multivariant).as_bytes());
    }
}

const SEGMENTS: i64 = 3;
const DELAY_S: i64 = 1;

/// Segments of 3 GOPs of 2 s at 25 frames per second, each GOP an IDR of `bytes` and 49 small pictures.
fn video_segment(index: i64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write_styp(&mut out);
    for gop in index * 3..index * 3 + 3 {
        let samples: Vec<Sample> = (0..50)
            .map(|n| Sample { pts: gop * 50 + n, size: if n == 0 { bytes as u32 } else { 6 }, sync: n == 0 })
            .collect();
        let mut payload = ((bytes - 4) as u32).to_be_bytes().to_vec();
        payload.push(0x65);
        payload.resize(bytes, 1);
        payload.extend([0, 0, 0, 2, 0x41, 1].repeat(49));
        write_fragment(&mut out, gop as u32 + 1, &samples, &payload, (gop + 1) * 50, DELAY_S * 25).unwrap();
    }
    out
}

/// 6 s of sound in 250 frames of 1152 samples.
fn audio_segment(index: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let at = |frame: i64| (index * 250 + frame) * 1152 + DELAY_S * 48_000;
    let samples: Vec<Sample> = (0..250).map(|frame| Sample { pts: at(frame), size: 380, sync: true }).collect();
    write_fragment(&mut out, 1, &samples, &[0; 380 * 250], at(250), 0).unwrap();
    out
}

fn track(made: &mut Made, folder: &str, role: Role, init: Vec<u8>, segment: impl Fn(i64) -> Vec<u8>) -> Bandwidth {
    let map = Some(Arc::new(Map { uri: "init.mp4".into(), byte_range: None }));
    let facts = parse_init(&init).unwrap();
    made.files.push((format!("{folder}/init.mp4"), init));
    let (mut segments, mut loaded) = (Vec::new(), Vec::new());
    for index in 0..SEGMENTS {
        let bytes = segment(index);
        loaded.push(LoadedSegment {
            bytes: Some(bytes.len() as u64),
            facts: Some(parse_segment(&bytes, &facts).unwrap()),
        });
        segments.push(Segment::new(format!("seg_{index:05}.m4s"), 6.0, map.clone()));
        made.files.push((format!("{folder}/seg_{index:05}.m4s"), bytes));
    }
    let sizes: Vec<(f64, u64)> = loaded.iter().map(|segment| (6.0, segment.bytes.unwrap())).collect();
    made.presentation.tracks.push(Track {
        uri: format!("{folder}/index.m3u8"),
        role,
        playlist: Some(MediaPlaylist::new(PlaylistType::Vod, 6, segments)),
        init: Some(facts),
        segments: loaded,
        faults: Vec::new(),
    });
    measured_bandwidth(&sizes, 6.0)
}

/// The I-frame playlist of the video playlist made last.
fn iframes(made: &mut Made, folder: &str, resolution: (u32, u32)) {
    let video = made.presentation.tracks.last().unwrap();
    let mut segments = Vec::new();
    for (segment, loaded) in video.playlist.as_ref().unwrap().segments.iter().zip(&video.segments) {
        for fragment in &loaded.facts.as_ref().unwrap().fragments {
            let byte_range: Option<ByteRange> = Some(fragment.first_sample_range);
            segments.push(Segment { byte_range, duration: 2.0, ..segment.clone() });
        }
    }
    let sizes: Vec<(f64, u64)> = segments.iter().map(|segment| (2.0, segment.byte_range.unwrap().length)).collect();
    let bandwidth = measured_bandwidth(&sizes, 2.0);
    let loaded = sizes.iter().map(|size| LoadedSegment { bytes: Some(size.1), facts: None }).collect();
    let uri = format!("{folder}/iframe.m3u8");
    made.presentation.multivariant.iframe_variants.push(IframeVariant {
        uri: uri.clone(),
        bandwidth: bandwidth.peak,
        average_bandwidth: Some(bandwidth.average),
        codecs: vec!["avc1.640028".into()],
        resolution: Some(resolution),
        video_range: None,
    });
    let init = video.init.clone();
    let playlist = Some(MediaPlaylist::iframes(segments));
    made.presentation.tracks.push(Track {
        uri,
        role: Role::Iframe,
        playlist,
        init,
        segments: loaded,
        faults: Vec::new(),
    });
}

/// Two video renditions and one of sound, with I-frame playlists.
pub(super) fn good() -> Made {
    let multivariant = crate::hls::MultivariantPlaylist::new(Vec::new(), Vec::new(), Vec::new());
    let mut made = Made {
        presentation: Presentation { multivariant, tracks: Vec::new(), partial_files: Vec::new() },
        files: Vec::new(),
    };
    let audio_init = movie(&[(b"soun", 48_000, aac_entry(2))], 0);
    let sound = track(&mut made, "audio-und", Role::Audio, audio_init, audio_segment);
    let mut variants = Vec::new();
    for (folder, resolution, bytes) in [("v720", (1280, 720), 400_000), ("v360", (640, 360), 90_000)] {
        let entry = avc_entry(resolution.0 as u16, resolution.1 as u16, (1, 1));
        let segment = |index| video_segment(index, bytes);
        let init = movie(&[(b"vide", 25, entry)], 0);
        let needed = track(&mut made, folder, Role::Variant, init, segment) + sound;
        iframes(&mut made, folder, resolution);
        variants.push(Variant {
            uri: format!("{folder}/index.m3u8"),
            bandwidth: needed.peak,
            average_bandwidth: Some(needed.average),
            codecs: vec!["avc1.640028".into(), "mp4a.40.2".into()],
            resolution: Some(resolution),
            frame_rate: Some(25.0),
            audio: Some("audio".into()),
            closed_captions: Some(ClosedCaptions::None),
            ..Variant::default()
        });
    }
    crate::hls::put_start_variant_first(&mut variants);
    made.presentation.multivariant.variants = variants;
    made.presentation.multivariant.version = 4;
    made.presentation.multivariant.renditions.push(Rendition {
        kind: MediaKind::Audio,
        group_id: "audio".into(),
        name: "Original".into(),
        language: Some("und".into()),
        default: true,
        autoselect: true,
        channels: Some("2".into()),
        uri: Some("audio-und/index.m3u8".into()),
    });
    made
}

fn broken(presentation: &Presentation) -> Vec<&'static str> {
    evaluate(presentation).broken().map(|rule| rule.id).collect()
}

/// One I-frame each 2 s is what a 2-second GOP has; one a second is only a recommendation.
const ALWAYS: &str = "apple-6.2";

#[test]
fn good_presentation_keeps_every_rule() {
    let report = evaluate(&good().presentation);
    let broken: Vec<_> = report.broken().filter(|rule| rule.id != ALWAYS).collect();
    assert!(report.passed() && broken.is_empty(), "{broken:#?}");
    assert_eq!(report.summary.must_failed, 0);
    assert_eq!(report.renditions.len(), 5);
    let video = report.renditions.iter().find(|measured| measured.uri == "v720/index.m3u8").unwrap();
    assert_eq!((video.width, video.frame_rate, video.longest_gop_s), (Some(1280), Some(25.0), Some(2.0)));
    assert_eq!((video.media_duration_s, video.extinf_duration_s), (Some(18.0), 18.0));
}

#[test]
fn every_rule_has_an_id_of_its_own() {
    let report = evaluate(&good().presentation);
    let ids: std::collections::HashSet<_> = report.rules.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), report.rules.len());
}

#[test]
fn each_damage_breaks_the_rules_that_name_it() {
    fn track<'p>(p: &'p mut Presentation, uri: &str) -> &'p mut Track {
        p.tracks.iter_mut().find(|track| track.uri == uri).unwrap()
    }
    fn playlist<'p>(p: &'p mut Presentation, uri: &str) -> &'p mut MediaPlaylist {
        track(p, uri).playlist.as_mut().unwrap()
    }
    fn segment<'p>(p: &'p mut Presentation, uri: &str, index: usize) -> &'p mut SegmentFacts {
        track(p, uri).segments[index].facts.as_mut().unwrap()
    }
    const V: &str = "v360/index.m3u8";
    const A: &str = "audio-und/index.m3u8";
    const I: &str = "v360/iframe.m3u8";
    type Damage = fn(&mut Presentation);
    let cases: &[(&[&str], Damage)] = &[
        (&["apple-9.1"], |p| p.multivariant.variants[0].codecs.truncate(1)),
        (&["apple-9.1"], |p| p.multivariant.variants[0].codecs[0] = "avc1.64001f".into()),
        (&[], |p| p.multivariant.variants[0].codecs[0] = "AVC1.640028".into()),
        (&["apple-9.2"], |p| p.multivariant.variants[0].resolution = Some((1280, 718))),
        (&["apple-9.2"], |p| p.multivariant.variants[0].resolution = None),
        (&["apple-9.3"], |p| p.multivariant.iframe_variants[0].codecs.clear()),
        (&["apple-9.12"], |p| {
            p.multivariant.independent_segments = false;
            playlist(p, V).independent_segments = false;
        }),
        (&["apple-9.14"], |p| p.multivariant.variants[1].average_bandwidth = None),
        (&["apple-9.15"], |p| p.multivariant.variants[0].frame_rate = Some(24.975)),
        (&["apple-9.19"], |p| p.multivariant.variants[0].score = Some(1.0)),
        (&["rfc8216bis:closed-captions"], |p| p.multivariant.variants[0].closed_captions = None),
        (&["apple-1.26"], |p| {
            let average = &mut p.multivariant.variants[1].average_bandwidth;
            *average = average.map(|rate| rate * 2);
        }),
        (&["apple-1.27"], |p| p.multivariant.variants[0].bandwidth *= 2),
        (&["rfc8216bis:bandwidth-bound"], |p| p.multivariant.variants[0].bandwidth -= 100),
        (&["apple-1.32"], |p| p.multivariant.variants.rotate_left(1)),
        (&["apple-8.10"], |p| p.multivariant.renditions[0].language = None),
        (&["rfc8216bis:channels"], |p| p.multivariant.renditions[0].channels = Some("6".into())),
        (&["rfc8216bis:groups"], |p| {
            let again = p.multivariant.renditions[0].clone();
            p.multivariant.renditions.push(again);
        }),
        (&["rfc8216bis:target-duration", "apple-8.1", "rfc8216bis:same-content"], |p| {
            // Lasts longer than is listed, in both senses.
            playlist(p, V).segments[2].duration = 6.5;
            segment(p, V, 2).fragments[2].duration += 8;
        }),
        (&["apple-7.7", "apple-8.1", "rfc8216bis:same-content"], |p| segment(p, V, 2).fragments[2].duration += 25),
        (&["rfc8216bis:same-content", "apple-7.1"], |p| segment(p, V, 1).fragments[0].duration -= 2),
        (&["apple-8.2"], |p| playlist(p, A).target_duration = 7),
        (&["apple-8.6"], |p| playlist(p, V).ended = false),
        (&["apple-8.6", "rfc8216bis:one-type"], |p| playlist(p, V).playlist_type = None),
        (&["apple-8.20"], |p| playlist(p, I).segments[3].map = None),
        (&["rfc8216bis:version"], |p| playlist(p, V).version = 4),
        (&["touchline:lowest-version"], |p| playlist(p, V).version = 7),
        (&["touchline:one-init"], |p| playlist(p, V).segments[1].discontinuity = true),
        (&["rfc8216bis:program-date-time"], |p| {
            playlist(p, V).segments[0].program_date_time = Some("2026-01-01T00:00:00Z".into());
        }),
        (&["apple-7.1"], |p| segment(p, V, 1).fragments[1].tfdt += 1),
        (&["apple-7.4"], |p| segment(p, V, 1).fragments[0].starts_with_random_access = Some(false)),
        (&["touchline:composition-offsets"], |p| segment(p, V, 1).fragments[0].min_composition_offset = -1),
        (&["rfc8216bis:same-start", "apple-8.22"], |p| segment(p, V, 0).fragments[0].first_presentation -= 1),
        (&["touchline:sound-start", "apple-8.22"], |p| segment(p, A, 0).fragments[0].first_presentation -= 9600),
        (&["apple-1.13"], |p| segment(p, V, 1).fragments[1].sync_presentations.clear()),
        (&["apple-6.10"], |p| playlist(p, I).segments[3].byte_range.as_mut().unwrap().length -= 1),
        (&["touchline:iframes-complete"], |p| drop(playlist(p, I).segments.pop())),
        (&["apple-6.8"], |p| playlist(p, I).iframes_only = false),
        (&["touchline:files-readable"], |p| {
            track(p, V).faults.push("v360/index.m3u8: seg_00001.m4s is missing".into())
        }),
        (&["touchline:files-readable", "touchline:contents-seen"], |p| {
            track(p, V).segments[1] = LoadedSegment::default();
        }),
        (&["touchline:no-partial-files"], |p| p.partial_files.push("v360/seg_00003.m4s.tmp".into())),
        (&["apple-2.3"], |p| track(p, A).init.as_mut().unwrap().audio.as_mut().unwrap().channels = 6),
        (&["apple-1.10"], |p| track(p, V).init.as_mut().unwrap().sample_entry = crate::cmaf::FourCc(*b"avc3")),
        (&["apple-1.3"], |p| track(p, V).init.as_mut().unwrap().codec = "avc1.64003c".into()),
        (&["apple-1.21", "apple-9.16"], |p| {
            let video = track(p, V).init.as_mut().unwrap().video.as_mut().unwrap();
            video.colour.as_mut().unwrap().transfer = 18;
        }),
        (&["apple-1.33", "apple-9.2"], |p| {
            track(p, V).init.as_mut().unwrap().video.as_mut().unwrap().width = 600;
        }),
    ];
    assert_eq!(broken(&good().presentation), [ALWAYS]);
    for (number, (expected, damage)) in cases.iter().enumerate() {
        let mut presentation = good().presentation;
        damage(&mut presentation);
        let broken = broken(&presentation);
        for rule in *expected {
            assert!(broken.contains(rule), "case {number}: {rule} not in {broken:?}");
        }
        assert!(!expected.is_empty() || broken == [ALWAYS], "case {number}: {broken:?}");
    }
}

#[test]
fn report_is_written_as_json_with_stable_words() {
    let mut presentation = good().presentation;
    presentation.multivariant.variants[0].average_bandwidth = None;
    let report = evaluate(&presentation);
    assert!(!report.passed());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["summary"]["must_failed"], 1);
    let rule = json["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "apple-9.14").unwrap();
    assert_eq!((&rule["verdict"], &rule["level"]), (&"fail".into(), &"must".into()));
    let unseen = json["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "apple-11").unwrap();
    assert_eq!(unseen["verdict"], "not_applicable");
}

#[test]
fn presentation_without_sound_has_no_rules_of_sound() {
    let mut presentation = good().presentation;
    presentation.tracks.retain(|track| track.role != Role::Audio);
    presentation.multivariant.renditions.clear();
    for variant in &mut presentation.multivariant.variants {
        variant.audio = None;
        variant.codecs.truncate(1);
        // Without the sound's share.
        let uri = variant.uri.clone();
        let track = presentation.tracks.iter().find(|track| track.uri == uri).unwrap();
        let sizes: Vec<(f64, u64)> = track.segments.iter().map(|segment| (6.0, segment.bytes.unwrap())).collect();
        let bandwidth = measured_bandwidth(&sizes, 6.0);
        (variant.bandwidth, variant.average_bandwidth) = (bandwidth.peak, Some(bandwidth.average));
    }
    assert_eq!(broken(&presentation), [ALWAYS]);
    let report = evaluate(&presentation);
    let of_sound = report.rules.iter().find(|rule| rule.id == "apple-2.3").unwrap();
    assert_eq!(of_sound.verdict, Verdict::NotApplicable);
}
