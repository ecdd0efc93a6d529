//! One sound track for the whole job: packets copied, or decoded, mixed to stereo and encoded as AAC-LC.
//!
//! Sound lies on the timeline by its own times: a gap becomes silence, what comes before the first picture is left
//! out, and nothing is ever shifted. A track starts at any segment: it begins a little earlier and throws that away.

use fleet::cmaf::{Sample, write_fragment, write_styp};
use fleet::failure::FailureCode;
use fleet::timeline::PRESENTATION_DELAY_MS;
use media::decode::{Decoder, SoundFormat};
use media::encode::Encoder;
use media::graph::Graph;
use media::{Frame, Rational, Received};

use super::EngineError;
use super::clock::Stopwatch;
use super::outbox::Outbox;
use super::range::RangeClient;
use super::reader::Reader;
use crate::plan::AudioPlan;
use crate::protocol::{Event, SegmentEvent, StageSeconds, TaskReport};

/// Samples in an AAC-LC packet.
const PACKET: i64 = 1024;
/// Packets encoded before a start in the middle, so that the encoder has settled.
const RUN_UP: i64 = 4;
/// Times may wander by this much before sound is cut or filled, in seconds.
const TOLERANCE_S: f64 = 0.02;
/// Longest silence that is filled in: as for a frozen picture.
const MAX_SILENCE_S: f64 = 300.0;
/// Damaged packets in a row after which a track is given up.
const MAX_ERRORS_IN_A_ROW: u32 = 3000;

/// Makes a track from `first_segment` to its end.
pub(crate) fn encode(
    range: &RangeClient,
    plan: &AudioPlan,
    first_segment: u64,
    outbox: &Outbox,
) -> Result<TaskReport, EngineError> {
    let mut watch = Stopwatch::start();
    let keep = if plan.indexed { vec![plan.stream] } else { vec![plan.stream, plan.video_stream] };
    let mut reader = Reader::open(range, plan.video_stream, &keep, plan.indexed)?;
    let facts = reader.demuxer().facts(plan.stream).ok_or_else(|| EngineError::internal("the sound track is gone"))?;
    let borders = Borders { plan };
    let first_sample = borders.start(first_segment);
    let track = Track {
        tick: facts.time_base,
        rate: f64::from(plan.sample_rate),
        origin_s: ticks_to_s(plan.origin, plan.origin_time_base.0, plan.origin_time_base.1),
    };
    if first_segment > 0 {
        let start_s = track.origin_s + to_f64(first_sample) / track.rate - 2.0;
        let ticks = start_s * f64::from(track.tick.den) / f64::from(track.tick.num.max(1));
        #[expect(clippy::cast_possible_truncation, reason = "media times")]
        reader.position_audio(plan.stream, ticks as i64, facts.start.unwrap_or(0))?;
    }
    let parameters = reader.demuxer().parameters(plan.stream).map_err(EngineError::internal)?;
    let mut segments = Segments::new(plan, first_segment, outbox.clone());
    let damaged = if plan.copy {
        let init = media::init::of_stream(&parameters, plan.sample_rate, plan.language.as_deref().unwrap_or(""))
            .map_err(EngineError::internal)?;
        outbox.send(&Event::Init { rendition: plan.name.clone() }, &init)?;
        copy(&mut reader, plan, &track, first_sample, &mut segments)?
    } else {
        let decoder = Decoder::open(&parameters, 1, None).map_err(EngineError::undecodable)?;
        let first_packet = if first_segment == 0 {
            0
        } else {
            first_sample.div_euclid(PACKET) + i64::from(first_sample.rem_euclid(PACKET) != 0)
        };
        let mut encoding = Encoding::open(plan, track, first_packet, &mut segments)?;
        encoding.run(&mut reader, decoder)?
    };
    let samples = segments.finish()?;
    let mut seconds = StageSeconds::default();
    watch.lap(&mut seconds.audio);
    Ok(TaskReport {
        source_end: None,
        frames: u64::try_from(samples).unwrap_or(0),
        decoded: 0,
        damaged: damaged + reader.damaged(),
        cpu_s: seconds,
        warnings: Vec::new(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "media times stay far below 2^52")]
fn to_f64(n: i64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, reason = "media times stay far below 2^63")]
fn to_i64(x: f64) -> i64 {
    x.round() as i64
}

fn ticks_to_s(ticks: i64, num: i32, den: i32) -> f64 {
    to_f64(ticks) * f64::from(num) / f64::from(den.max(1))
}

#[derive(Clone, Copy)]
struct Track {
    tick: Rational,
    rate: f64,
    origin_s: f64,
}

impl Track {
    /// Sample number on the output's timeline of a time in ticks of `tick`.
    fn sample(&self, ticks: i64, tick: Rational) -> i64 {
        to_i64((ticks_to_s(ticks, tick.num, tick.den) - self.origin_s) * self.rate)
    }
}

/// Segment borders in samples: those of the pictures, and on at the same pace past their end.
struct Borders<'a> {
    plan: &'a AudioPlan,
}

