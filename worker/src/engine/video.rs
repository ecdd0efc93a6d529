//! A run of segments of all video renditions: decode once, choose frames, scale in a cascade, encode each rendition.

use std::ops::Range;

use fleet::failure::FailureCode;
use media::device::CudaDevice;
use media::frame::PictureShape;
use media::graph::Graph;
use media::{Frame, Rational, Received};

use super::EngineError;
use super::assemble::Assembler;
use super::clock::Stopwatch;
use super::outbox::Outbox;
use super::pictures::{Flow, Pictures};
use super::probe::MAX_DURATION_S;
use super::reader::Reader;
use super::rendition::Lane;
use super::select::{FrameClock, Selector};
use crate::filters::{self, InputPicture, Wanted};
use crate::plan::{RenditionPlan, VideoPlan};
use crate::protocol::{Event, StageSeconds, TaskReport, VideoTask};

/// Output frames between two progress messages.
const PROGRESS_EVERY: u64 = 12;

/// A scaling graph, with what it was made for. One that lies on the GPU is kept from task to task: `scale_cuda` compiles
/// hundreds of kernels for each of its instances, which takes seconds.
pub(crate) type ScalingGraph = Option<(PictureShape, String, Graph)>;

/// Makes one run of segments, on `gpu` as far as the plan says so.
pub(crate) fn encode(
    reader: &mut Reader,
    plan: &VideoPlan,
    task: VideoTask,
    gpu: Option<&CudaDevice>,
    scaler: &mut ScalingGraph,
    outbox: &Outbox,
) -> Result<TaskReport, EngineError> {
    let first = plan.grid.start(task.first_segment).ok_or_else(|| EngineError::internal("no such segment"))?;
    let end = task.end_segment.and_then(|s| plan.grid.start(s));
    let clock = FrameClock::new(Pictures::time_base(plan), Pictures::origin(plan), plan.source_rate, plan.rate);
    let source_clock = FrameClock::new(plan.time_base, plan.origin, plan.source_rate, plan.rate);
    let parameters = reader.demuxer().parameters(plan.stream).map_err(EngineError::internal)?;

    // A deinterlacer looks at the frames around: start a little earlier.
    let margin = if plan.deinterlace { 8 } else { 0 };
    reader.position_video(source_clock.time_of(first.saturating_sub(margin)), plan.origin)?;

    let encoded: Vec<RenditionPlan> = plan.renditions.iter().filter(|r| r.encode.is_some()).cloned().collect();
    let mut copy = match plan.renditions.iter().find(|r| r.encode.is_none()) {
        Some(rendition) => Some(CopyLane::open(plan, rendition, &parameters, first, end, source_clock, outbox)?),
        None => None,
    };
    let sizes: Vec<(u32, u32)> = encoded.iter().map(|r| (r.width, r.height)).collect();
    let wanted = wanted(plan, &encoded, &sizes);
    let mut output = Output {
        plan,
        encoded: &encoded,
        wanted: &wanted,
        outbox,
        first,
        threads: task.threads > 1,
        gpu,
        lanes: Vec::new(),
        scaler: scaler.take().filter(|_| wanted.stays_on_gpu()),
        thumbnailer: None,
        seconds: StageSeconds::default(),
        made: 0,
    };
    let mut pictures = Pictures::open(plan, &parameters, gpu.filter(|_| plan.gpu_decode), wanted.stays_on_gpu())?;
    let mut selector = Selector::new(clock, plan.rate, first, end);
    let mut source_end_time = None;
    let at_end = pictures.run(
        reader,
        |packet| copy.as_mut().map_or(Ok(()), |lane| lane.packet(packet)),
        |frame, time, duration| {
            source_end_time = Some(time.saturating_add(duration));
            if let Some((shown, range)) = selector.push(frame, time)? {
                output.show(&shown, range)?;
            }
            Ok(if selector.is_done() { Flow::Enough } else { Flow::More })
        },
    )?;
    let mut source_end = None;
    if at_end && let Some(end_time) = source_end_time {
        let (last, total) = selector.finish(end_time)?;
        if let Some((shown, range)) = last {
            output.show(&shown, range)?;
        }
        source_end = Some(total);
    }
    let end_frame = first + output.made;
    if let Some(lane) = copy {
        lane.finish(end_frame)?;
    }
    *scaler = output.scaler.take();
    let mut seconds = output.finish(end_frame)?;
    seconds.add(&pictures.seconds);
    if at_end && source_end_time.is_none() && first == 0 {
        return Err(EngineError::new(FailureCode::Undecodable, "no picture could be decoded"));
    }
    Ok(TaskReport {
        source_end: source_end.or_else(|| at_end.then_some(end_frame)),
        frames: end_frame - first,
        decoded: pictures.decoded,
        damaged: pictures.damaged + reader.damaged(),
        cpu_s: seconds,
        warnings: Vec::new(),
    })
}

