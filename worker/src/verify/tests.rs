use std::io::Read;
use std::os::unix::net::UnixStream;

use fleet::cmaf::{Sample, write_fragment, write_styp};
use fleet::ladder::{Codec, Scaler};
use fleet::timeline::{Borders, FrameRate, Grid};
use media::encode::Encoder;
use media::graph::Graph;
use media::{Frame, Received};

use super::*;
use crate::engine::outbox::Outbox;
use crate::engine::rendition::Lane;
use crate::facts::{Turn, VideoFacts};
use crate::plan::{AudioPlan, EncoderSettings, RenditionPlan, VideoPlan};
use crate::protocol::{Event, SegmentEvent};

type Said = Vec<(Event, Vec<u8>)>;

fn video_plan() -> VideoPlan {
    let rate = FrameRate::new(25, 1).unwrap();
    let options = [("preset", "ultrafast"), ("crf", "30"), ("forced-idr", "1")];
    VideoPlan {
        stream: 0,
        indexed: true,
        time_base: (1, 25),
        origin: 0,
        source_rate: rate,
        rate,
        grid: Grid { gop: 10, borders: Borders::Every { frames: 20 } },
        deinterlace: false,
        turn: Turn::None,
        colour: [1; 4],
        to_sdr: false,
        scaler: Scaler::Lanczos,
        gpu_decode: false,
        renditions: vec![RenditionPlan {
            name: "v90".to_owned(),
            width: 160,
            height: 90,
            codec: Codec::H264,
            encode: Some(EncoderSettings {
                encoder: "libx264".to_owned(),
                bit_rate: 0,
                max_rate: 1_000_000,
                buffer_bits: 2_000_000,
                gop: 10,
                options: options.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
            }),
        }],
        thumbnail_every: 10,
        thumbnail_size: (32, 18),
        poster_frame: 0,
    }
}

/// What a sound engine says of 50 frames: an init segment and three segments, the last of them short.
fn pictures(plan: &VideoPlan) -> Said {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let listener = std::thread::spawn(move || {
        let (mut said, mut stream) = (Said::new(), ours);
        let mut prefix = [0; 8];
        while stream.read_exact(&mut prefix).is_ok() {
            let (header, payload) = crate::protocol::lengths(prefix).unwrap();
            let (mut event, mut bytes) = (vec![0; header], vec![0; payload]);
            stream.read_exact(&mut event).unwrap();
            stream.read_exact(&mut bytes).unwrap();
            said.push((serde_json::from_slice(&event).unwrap(), bytes));
        }
        said
    });
    let outbox = Outbox::new(theirs);
    let mut source = Graph::generate("testsrc2=s=160x90:r=25,format=yuv420p").unwrap();
    let mut next = || -> Frame {
        let Received::Item(frame) = source.pull(0).unwrap() else { panic!("no picture") };
        frame
    };
    let first = next();
    let mut lane = Lane::open(plan, &plan.renditions[0], &first, 0, None, &outbox, false).unwrap();
    lane.frame(first, 0).unwrap();
    for number in 1..50 {
        lane.frame(next(), number).unwrap();
    }
    lane.finish(50).unwrap();
    drop(outbox);
    listener.join().unwrap()
}

fn sound_plan() -> AudioPlan {
    let video = video_plan();
    AudioPlan {
        name: "audio-eng".to_owned(),
        stream: 1,
        video_stream: 0,
        indexed: true,
        origin: 0,
        origin_time_base: (1, 25),
        language: None,
        is_default: true,
        copy: false,
        sample_rate: 48_000,
        bit_rate: 128_000,
        grid: video.grid,
        rate: video.rate,
    }
}

/// Two segments of sound that join.
fn sound(plan: &AudioPlan) -> Said {
    let encoder = Encoder::aac(48_000, 128_000).unwrap();
    let init = media::init::of_encoder(&encoder, plan.sample_rate, "").unwrap();
    let mut said = vec![(Event::Init { rendition: plan.name.clone() }, init)];
    for index in 0..2_i64 {
        let (at, delay) = (index * 10 * 1024, 9600);
        let samples: Vec<_> = (0..10).map(|i| Sample { pts: at + delay + i * 1024, size: 3, sync: true }).collect();
        let mut bytes = Vec::new();
        write_styp(&mut bytes);
        write_fragment(&mut bytes, 1, &samples, &[7; 30], at + delay + 10 * 1024, 0).unwrap();
        let (index, first) = (index.unsigned_abs(), at.unsigned_abs());
        let event = SegmentEvent { rendition: plan.name.clone(), index, first, count: 10 * 1024 };
        said.push((Event::Segment(event), bytes));
    }
    said
}

fn hear_video(plan: &VideoPlan, said: &Said) -> Result<(), JobError> {
    let mut check = VideoCheck::new(plan, 0, Some(3));
    said.iter().try_for_each(|(event, payload)| check.admit(event, payload))
}

