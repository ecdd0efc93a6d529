//! Decoded, deinterlaced source frames of one stream, in display order, with times.

use media::decode::Decoder;
use media::demux::StreamParameters;
use media::device::CudaDevice;
use media::frame::PictureShape;
use media::graph::Graph;
use media::{Frame, Rational, Received};

use super::EngineError;
use super::clock::Stopwatch;
use super::reader::Reader;
use crate::filters;
use crate::plan::VideoPlan;
use crate::protocol::StageSeconds;

/// Damaged packets or frames in a row after which a chunk is given up.
const MAX_ERRORS_IN_A_ROW: u32 = 3000;

/// Feeds packets to a decoder and hands on its frames.
pub(crate) struct Pictures<'a> {
    decoder: Decoder,
    plan: &'a VideoPlan,
    /// Whether pictures that the GPU decoded are handed on there, else in memory.
    stay_on_gpu: bool,
    deinterlacer: Option<(PictureShape, Graph)>,
    tick: Rational,
    frame_ticks: i64,
    last: Option<i64>,
    errors: u32,
    pub(crate) decoded: u64,
    pub(crate) damaged: u64,
    pub(crate) seconds: StageSeconds,
}

/// Whether the receiver of frames wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    More,
    Enough,
}

impl<'a> Pictures<'a> {
    pub(crate) fn open(
        plan: &'a VideoPlan,
        stream: &StreamParameters,
        gpu: Option<&CudaDevice>,
        stay_on_gpu: bool,
    ) -> Result<Self, EngineError> {
        let decoder = Decoder::open(stream, 1, gpu).map_err(EngineError::undecodable)?;
        let tick = Rational::new(plan.time_base.0, plan.time_base.1);
        let rate = if plan.deinterlace { plan.source_rate.as_f64() / 2.0 } else { plan.source_rate.as_f64() };
        #[expect(clippy::cast_possible_truncation, reason = "a frame's length in ticks")]
        let frame_ticks = (f64::from(tick.den) / f64::from(tick.num.max(1)) / rate).round().max(1.0) as i64;
        Ok(Self {
            decoder,
            plan,
            stay_on_gpu,
            deinterlacer: None,
            tick,
            frame_ticks,
            last: None,
            errors: 0,
            decoded: 0,
            damaged: 0,
            seconds: StageSeconds::default(),
        })
    }

    /// Ticks of the times given to `emit`: half as long when deinterlacing.
    pub(crate) fn time_base(plan: &VideoPlan) -> (i32, i32) {
        if plan.deinterlace { (plan.time_base.0, plan.time_base.1.saturating_mul(2)) } else { plan.time_base }
    }

    /// Zero of the output in those ticks.
    pub(crate) fn origin(plan: &VideoPlan) -> i64 {
        if plan.deinterlace { plan.origin.saturating_mul(2) } else { plan.origin }
    }

