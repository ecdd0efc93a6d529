//! From facts and a ladder to a plan. Pure: same facts, same ladder, same plan, on any machine.

use fleet::ladder::{Codec, Ladder, Rung, Top};
pub use fleet::plan::{AudioPlan, Backend, EncoderSettings, JobPlan, RenditionPlan, Turn, VideoPlan};
use fleet::timeline::{Borders, FrameRate, Grid};

use crate::encoder;
use crate::facts::{AudioFacts, SourceFacts, VideoFacts};

/// Sound tracks that are carried over; a broadcast file with dozens of mono tracks stays playable.
const MAX_AUDIO_TRACKS: usize = 8;

/// What planning takes into account beside source and ladder.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// What encodes H.264.
    pub backend: Backend,
    /// Whether NVENC also encodes HEVC.
    pub nvenc_hevc: bool,
    /// Whether a GPU decodes and scales.
    pub gpu: bool,
}

/// Makes the plan.
#[must_use]
pub fn plan(facts: &SourceFacts, ladder: &Ladder, machine: Machine) -> JobPlan {
    let video = &facts.video;
    let mut notes = Vec::new();
    let source_rate = if video.interlaced { video.rate.doubled() } else { video.rate };
    let rate = source_rate.capped(ladder.max_frame_rate);
    if rate != source_rate {
        notes.push(format!("{source_rate} pictures a second are brought to {rate}"));
    }
    if video.interlaced {
        notes.push(format!("interlaced: each field becomes a picture, {rate} a second"));
    }
    let to_sdr = video.is_hdr() || video.is_wide_gamut();
    if to_sdr {
        notes.push("HDR or wide gamut is brought to SDR BT.709".to_owned());
    }
    let mut grid = Grid::even(rate, ladder.gop_seconds, ladder.segment_gops);
    let rungs = choose_rungs(video.display_size(), &ladder.renditions);
    let copy = copy_grid(video, ladder, &rungs, rate, &grid);
    match copy {
        Ok(copied) => {
            notes.push(format!("{}p: the source's own packets are copied", rungs[0].0.height));
            grid = copied;
        }
        Err(reason) if ladder.top != Top::Encode => {
            notes.push(format!("the source rendition is encoded, not copied: {reason}"));
        }
        Err(_) => {}
    }
    let copies = matches!(grid.borders, Borders::At { .. });
    let renditions: Vec<RenditionPlan> = rungs
        .iter()
        .enumerate()
        .map(|(i, (rung, (width, height)))| RenditionPlan {
            name: format!("v{}", rung.height),
            width: *width,
            height: *height,
            codec: rung.codec,
            encode: (!(copies && i == 0)).then(|| {
                // NVENC refuses very small pictures; 160 × 64 is below every minimum of its generations.
                let small = *width < 160 || *height < 64;
                let hevc_missing = rung.codec == Codec::Hevc && !machine.nvenc_hevc;
                let backend = if small || hevc_missing { Backend::X264 } else { machine.backend };
                encoder::settings(backend, ladder.effort, rung, rate, grid.gop)
            }),
        })
        .collect();

    let expected_frames = facts.duration_s.map(|s| to_frames(s, rate));
    let thumbnail_every = u64::from(grid.gop) * thumbnail_gops(facts.duration_s.unwrap_or(0.0));
    let audio = plan_audio(facts, ladder, &grid, rate);
    JobPlan {
        ladder: ladder.name.clone(),
        video: VideoPlan {
            stream: video.stream,
            indexed: facts.indexed,
            time_base: video.time_base,
            origin: video.origin,
            source_rate,
            rate,
            grid,
            deinterlace: video.interlaced,
            turn: video.turn,
            colour: video.colour,
            to_sdr,
            scaler: ladder.scaler,
            gpu_decode: machine.gpu,
            thumbnail_every,
            thumbnail_size: thumbnail_size(&renditions),
            poster_frame: to_frames((facts.duration_s.unwrap_or(0.0) / 10.0).min(10.0), rate),
            renditions,
        },
        audio,
        expected_frames,
        notes,
    }
}

fn to_frames(seconds: f64, rate: FrameRate) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a day holds")]
    let frames = (seconds * rate.as_f64()).round().clamp(0.0, 1e9) as u64;
    frames
}