/// What is asked of the scaling graph for a whole job.
fn wanted<'a>(plan: &VideoPlan, encoded: &[RenditionPlan], sizes: &'a [(u32, u32)]) -> Wanted<'a> {
    let nvenc = |r: &RenditionPlan| r.encode.as_ref().is_some_and(|e| e.encoder.ends_with("_nvenc"));
    Wanted {
        sizes,
        turn: plan.turn,
        scaler: plan.scaler,
        colour: plan.colour,
        to_sdr: plan.to_sdr,
        gpu_encoder: encoded.iter().all(nvenc),
    }
}

struct Output<'a> {
    plan: &'a VideoPlan,
    encoded: &'a [RenditionPlan],
    wanted: &'a Wanted<'a>,
    outbox: &'a Outbox,
    first: u64,
    threads: bool,
    gpu: Option<&'a CudaDevice>,
    lanes: Vec<Lane>,
    scaler: ScalingGraph,
    thumbnailer: Option<(PictureShape, Graph)>,
    seconds: StageSeconds,
    made: u64,
}

impl Output<'_> {
    /// Encodes `picture` as each output frame of `range`: scaled once, however often it is shown.
    fn show(&mut self, picture: &Frame, range: Range<u64>) -> Result<(), EngineError> {
        let mut watch = Stopwatch::start();
        let scaled = self.scale(picture)?;
        watch.lap(&mut self.seconds.filter);
        if self.lanes.is_empty() {
            for (i, rendition) in self.encoded.iter().enumerate() {
                let gpu = self.scaler.as_ref().and_then(|(_, _, graph)| graph.gpu_frames(i));
                let lane =
                    Lane::open(self.plan, rendition, &scaled[i], self.first, gpu.as_ref(), self.outbox, self.threads)?;
                self.lanes.push(lane);
            }
        }
        if self.plan.rate.seconds(range.end) > MAX_DURATION_S {
            let message = format!("the source lasts longer than {MAX_DURATION_S:.0} s");
            return Err(EngineError::new(FailureCode::LimitExceeded, message));
        }
        for number in range {
            for (lane, frame) in self.lanes.iter_mut().zip(&scaled) {
                lane.frame(frame.share().map_err(EngineError::internal)?, number)?;
            }
            let smallest = scaled.last().unwrap_or(picture);
            if number.is_multiple_of(self.plan.thumbnail_every) {
                self.thumbnail(smallest, number / self.plan.thumbnail_every)?;
            }
            if number == self.plan.poster_frame {
                self.poster(&scaled, picture)?;
            }
            self.made += 1;
            if self.made.is_multiple_of(PROGRESS_EVERY) {
                self.outbox.send(&Event::Progress { frames: self.made }, &[])?;
            }
        }
        Ok(())
    }

    fn scale(&mut self, picture: &Frame) -> Result<Vec<Frame>, EngineError> {
        if self.encoded.is_empty() {
            return Ok(Vec::new());
        }
        let shape = picture.shape();
        // The first picture of a task may meet the graph of the task before.
        if self.lanes.is_empty() || self.scaler.as_ref().is_none_or(|(s, ..)| *s != shape) {
            let format = picture.pixel_format();
            let input = InputPicture {
                on_gpu: picture.is_on_gpu(),
                width: u32::try_from(shape.width).unwrap_or(0),
                height: u32::try_from(shape.height).unwrap_or(0),
                pixel_format: &format,
            };
            let description = filters::scaling(input, self.wanted);
            if self.scaler.as_ref().is_none_or(|(s, d, _)| (s, d) != (&shape, &description)) {
                tracing::debug!(description, "scaling graph");
                // Times do not matter to scaling; frames are numbered when they are encoded.
                let graph = Graph::video(picture, Rational::new(1, 1000), &description, self.encoded.len(), self.gpu)
                    .map_err(EngineError::internal)?;
                self.scaler = Some((shape, description, graph));
            }
        }
        let (.., graph) = self.scaler.as_mut().ok_or_else(|| EngineError::internal("no scaling graph"))?;
        graph.push(picture).map_err(EngineError::internal)?;
        (0..self.encoded.len())
            .map(|i| match graph.pull(i).map_err(EngineError::internal)? {
                Received::Item(frame) => Ok(frame),
                Received::NeedInput | Received::End => Err(EngineError::internal("the scaler kept a frame")),
            })
            .collect()
    }

    fn thumbnail(&mut self, picture: &Frame, index: u64) -> Result<(), EngineError> {
        let mut watch = Stopwatch::start();
        let (width, height) = self.plan.thumbnail_size;
        let rgb = to_rgb(&mut self.thumbnailer, picture, &format!("scale={width}:{height}:flags=area"))?;
        let (width, height, pixels) = rgb.rgb24().map_err(EngineError::internal)?;
        watch.lap(&mut self.seconds.package);
        self.outbox.send(&Event::Thumbnail { index, width, height }, &pixels)
    }

    fn poster(&mut self, scaled: &[Frame], picture: &Frame) -> Result<(), EngineError> {
        let is_poster_size = |r: &RenditionPlan| r.width.min(r.height) <= 720;
        let best = self.encoded.iter().position(is_poster_size).and_then(|i| scaled.get(i)).unwrap_or(picture);
        let rgb = to_rgb(&mut None, best, "null")?;
        let (width, height, pixels) = rgb.rgb24().map_err(EngineError::internal)?;
        self.outbox.send(&Event::Poster { width, height }, &pixels)
    }

    fn finish(self, end: u64) -> Result<StageSeconds, EngineError> {
        let mut seconds = self.seconds;
        for lane in self.lanes {
            seconds.add(&lane.finish(end)?);
        }
        Ok(seconds)
    }
}