impl Borders<'_> {
    fn start(&self, segment: u64) -> i64 {
        let grid = &self.plan.grid;
        let frames = grid.start(segment).unwrap_or_else(|| {
            let segments = grid.segments(u64::MAX);
            let last = grid.start(segments.saturating_sub(1)).unwrap_or(0);
            last + (segment + 1 - segments) * u64::from(grid.gop) * 3
        });
        to_i64(self.plan.rate.seconds(frames) * f64::from(self.plan.sample_rate))
    }
}

/// Packets to segments.
struct Segments<'a> {
    plan: &'a AudioPlan,
    outbox: Outbox,
    index: u64,
    first: i64,
    next: i64,
    samples: Vec<Sample>,
    payload: Vec<u8>,
}

impl<'a> Segments<'a> {
    fn new(plan: &'a AudioPlan, first_segment: u64, outbox: Outbox) -> Self {
        Self { plan, outbox, index: first_segment, first: 0, next: 0, samples: Vec::new(), payload: Vec::new() }
    }

    /// Takes the packet that starts at sample `at`.
    fn packet(&mut self, at: i64, data: &[u8]) -> Result<(), EngineError> {
        let borders = Borders { plan: self.plan };
        if at >= borders.start(self.index + 1) {
            self.close(at)?;
            while at >= borders.start(self.index + 1) {
                self.index += 1;
            }
        }
        if self.samples.is_empty() {
            self.first = at;
        }
        let size = u32::try_from(data.len()).map_err(EngineError::internal)?;
        // Sound is shown in the order it is decoded, so the common delay is part of its decode time.
        self.samples.push(Sample { pts: at + self.delay(), size, sync: true });
        self.payload.extend_from_slice(data);
        self.next = at + PACKET;
        Ok(())
    }

    fn delay(&self) -> i64 {
        i64::from(self.plan.sample_rate) * PRESENTATION_DELAY_MS / 1000
    }