/// Rungs that do not upscale, with their sizes. A source that is smaller than the highest rung also gets its own size,
/// unless a rung comes within 10 % of it.
fn choose_rungs(display: (u32, u32), rungs: &[Rung]) -> Vec<(Rung, (u32, u32))> {
    let short = display.0.min(display.1);
    let mut chosen: Vec<Rung> = rungs.iter().filter(|r| r.height <= short).cloned().collect();
    let reached = chosen.first().map_or(0, |r| r.height);
    let above = rungs.iter().rev().find(|r| r.height > short);
    if let Some(above) = above.filter(|_| f64::from(reached) < f64::from(short) * 0.9) {
        let height = (short & !1).max(2);
        let pixels = (f64::from(height) / f64::from(above.height)).powi(2);
        let floor = chosen.first().map_or(200, |r| r.max_kbps);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a u32")]
        let max_kbps = ((f64::from(above.max_kbps) * pixels.powf(0.75)) as u32).clamp(floor, above.max_kbps.max(floor));
        chosen.insert(0, Rung { height, max_kbps, codec: Codec::H264, ..above.clone() });
    }
    chosen
        .into_iter()
        .map(|rung| {
            let scale = f64::from(rung.height) / f64::from(short);
            let whole = display.0.max(display.1);
            let long = even(f64::from(whole) * scale).min((whole & !1).max(2));
            let size = if display.0 >= display.1 { (long, rung.height) } else { (rung.height, long) };
            (rung, size)
        })
        .collect()
}

fn even(length: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "picture sizes")]
    let half = (length / 2.0).round().clamp(1.0, 32_768.0) as u32;
    half * 2
}

/// Storyboards stay small: a picture every 2 s for clips, every 10 s for a whole match.
fn thumbnail_gops(duration_s: f64) -> u64 {
    match duration_s {
        d if d <= 600.0 => 1,
        d if d <= 2400.0 => 2,
        _ => 5,
    }
}

fn thumbnail_size(renditions: &[RenditionPlan]) -> (u32, u32) {
    let (w, h) = renditions.last().map_or((16.0, 9.0), |r| (f64::from(r.width), f64::from(r.height)));
    let scale = if w >= h { 160.0 / w } else { (160.0 / h).min(90.0 / w) };
    (even(w * scale), even(h * scale))
}

/// The grid of a copied top rendition, or why it cannot be copied.
fn copy_grid(
    video: &VideoFacts,
    ladder: &Ladder,
    rungs: &[(Rung, (u32, u32))],
    rate: FrameRate,
    even_grid: &Grid,
) -> Result<Grid, &'static str> {
    if ladder.top == Top::Encode {
        return Err("the ladder does not ask for it");
    }
    let Some((top, size)) = rungs.first() else { return Err("there is no rendition") };
    let Some(copy) = &video.copyable else { return Err("its key frames are not known to be closed and regular") };
    if video.codec != "h264" || top.codec != Codec::H264 {
        return Err("it is not H.264");
    }
    // 77 main, 100 high; baseline lacks tools that are worth encoding for, but plays.
    if !matches!(video.profile, 66 | 77 | 100 | 578) || video.level > 52 {
        return Err("its profile or level is not one that all devices play");
    }
    if video.pixel_format != "yuv420p" || video.colour[0] == 2 || video.is_hdr() || video.is_wide_gamut() {
        return Err("its pictures are not 8-bit 4:2:0 SDR in limited range");
    }
    if video.interlaced || video.turn != Turn::None || video.pixel_aspect.0 != video.pixel_aspect.1 {
        return Err("it is interlaced, turned or anamorphic");
    }
    if *size != (video.width, video.height) {
        return Err("no rendition has its size");
    }
    if rate != video.rate || !video.constant_rate {
        return Err("its frame rate varies or is too high");
    }
    if video.bit_rate.is_none_or(|b| b > u64::from(top.max_kbps) * 1000) {
        return Err("its bit rate is above the rendition's cap");
    }
    let target = even_grid.end(0).unwrap_or(1);
    let longest = copy
        .key_frames
        .windows(2)
        .map(|w| w[1] - w[0])
        .chain(copy.key_frames.last().map(|last| copy.frames.saturating_sub(*last)))
        .max()
        .unwrap_or(copy.frames);
    let limit = if ladder.top == Top::Copy { to_frames(12.0, rate) } else { target };
    if longest > limit {
        return Err("its key frames are too far apart");
    }
    // Longest runs of GOPs that stay within one target duration.
    let target = target.max(longest);
    let mut starts = vec![0];
    let mut start = 0;
    for pair in copy.key_frames.windows(2) {
        let next_key = pair[1];
        if next_key - start > target {
            starts.push(pair[0]);
            start = pair[0];
        }
    }
    if copy.frames.saturating_sub(start) > target && copy.key_frames.last().is_some_and(|k| *k > start) {
        starts.extend(copy.key_frames.last());
    }
    Ok(Grid { gop: even_grid.gop, borders: Borders::At { starts } })
}

