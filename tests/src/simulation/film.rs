//! The films of a simulated fleet: how long they are, what is wrong with them, and the real plan that is made of each.

use std::sync::Arc;

use fleet::cmaf::{FourCc, InitFacts, SampleDefaults, TrackKind};
use fleet::ladder::{Codec, Scaler};
use fleet::plan::{AudioPlan, EncoderSettings, JobPlan, RenditionPlan, Turn, VideoPlan, spread};
use fleet::store::work::{NewChunk, Work};
use fleet::timeline::{FrameRate, Grid};

use super::memory::{Ms, PlanRow};

/// A source.
#[derive(Clone, Debug)]
pub(crate) struct Film {
    pub(crate) plan: Arc<JobPlan>,
    /// Output frames.
    pub(crate) frames: u64,
    /// Milliseconds that one segment of all renditions takes to encode.
    pub(crate) encode_ms: Ms,
    /// The ladder asks for a copy of its packets, and they cannot be copied.
    pub(crate) defies_copying: bool,
    /// It is no media.
    pub(crate) is_junk: bool,
}

impl Film {
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Self {
        let frames = random.u64(1..7) * 150 - random.u64(0..120);
        let heights: &[u32] = if random.bool() { &[720, 360] } else { &[360] };
        let plan = plan(frames, heights, random.u32(0..3) > 0);
        Self {
            plan: Arc::new(plan),
            frames,
            encode_ms: random.i64(200..2_500),
            defies_copying: random.u32(0..6) == 0,
            is_junk: random.u32(0..25) == 0,
        }
    }

    pub(crate) fn segments(&self) -> u64 {
        self.plan.video.grid.segments(self.frames)
    }

    /// First frame and number of frames of a segment.
    pub(crate) fn span(&self, index: u64) -> (u64, u64) {
        let grid = &self.plan.video.grid;
        let start = grid.start(index).unwrap_or(self.frames).min(self.frames);
        let end = grid.end(index).unwrap_or(self.frames).min(self.frames);
        (start, end - start)
    }

    /// What is stored of its plan: chunks as the worker makes them.
    pub(crate) fn row(&self) -> PlanRow {
        let video = &self.plan.video;
        let mut chunks: Vec<NewChunk> = spread(video, self.plan.expected_frames)
            .into_iter()
            .map(|(first, end)| NewChunk { work: Work::Video { first, end }, position: first * 2, seconds: 6.0 })
            .collect();
        for audio in &self.plan.audio {
            let work = Work::Audio { rendition: audio.name.clone() };
            chunks.insert(1, NewChunk { work, position: 1, seconds: 1.0 });
        }
        PlanRow {
            chunks,
            videos: video.renditions.iter().map(|r| r.name.clone()).collect(),
            audios: self.plan.audio.iter().map(|a| a.name.clone()).collect(),
        }
    }
}

fn rate() -> FrameRate {
    FrameRate::new(25, 1).expect("25 frames a second are a rate")
}

/// A plan in every part.
pub(crate) fn plan(frames: u64, heights: &[u32], sound: bool) -> JobPlan {
    let (rate, grid) = (rate(), Grid::even(rate(), 2.0, 3));
    let settings = EncoderSettings {
        encoder: "libx264".to_owned(),
        bit_rate: 0,
        max_rate: 2_000_000,
        buffer_bits: 4_000_000,
        gop: 50,
        options: Vec::new(),
    };
    let rendition = |height: &u32| RenditionPlan {
        name: format!("v{height}"),
        width: height * 16 / 9,
        height: *height,
        codec: Codec::H264,
        encode: Some(settings.clone()),
    };
    let audio = AudioPlan {
        name: "audio-und".to_owned(),
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
        grid: grid.clone(),
        rate,
    };
    JobPlan {
        ladder: "simulated".to_owned(),
        video: VideoPlan {
            stream: 0,
            indexed: true,
            time_base: (1, 25),
            origin: 0,
            source_rate: rate,
            rate,
            grid,
            deinterlace: false,
            turn: Turn::None,
            colour: [1; 4],
            to_sdr: false,
            scaler: Scaler::Lanczos,
            gpu_decode: false,
            renditions: heights.iter().map(rendition).collect(),
            thumbnail_every: 50,
            thumbnail_size: (160, 90),
            poster_frame: 0,
        },
        audio: if sound { vec![audio] } else { Vec::new() },
        expected_frames: Some(frames),
        notes: Vec::new(),
    }
}

/// What playlists need of an init segment.
pub(crate) fn init_facts(is_sound: bool) -> InitFacts {
    InitFacts {
        brands: Vec::new(),
        track_id: 1,
        kind: if is_sound { TrackKind::Audio } else { TrackKind::Video },
        timescale: 25,
        sample_entry: FourCc(if is_sound { *b"mp4a" } else { *b"avc1" }),
        codec: if is_sound { "mp4a.40.2" } else { "avc1.64001f" }.to_owned(),
        other_codecs: Vec::new(),
        video: None,
        audio: None,
        defaults: SampleDefaults::default(),
        edit_start: None,
    }
}