    fn close(&mut self, end: i64) -> Result<(), EngineError> {
        if self.samples.is_empty() {
            return Ok(());
        }
        let mut segment = Vec::with_capacity(self.payload.len() + 64 * self.samples.len());
        write_styp(&mut segment);
        let sequence = u32::try_from(self.index + 1).map_err(EngineError::internal)?;
        write_fragment(&mut segment, sequence, &self.samples, &self.payload, end + self.delay(), 0)
            .map_err(EngineError::internal)?;
        let event = SegmentEvent {
            rendition: self.plan.name.clone(),
            index: self.index,
            first: u64::try_from(self.first).unwrap_or(0),
            count: u64::try_from(end - self.first).unwrap_or(0),
        };
        self.outbox.send(&Event::Segment(event), &segment)?;
        self.samples.clear();
        self.payload.clear();
        self.index += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<i64, EngineError> {
        self.close(self.next)?;
        Ok(self.next)
    }
}

/// Copies packets. Small holes are closed by the packet before lasting longer.
fn copy(
    reader: &mut Reader,
    plan: &AudioPlan,
    track: &Track,
    first_sample: i64,
    segments: &mut Segments<'_>,
) -> Result<u64, EngineError> {
    let mut last = i64::MIN;
    while let Some(packet) = reader.next()? {
        if packet.stream() != plan.stream || packet.is_discarded() {
            continue;
        }
        let Some(time) = packet.pts() else { continue };
        let at = track.sample(time, track.tick);
        // A packet that straddles zero is kept: the common delay leaves room for it.
        if at <= -PACKET || at < first_sample - i64::from(first_sample == 0) * PACKET || at <= last {
            continue;
        }
        last = at;
        segments.packet(at, packet.data())?;
    }
    Ok(0)
}

struct Encoding<'a, 'b> {
    plan: &'a AudioPlan,
    track: Track,
    segments: &'b mut Segments<'a>,
    encoder: Encoder,
    mixer: Option<(SoundFormat, Graph)>,
    /// Sample number of the next sample to be taken.
    cursor: i64,
    pending: [Vec<f32>; 2],
    /// Sample number of the first pending sample.
    pending_at: i64,
    first_packet: i64,
}

impl<'a, 'b> Encoding<'a, 'b> {
    fn open(
        plan: &'a AudioPlan,
        track: Track,
        first_packet: i64,
        segments: &'b mut Segments<'a>,
    ) -> Result<Self, EngineError> {
        let rate = i32::try_from(plan.sample_rate).map_err(EngineError::internal)?;
        let encoder = Encoder::aac(rate, i64::from(plan.bit_rate))
            .map_err(|e| EngineError::new(FailureCode::EncoderUnavailable, e.to_string()))?;
        let init = media::init::of_encoder(&encoder, plan.sample_rate, plan.language.as_deref().unwrap_or(""))
            .map_err(EngineError::internal)?;
        segments.outbox.send(&Event::Init { rendition: plan.name.clone() }, &init)?;
        let start = (first_packet - RUN_UP).max(0) * PACKET;
        Ok(Self {
            plan,
            track,
            segments,
            encoder,
            mixer: None,
            cursor: start,
            pending: [Vec::new(), Vec::new()],
            pending_at: start,
            first_packet,
        })
    }

    fn run(&mut self, reader: &mut Reader, mut decoder: Decoder) -> Result<u64, EngineError> {
        let (mut damaged, mut in_a_row) = (0, 0);
        let mut expected = None;
        loop {
            let packet = reader.next()?;
            let ended = packet.is_none();
            let sent = match &packet {
                Some(packet) if packet.stream() != self.plan.stream => continue,
                Some(packet) => decoder.send(packet),
                None => decoder.send_end(),
            };
            if sent.is_err() && !ended {
                damaged += 1;
                in_a_row += 1;
                if in_a_row > MAX_ERRORS_IN_A_ROW {
                    break;
                }
            }
            loop {
                match decoder.receive() {
                    Ok(Received::Item(mut frame)) => {
                        in_a_row = 0;
                        let time = frame.best_effort_pts().or(expected).unwrap_or(0);
                        frame.set_pts(time);
                        expected = Some(time.saturating_add(frame.duration()));
                        self.mix(&frame)?;
                    }
                    Ok(Received::NeedInput | Received::End) => break,
                    Err(_) => {
                        damaged += 1;
                        break;
                    }
                }
            }
            if ended {
                break;
            }
        }
        self.flush_mixer()?;
        self.finish()?;
        Ok(damaged)
    }

    /// Brings a frame to planar float stereo at the output's rate.
    fn mix(&mut self, frame: &Frame) -> Result<(), EngineError> {
        let format = Decoder::sound_format(frame);
        if self.mixer.as_ref().is_none_or(|(f, _)| *f != format) {
            self.flush_mixer()?;
            let description = format!(
                "[in]aresample={},aformat=sample_fmts=fltp:channel_layouts=stereo[out0]",
                self.plan.sample_rate
            );
            let graph = Graph::audio(&format, self.track.tick, &description).map_err(EngineError::undecodable)?;
            self.mixer = Some((format, graph));
        }
        if let Some((_, graph)) = &mut self.mixer {
            graph.push(frame).map_err(EngineError::internal)?;
        }
        self.drain_mixer()
    }