fn plan_audio(facts: &SourceFacts, ladder: &Ladder, grid: &Grid, rate: FrameRate) -> Vec<AudioPlan> {
    let default = facts.audio.iter().position(|a| a.is_default).unwrap_or(0);
    let mut tracks: Vec<(usize, &AudioFacts)> = facts.audio.iter().enumerate().collect();
    tracks.sort_by_key(|(i, _)| (*i != default, *i));
    tracks.truncate(MAX_AUDIO_TRACKS);
    let mut names: Vec<String> = Vec::new();
    tracks
        .into_iter()
        .map(|(i, audio)| {
            let base = format!("audio-{}", audio.language.as_deref().unwrap_or("und"));
            let same = names.iter().filter(|n| **n == base || n.starts_with(&format!("{base}-"))).count();
            let name = if same == 0 { base } else { format!("{base}-{}", same + 1) };
            names.push(name.clone());
            let copy = facts.indexed && can_copy(audio);
            AudioPlan {
                name,
                stream: audio.stream,
                video_stream: facts.video.stream,
                indexed: facts.indexed,
                origin: facts.video.origin,
                origin_time_base: facts.video.time_base,
                language: audio.language.clone(),
                is_default: i == default,
                copy,
                sample_rate: if copy { audio.sample_rate } else { 48_000 },
                bit_rate: ladder.audio.kbps * 1000,
                grid: grid.clone(),
                rate,
            }
        })
        .collect()
}

/// AAC-LC, stereo, at a rate and bit rate that HLS players take, with its configuration in the container, in step with
/// the film from the start.
fn can_copy(audio: &AudioFacts) -> bool {
    let object_type = audio.extradata.first().map(|b| b >> 3);
    audio.codec == "aac"
        && object_type == Some(2)
        && audio.channels == 2
        && matches!(audio.sample_rate, 44_100 | 48_000)
        && audio.bit_rate.is_some_and(|b| (32_000..=170_000).contains(&b))
}