fn hear_sound(plan: &AudioPlan, said: &Said) -> Result<(), JobError> {
    let mut check = SoundCheck::new(plan, 0);
    said.iter().try_for_each(|(event, payload)| check.admit(event, payload))
}

fn with_segment(said: &Said, at: usize, change: impl FnOnce(&mut SegmentEvent)) -> Said {
    let mut said = said.clone();
    if let Event::Segment(event) = &mut said[at].0 {
        change(event);
    }
    said
}

fn done(frames: u64) -> (Event, Vec<u8>) {
    (Event::Done(TaskReport { frames, source_end: Some(frames), ..TaskReport::default() }), Vec::new())
}

#[test]
fn what_a_sound_engine_says_passes() {
    let plan = video_plan();
    let mut said = pictures(&plan);
    assert_eq!(said.len(), 4);
    said.push((Event::Thumbnail { index: 1, width: 32, height: 18 }, vec![0; 32 * 18 * 3]));
    said.push((Event::Progress { frames: 50 }, Vec::new()));
    said.push(done(50));
    hear_video(&plan, &said).unwrap();
    hear_sound(&sound_plan(), &sound(&sound_plan())).unwrap();
}

#[test]
fn names_numbers_and_times_outside_the_plan_are_refused() {
    let plan = video_plan();
    let said = pictures(&plan);
    for name in ["../../etc/cron.d/x", "v91", "", "audio-eng"] {
        let renamed = with_segment(&said, 1, |s| s.rendition = name.to_owned());
        assert!(hear_video(&plan, &renamed).is_err(), "{name}");
        let mut renamed = said.clone();
        renamed[0].0 = Event::Init { rendition: name.to_owned() };
        assert!(hear_video(&plan, &renamed).is_err(), "{name}");
    }
    let changes: [fn(&mut SegmentEvent); 7] = [
        |s| s.index = 1,
        |s| s.index = u64::MAX,
        |s| s.first = 1,
        |s| s.first = u64::MAX,
        |s| s.count = 19,
        |s| s.count = 0,
        |s| s.count = u64::MAX,
    ];
    for change in changes {
        let error = hear_video(&plan, &with_segment(&said, 1, change)).unwrap_err();
        assert_eq!(error.code, FailureCode::EngineProtocol);
    }
    // The same segment twice, one left out, one after the end, one before its init segment.
    for order in [vec![0, 1, 1], vec![0, 2], vec![0, 1, 2, 3, 3], vec![1, 0]] {
        let said = order.iter().map(|i| said[*i].clone()).collect();
        assert!(hear_video(&plan, &said).is_err(), "{order:?}");
    }
    // More than was asked for.
    assert!(VideoCheck::new(&plan, 1, Some(2)).admit(&said[0].0, &said[0].1).is_ok());
    assert!(VideoCheck::new(&plan, 1, Some(2)).admit(&said[1].0, &said[1].1).is_err());
}

#[test]
fn bytes_that_are_not_what_they_are_called_are_refused() {
    let plan = video_plan();
    let said = pictures(&plan);
    let with_bytes = |at: usize, bytes: Vec<u8>| {
        let mut changed = said.clone();
        changed[at].1 = bytes;
        hear_video(&plan, &changed)
    };
    assert!(with_bytes(1, said[2].1.clone()).is_err(), "another segment's bytes");
    assert!(with_bytes(1, said[0].1.clone()).is_err(), "an init segment");
    assert!(with_bytes(0, said[1].1.clone()).is_err(), "a segment as init segment");
    assert!(with_bytes(1, Vec::new()).is_err());
    assert!(with_bytes(1, b"#EXTM3U\nhttp://169.254.169.254/".to_vec()).is_err());
    let junk = [said[1].1.clone(), [0, 0, 4, 0].to_vec(), b"uuid".to_vec(), vec![0; 1016]].concat();
    assert!(with_bytes(1, junk).is_err(), "a box that is not media");
    let flood = [said[1].1.clone(), (4_u32 << 20).to_be_bytes().to_vec(), b"mdat".to_vec(), vec![0; (4 << 20) - 8]];
    assert!(with_bytes(1, flood.concat()).is_err(), "more than the rate allows");
    for at in 0..said[1].1.len().min(600) {
        let mut bytes = said[1].1.clone();
        bytes[at] ^= 0x55;
        // A changed byte of a brand or of a picture may pass; nothing may panic.
        if let Err(error) = with_bytes(1, bytes) {
            assert_eq!(error.code, FailureCode::EngineProtocol);
        }
    }
}