/// A picture as RGB in memory, through `filter`; the graph is kept for the next picture of the same shape.
pub(super) fn to_rgb(
    cache: &mut Option<(PictureShape, Graph)>,
    picture: &Frame,
    filter: &str,
) -> Result<Frame, EngineError> {
    let downloaded;
    let picture = if picture.is_on_gpu() {
        downloaded = picture.download().map_err(EngineError::internal)?;
        &downloaded
    } else {
        picture
    };
    let shape = picture.shape();
    if cache.as_ref().is_none_or(|(s, _)| *s != shape) {
        let description = format!("[in]{filter},format=rgb24[out0]");
        let graph =
            Graph::video(picture, Rational::new(1, 1000), &description, 1, None).map_err(EngineError::internal)?;
        *cache = Some((shape, graph));
    }
    let (_, graph) = cache.as_mut().ok_or_else(|| EngineError::internal("no thumbnail graph"))?;
    graph.push(picture).map_err(EngineError::internal)?;
    match graph.pull(0).map_err(EngineError::internal)? {
        Received::Item(frame) => Ok(frame),
        Received::NeedInput | Received::End => Err(EngineError::internal("the thumbnail scaler kept a frame")),
    }
}

/// A rendition whose packets are the source's own.
struct CopyLane {
    assembler: Assembler,
    clock: FrameClock,
    first: u64,
    end: Option<u64>,
}

impl CopyLane {
    fn open(
        plan: &VideoPlan,
        rendition: &RenditionPlan,
        parameters: &media::demux::StreamParameters,
        first: u64,
        end: Option<u64>,
        clock: FrameClock,
        outbox: &Outbox,
    ) -> Result<Self, EngineError> {
        let init = media::init::of_stream(parameters, plan.rate.timescale(), "").map_err(EngineError::internal)?;
        outbox.send(&Event::Init { rendition: rendition.name.clone() }, &init)?;
        let assembler =
            Assembler::new(&rendition.name, rendition.codec, false, &plan.grid, plan.rate, first, outbox.clone());
        Ok(Self { assembler, clock, first, end })
    }

    fn packet(&mut self, packet: &media::Packet) -> Result<(), EngineError> {
        let time = packet.pts().ok_or_else(|| EngineError::internal("a packet to be copied has no time"))?;
        let Ok(number) = u64::try_from(self.clock.frame_of(time)) else { return Ok(()) };
        if number < self.first || self.end.is_some_and(|end| number >= end) {
            return Ok(());
        }
        self.assembler.packet(number, packet.is_key(), packet.data())
    }

    fn finish(mut self, end: u64) -> Result<(), EngineError> {
        self.assembler.finish(end)
    }
}