/// Chunks of a job: runs of segments for `slots` slots, the last one open-ended. `chunk_s` overrides the length.
#[must_use]
pub fn chunks(
    plan: &VideoPlan,
    expected_frames: Option<u64>,
    slots: u32,
    chunk_s: Option<f64>,
) -> Vec<(u64, Option<u64>)> {
    let segments = plan.grid.segments(expected_frames.unwrap_or(0)).max(1);
    let per_segment = plan.rate.seconds(plan.grid.end(0).unwrap_or(1).max(1));
    let length = match chunk_s {
        Some(seconds) => to_frames(seconds / per_segment, FrameRate::snapped(1.0).unwrap_or(plan.rate)).max(1),
        // One slot reads the source in one go; several get at least four chunks each, of at most ten segments, so that
        // none idles at the end.
        None if slots <= 1 => segments,
        None => (segments / (4 * u64::from(slots))).clamp(1, 10),
    };
    let count = segments.div_ceil(length);
    (0..count).map(|i| (i * length, (i + 1 < count).then_some((i + 1) * length))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;

    fn facts(width: u32, height: u32) -> SourceFacts {
        SourceFacts {
            container: "mov".into(),
            indexed: true,
            duration_s: Some(60.0),
            size_bytes: 1,
            video: VideoFacts {
                stream: 0,
                codec: "h264".into(),
                profile: 100,
                level: 40,
                time_base: (1, 25),
                origin: 0,
                width,
                height,
                pixel_aspect: (1, 1),
                turn: Turn::None,
                pixel_format: "yuv420p".into(),
                interlaced: false,
                rate: FrameRate::new(25, 1).unwrap(),
                constant_rate: true,
                colour: [1, 1, 1, 1],
                bit_rate: Some(5_000_000),
                copyable: None,
            },
            audio: vec![],
            warnings: vec![],
        }
    }

    const CPU: Machine = Machine { backend: Backend::X264, nvenc_hevc: false, gpu: false };

    fn sizes(facts: &SourceFacts) -> Vec<(String, u32, u32)> {
        let plan = plan(facts, &profiles::all()[0], CPU);
        plan.video.renditions.iter().map(|r| (r.name.clone(), r.width, r.height)).collect()
    }

    #[test]
    fn renditions_never_upscale_and_a_source_between_rungs_keeps_its_own_size() {
        let names =
            |w, h| sizes(&facts(w, h)).into_iter().map(|s| format!("{}:{}x{}", s.0, s.1, s.2)).collect::<Vec<_>>();
        assert_eq!(names(1920, 1080), ["v1080:1920x1080", "v720:1280x720", "v540:960x540", "v360:640x360"]);
        assert_eq!(names(3840, 2160)[0], "v1080:1920x1080");
        assert_eq!(names(854, 480), ["v480:854x480", "v360:640x360"]);
        assert_eq!(names(640, 380), ["v360:606x360"]);
        assert_eq!(names(161, 121), ["v120:160x120"]);
        assert_eq!(names(15, 8), ["v8:14x8"]);
        assert_eq!(names(1080, 1920)[0], "v1080:1080x1920");
    }

    #[test]
    fn a_turned_phone_video_is_planned_by_its_upright_size() {
        let mut facts = facts(1920, 1080);
        facts.video.turn = Turn::Right;
        assert_eq!(sizes(&facts)[0], ("v1080".into(), 1080, 1920));
    }

    #[test]
    fn anamorphic_pixels_become_square() {
        let mut facts = facts(1440, 1080);
        facts.video.pixel_aspect = (4, 3);
        assert_eq!(sizes(&facts)[0], ("v1080".into(), 1920, 1080));
    }

    #[test]
    fn interlaced_25_becomes_50_and_120_becomes_60() {
        let mut source = facts(1920, 1080);
        source.video.interlaced = true;
        assert_eq!(plan(&source, &profiles::all()[0], CPU).video.rate, FrameRate::new(50, 1).unwrap());
        let mut source = facts(1280, 720);
        source.video.rate = FrameRate::new(120, 1).unwrap();
        assert_eq!(plan(&source, &profiles::all()[0], CPU).video.rate, FrameRate::new(60, 1).unwrap());
    }

    #[test]
    fn a_legal_top_rendition_is_copied_and_its_key_frames_become_the_grid() {
        let mut source = facts(1920, 1080);
        source.video.copyable = Some(CopyFacts { key_frames: (0..30).map(|k| k * 50).collect(), frames: 1500 });
        let plan = plan(&source, &profiles::all()[0], CPU);
        assert!(plan.video.renditions[0].encode.is_none());
        assert!(plan.video.renditions[1].encode.is_some());
        assert_eq!(plan.video.grid.start(1), Some(150));
        assert_eq!(plan.video.grid.segments(1500), 10);
    }

    use crate::facts::CopyFacts;

    #[test]
    fn long_gops_are_copied_only_when_the_ladder_insists() {
        let mut source = facts(1920, 1080);
        source.video.copyable = Some(CopyFacts { key_frames: vec![0, 250, 285, 378, 553], frames: 720 });
        let mut ladder = profiles::all()[0].clone();
        assert!(plan(&source, &ladder, CPU).video.renditions[0].encode.is_some());
        ladder.top = Top::Copy;
        let copied = plan(&source, &ladder, CPU);
        assert!(copied.video.renditions[0].encode.is_none());
        assert_eq!(copied.video.grid.borders, Borders::At { starts: vec![0, 250, 378, 553] });
    }

    #[test]
    fn chunks_cover_all_segments_and_the_last_is_open() {
        let plan = plan(&facts(1280, 720), &profiles::all()[0], CPU);
        assert_eq!(chunks(&plan.video, Some(1500), 1, None), [(0, None)]);
        let two = chunks(&plan.video, Some(1500), 2, None);
        assert_eq!(two.len(), 10);
        assert_eq!((two[0], two[9]), ((0, Some(1)), (9, None)));
        assert_eq!(chunks(&plan.video, Some(1500), 2, Some(30.0)), [(0, Some(5)), (5, None)]);
    }

    #[test]
    fn equal_languages_get_numbers() {
        let mut source = facts(1280, 720);
        let track = AudioFacts {
            stream: 1,
            codec: "ac3".into(),
            profile: 0,
            time_base: (1, 48000),
            start: None,
            language: Some("eng".into()),
            is_default: false,
            channels: 2,
            sample_rate: 48000,
            bit_rate: None,
            extradata: vec![],
        };
        source.audio = vec![track.clone(), AudioFacts { stream: 2, is_default: true, ..track }];
        let plan = plan(&source, &profiles::all()[0], CPU);
        let names: Vec<_> = plan.audio.iter().map(|a| (a.name.as_str(), a.stream, a.is_default)).collect();
        assert_eq!(names, [("audio-eng", 2, true), ("audio-eng-2", 1, false)]);
    }
}