    fn flush_mixer(&mut self) -> Result<(), EngineError> {
        if let Some((_, graph)) = &mut self.mixer {
            graph.push_end().map_err(EngineError::internal)?;
        }
        self.drain_mixer()?;
        self.mixer = None;
        Ok(())
    }

    fn drain_mixer(&mut self) -> Result<(), EngineError> {
        loop {
            let Some((_, graph)) = &mut self.mixer else { return Ok(()) };
            let tick = graph.time_base(0);
            let Received::Item(frame) = graph.pull(0).map_err(EngineError::internal)? else { return Ok(()) };
            let at = frame.pts().map_or(self.cursor, |t| self.track.sample(t, tick));
            let [left, right] = frame.stereo().map_err(EngineError::internal)?;
            self.place(at, left, right)?;
        }
    }

    /// Lays sound onto the timeline at sample `at`.
    fn place(&mut self, at: i64, left: &[f32], right: &[f32]) -> Result<(), EngineError> {
        let tolerance = to_i64(TOLERANCE_S * self.track.rate);
        let mut skip = 0usize;
        if at > self.cursor + tolerance || (at > self.cursor && self.pending_at == self.cursor && self.cursor == 0) {
            let gap = at - self.cursor;
            if to_f64(gap) > MAX_SILENCE_S * self.track.rate {
                return Err(EngineError::new(FailureCode::LimitExceeded, "the sound has a gap of more than 300 s"));
            }
            let gap = usize::try_from(gap).unwrap_or(0);
            for channel in &mut self.pending {
                channel.resize(channel.len() + gap, 0.0);
            }
            self.cursor = at;
        } else if at < self.cursor
            && (self.cursor - at > tolerance || self.pending_at == self.cursor && self.pending[0].is_empty())
        {
            skip = usize::try_from(self.cursor - at).unwrap_or(0).min(left.len());
        }
        self.pending[0].extend_from_slice(&left[skip..]);
        self.pending[1].extend_from_slice(&right[skip..]);
        self.cursor += i64::try_from(left.len() - skip).unwrap_or(0);
        self.encode_full_packets()
    }

    fn encode_full_packets(&mut self) -> Result<(), EngineError> {
        #[expect(clippy::cast_possible_truncation, reason = "a constant of 1024")]
        let size = PACKET as usize;
        let whole = self.pending[0].len() / size * size;
        for start in (0..whole).step_by(size) {
            let channels = [&self.pending[0][start..start + size], &self.pending[1][start..start + size]];
            let rate = i32::try_from(self.plan.sample_rate).map_err(EngineError::internal)?;
            let frame = Frame::from_stereo(channels, rate, self.pending_at).map_err(EngineError::internal)?;
            self.encoder.send(&frame).map_err(EngineError::internal)?;
            self.pending_at += PACKET;
            self.drain_encoder()?;
        }
        for channel in &mut self.pending {
            channel.drain(..whole);
        }
        Ok(())
    }

    fn drain_encoder(&mut self) -> Result<(), EngineError> {
        while let Received::Item(packet) = self.encoder.receive().map_err(EngineError::internal)? {
            // The encoder's first packet is priming: its time lies before zero, and so it is dropped.
            let at = packet.pts().unwrap_or(i64::MIN);
            if at >= self.first_packet * PACKET {
                self.segments.packet(at, packet.data())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), EngineError> {
        let left = self.pending[0].len();
        if left > 0 {
            #[expect(clippy::cast_possible_truncation, reason = "a constant of 1024")]
            for channel in &mut self.pending {
                channel.resize(PACKET as usize, 0.0);
            }
            self.encode_full_packets()?;
        }
        self.encoder.send_end().map_err(EngineError::internal)?;
        self.drain_encoder()
    }
}