#[test]
fn reports_pictures_and_events_out_of_place_are_refused() {
    let plan = video_plan();
    let said = pictures(&plan);
    let after = |event: Event, payload: &[u8]| {
        let mut said = said.clone();
        said.push((event, payload.to_vec()));
        hear_video(&plan, &said)
    };
    let report = |change: fn(&mut TaskReport)| {
        let mut report = TaskReport { frames: 50, source_end: Some(50), ..TaskReport::default() };
        change(&mut report);
        after(Event::Done(report), &[])
    };
    let changes: [fn(&mut TaskReport); 7] = [
        |r| r.frames = 49,
        |r| r.frames = u64::MAX,
        |r| r.source_end = Some(49),
        |r| r.source_end = Some(u64::MAX),
        |r| r.damaged = u64::MAX,
        |r| r.cpu_s.encode = -1.0,
        |r| r.warnings = vec!["line\nline".to_owned()],
    ];
    for change in changes {
        assert!(report(change).is_err());
    }
    assert!(after(Event::Thumbnail { index: 1 << 40, width: 32, height: 18 }, &[0; 32 * 18 * 3]).is_err());
    assert!(after(Event::Thumbnail { index: 1, width: 3200, height: 18 }, &[0; 32 * 18 * 3]).is_err());
    assert!(after(Event::Thumbnail { index: 1, width: 32, height: 18 }, &[0; 100]).is_err());
    assert!(after(Event::Poster { width: u32::MAX, height: u32::MAX }, &[]).is_err());
    assert!(after(Event::Progress { frames: u64::MAX }, &[]).is_err());
    assert!(after(Event::Hardware(crate::protocol::Hardware::default()), &[]).is_err());
}

#[test]
fn sound_that_does_not_join_or_lies_elsewhere_is_refused() {
    let plan = sound_plan();
    let said = sound(&plan);
    let changes: [fn(&mut SegmentEvent); 5] = [
        |s| s.index = 0,
        |s| s.first += 1,
        |s| s.first = u64::MAX,
        |s| s.count -= 1,
        |s| s.rendition = "v90".to_owned(),
    ];
    for change in changes {
        assert!(hear_sound(&plan, &with_segment(&said, 2, change)).is_err());
    }
    let mut video = said.clone();
    video[0].1 = pictures(&video_plan())[0].1.clone();
    assert!(hear_sound(&plan, &video).is_err(), "an init segment of pictures");
}

fn probe() -> SourceFacts {
    SourceFacts {
        container: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(),
        indexed: true,
        duration_s: Some(60.0),
        size_bytes: 1000,
        video: VideoFacts {
            stream: 0,
            codec: "h264".to_owned(),
            profile: 100,
            level: 40,
            time_base: (1, 90_000),
            origin: 0,
            width: 1920,
            height: 1080,
            pixel_aspect: (1, 1),
            turn: Turn::None,
            pixel_format: "yuv420p".to_owned(),
            interlaced: false,
            rate: FrameRate::new(25, 1).unwrap(),
            constant_rate: true,
            colour: [1; 4],
            bit_rate: None,
            copyable: Some(CopyFacts { key_frames: vec![0, 50], frames: 100 }),
        },
        audio: vec![AudioFacts {
            stream: 1,
            codec: "aac".to_owned(),
            profile: 1,
            time_base: (1, 48_000),
            start: Some(0),
            language: Some("eng".to_owned()),
            is_default: true,
            channels: 2,
            sample_rate: 48_000,
            bit_rate: None,
            extradata: vec![0x11, 0x90],
        }],
        warnings: vec!["odd".to_owned()],
    }
}

#[test]
fn a_probe_that_cannot_be_is_refused() {
    facts(&probe(), 1000).unwrap();
    assert!(facts(&probe(), 1001).is_err());
    let changes: [fn(&mut SourceFacts); 16] = [
        |f| f.container = String::new(),
        |f| f.container = "a\nb".to_owned(),
        |f| f.duration_s = Some(f64::MAX),
        |f| f.duration_s = Some(-1.0),
        |f| f.video.width = u32::MAX,
        |f| f.video.height = 0,
        |f| f.video.pixel_aspect = (0, 1),
        |f| f.video.time_base = (1, 0),
        |f| f.video.origin = i64::MIN,
        |f| f.video.colour = [u32::MAX; 4],
        |f| f.video.copyable = Some(CopyFacts { key_frames: vec![0, 50, 50], frames: 100 }),
        |f| f.video.copyable = Some(CopyFacts { key_frames: vec![0, 500], frames: 100 }),
        |f| f.audio = vec![f.audio[0].clone(); 129],
        |f| f.audio[0].language = Some("../".to_owned()),
        |f| f.audio[0].sample_rate = 0,
        |f| f.warnings = vec!["x".repeat(2000)],
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut changed = probe();
        change(&mut changed);
        assert_eq!(facts(&changed, 1000).map_err(|e| e.code), Err(FailureCode::EngineProtocol), "{number}");
    }
}