    /// Reads, decodes and emits `(frame, time, duration)` until `emit` has enough or the source ends; gives whether it
    /// ended. `on_packet` sees every video packet.
    pub(crate) fn run(
        &mut self,
        reader: &mut Reader,
        mut on_packet: impl FnMut(&media::Packet) -> Result<(), EngineError>,
        mut emit: impl FnMut(Frame, i64, i64) -> Result<Flow, EngineError>,
    ) -> Result<bool, EngineError> {
        loop {
            let mut watch = Stopwatch::start();
            let packet = reader.next()?;
            watch.lap(&mut self.seconds.demux);
            let Some(packet) = packet else { break };
            if packet.stream() != self.plan.stream {
                continue;
            }
            on_packet(&packet)?;
            watch = Stopwatch::start();
            let sent = self.decoder.send(&packet);
            watch.lap(&mut self.seconds.decode);
            if let Err(error) = sent {
                self.note_damage(&error)?;
            }
            if self.drain(&mut emit)? == Flow::Enough {
                return Ok(false);
            }
        }
        if self.decoder.send_end().is_ok() && self.drain(&mut emit)? == Flow::Enough {
            return Ok(false);
        }
        if let Some((_, mut graph)) = self.deinterlacer.take() {
            graph.push_end().map_err(EngineError::internal)?;
            if self.drain_deinterlacer(&mut graph, &mut emit)? == Flow::Enough {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note_damage(&mut self, error: &media::Error) -> Result<(), EngineError> {
        self.damaged += 1;
        self.errors += 1;
        if self.errors > MAX_ERRORS_IN_A_ROW {
            return Err(EngineError::undecodable(error.clone()));
        }
        Ok(())
    }

    fn drain(
        &mut self,
        emit: &mut impl FnMut(Frame, i64, i64) -> Result<Flow, EngineError>,
    ) -> Result<Flow, EngineError> {
        loop {
            let mut watch = Stopwatch::start();
            let received = self.decoder.receive().and_then(|received| match received {
                Received::Item(frame) if frame.is_on_gpu() && !self.stay_on_gpu => frame.download().map(Received::Item),
                other => Ok(other),
            });
            watch.lap(&mut self.seconds.decode);
            match received {
                Ok(Received::Item(frame)) => {
                    self.errors = 0;
                    self.decoded += 1;
                    if frame.is_damaged() {
                        self.damaged += 1;
                    }
                    if self.frame(frame, emit)? == Flow::Enough {
                        return Ok(Flow::Enough);
                    }
                }
                Ok(Received::NeedInput | Received::End) => return Ok(Flow::More),
                Err(error) => self.note_damage(&error)?,
            }
        }
    }

    fn frame(
        &mut self,
        mut frame: Frame,
        emit: &mut impl FnMut(Frame, i64, i64) -> Result<Flow, EngineError>,
    ) -> Result<Flow, EngineError> {
        let duration = if frame.duration() > 0 { frame.duration() } else { self.frame_ticks };
        // AVI and raw streams have no times; the last frames of others may lack one.
        let mut time = frame.best_effort_pts().or_else(|| self.last.map(|t| t + self.frame_ticks)).unwrap_or(0);
        if let Some(last) = self.last.filter(|last| time <= *last) {
            time = last + 1;
        }
        self.last = Some(time);
        frame.set_pts(time);
        if !self.plan.deinterlace {
            return emit(frame, time, duration);
        }
        let mut watch = Stopwatch::start();
        let shape = frame.shape();
        if let Some((_, mut old)) = self.deinterlacer.take_if(|(s, _)| *s != shape) {
            old.push_end().map_err(EngineError::internal)?;
            if self.drain_deinterlacer(&mut old, emit)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        let (shape, mut graph) = match self.deinterlacer.take() {
            Some(existing) => existing,
            None => {
                let description = filters::deinterlacing(frame.is_on_gpu());
                let graph = Graph::video(&frame, self.tick, description, 1, None).map_err(EngineError::internal)?;
                (shape, graph)
            }
        };
        graph.push(&frame).map_err(EngineError::internal)?;
        watch.lap(&mut self.seconds.filter);
        let flow = self.drain_deinterlacer(&mut graph, emit)?;
        self.deinterlacer = Some((shape, graph));
        Ok(flow)
    }

    fn drain_deinterlacer(
        &mut self,
        graph: &mut Graph,
        emit: &mut impl FnMut(Frame, i64, i64) -> Result<Flow, EngineError>,
    ) -> Result<Flow, EngineError> {
        loop {
            let mut watch = Stopwatch::start();
            let received = graph.pull(0).map_err(EngineError::internal)?;
            watch.lap(&mut self.seconds.filter);
            let Received::Item(frame) = received else { return Ok(Flow::More) };
            let time = frame.pts().unwrap_or_default();
            // A field lasts half a frame, which in half-length ticks is the number of ticks of the frame.
            if emit(frame, time, self.frame_ticks)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
    }
}
