//! One encoder and its segments, on the calling thread or on one of its own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use fleet::failure::FailureCode;
use media::encode::{Encoder, VideoSettings};
use media::{Frame, Rational, Received};

use super::EngineError;
use super::assemble::Assembler;
use super::clock::Stopwatch;
use super::likeness::Likeness;
use super::outbox::Outbox;
use crate::plan::{RenditionPlan, VideoPlan};
use crate::protocol::{Event, StageSeconds};

/// Frames that wait for an encoder on its own thread.
const QUEUE: usize = 4;
/// How long to wait for an NVENC session that others hold.
const SESSION_WAIT: Duration = Duration::from_secs(600);

/// Encodes one rendition.
struct RenditionEncoder {
    encoder: Encoder,
    assembler: Assembler,
    plan: VideoPlan,
    seconds: StageSeconds,
    likeness: Likeness,
    first_frame: u64,
    /// Whether it is a GPU that encodes: then every segment is looked at, else the first picture of the task.
    on_gpu: bool,
}

impl RenditionEncoder {
    fn open(
        plan: &VideoPlan,
        rendition: &RenditionPlan,
        first: &Frame,
        first_frame: u64,
        gpu: Option<&media::device::GpuFrames>,
        outbox: &Outbox,
    ) -> Result<Self, EngineError> {
        let encode =
            rendition.encode.as_ref().ok_or_else(|| EngineError::internal("a copied rendition has no encoder"))?;
        let dimension = |n: u32| i32::try_from(n).map_err(EngineError::internal);
        let settings = VideoSettings {
            encoder: encode.encoder.clone(),
            width: dimension(rendition.width)?,
            height: dimension(rendition.height)?,
            rate: Rational::new(dimension(plan.rate.num())?, dimension(plan.rate.den())?),
            pixel_format: first.pixel_format(),
            bit_rate: encode.bit_rate,
            max_rate: encode.max_rate,
            buffer_bits: encode.buffer_bits,
            gop: encode.gop,
            colour: signalled_colour(plan),
            options: encode.options.clone(),
        };
        let encoder = open_when_free(&settings, gpu)?;
        let init = media::init::of_encoder(&encoder, plan.rate.timescale(), "").map_err(EngineError::internal)?;
        outbox.send(&Event::Init { rendition: rendition.name.clone() }, &init)?;
        let assembler =
            Assembler::new(&rendition.name, rendition.codec, true, &plan.grid, plan.rate, first_frame, outbox.clone());
        let (likeness, on_gpu) = (Likeness::of(&encoder)?, encode.encoder.ends_with("_nvenc"));
        let (plan, seconds) = (plan.clone(), StageSeconds::default());
        Ok(Self { encoder, assembler, plan, seconds, likeness, first_frame, on_gpu })
    }

    fn frame(&mut self, mut frame: Frame, number: u64) -> Result<(), EngineError> {
        let mut watch = Stopwatch::start();
        frame.set_pts(i64::try_from(number).map_err(EngineError::internal)?);
        frame.set_idr(self.plan.grid.is_idr(number));
        let grid = &self.plan.grid;
        let begins_segment = || grid.start(grid.segment_of(number)) == Some(number);
        if number == self.first_frame || self.on_gpu && begins_segment() {
            self.likeness.expect(number, &frame)?;
        }
        self.encoder.send(&frame).map_err(EngineError::internal)?;
        self.drain(&mut watch)
    }

    fn drain(&mut self, watch: &mut Stopwatch) -> Result<(), EngineError> {
        loop {
            let received = self.encoder.receive().map_err(EngineError::internal)?;
            watch.lap(&mut self.seconds.encode);
            let Received::Item(packet) = received else { return Ok(()) };
            let number = packet.pts().and_then(|p| u64::try_from(p).ok());
            let number = number.ok_or_else(|| EngineError::internal("the encoder gave a packet without a time"))?;
            self.likeness.compare(number, &packet)?;
            self.assembler.packet(number, packet.is_key(), packet.data())?;
            watch.lap(&mut self.seconds.package);
        }
    }

    fn finish(mut self, end: u64) -> Result<StageSeconds, EngineError> {
        let mut watch = Stopwatch::start();
        self.encoder.send_end().map_err(EngineError::internal)?;
        self.drain(&mut watch)?;
        self.assembler.finish(end)?;
        watch.lap(&mut self.seconds.package);
        Ok(self.seconds)
    }
}

/// Colour numbers written into the stream: what the picture is after filtering.
fn signalled_colour(plan: &VideoPlan) -> [u32; 4] {
    /// Limited range; BT.709 for matrix, primaries and transfer.
    const BT709: [u32; 4] = [1, 1, 1, 1];
    const UNSPECIFIED: u32 = 2;
    if plan.to_sdr {
        return BT709;
    }
    let [_, matrix, primaries, transfer] = plan.colour;
    let high = plan.renditions.first().is_some_and(|r| r.width.min(r.height) >= 720);
    // 6: SMPTE 170M, what standard definition is taken for when nothing is said. 0: RGB, converted to BT.709.
    let usual = if high { 1 } else { 6 };
    let or_usual = |n: u32, rgb: bool| match n {
        UNSPECIFIED | 3 => usual,
        0 if rgb => 1,
        0 => usual,
        n => n,
    };
    [1, or_usual(matrix, true), or_usual(primaries, false), or_usual(transfer, false)]
}

/// Opens an encoder; when all sessions of a GPU are taken, waits for one rather than failing the job.
fn open_when_free(settings: &VideoSettings, gpu: Option<&media::device::GpuFrames>) -> Result<Encoder, EngineError> {
    let is_nvenc = settings.encoder.ends_with("_nvenc");
    let mut waited = Duration::ZERO;
    loop {
        match Encoder::video(settings, gpu) {
            Ok(encoder) => return Ok(encoder),
            Err(error) if is_nvenc && error.is_out_of_memory() && waited < SESSION_WAIT => {
                if waited.is_zero() {
                    tracing::info!("all encoder sessions of the GPU are taken; waiting for one");
                }
                let pause = Duration::from_millis(500);
                std::thread::sleep(pause);
                waited += pause;
            }
            Err(error) => return Err(EngineError::new(FailureCode::EncoderUnavailable, error.to_string())),
        }
    }
}

/// Where frames of a rendition go.
pub(crate) enum Lane {
    /// Encoded at once by whoever sends.
    Inline(Box<InlineLane>),
    /// Encoded by a thread.
    Threaded(ThreadedLane),
}

pub(crate) struct InlineLane(RenditionEncoder);

pub(crate) struct ThreadedLane {
    sender: Option<SyncSender<(Frame, u64)>>,
    thread: JoinHandle<Result<RenditionEncoder, EngineError>>,
}

impl Lane {
    /// Opens the encoder for pictures like `first`; `threaded` gives it a thread.
    pub(crate) fn open(
        plan: &VideoPlan,
        rendition: &RenditionPlan,
        first: &Frame,
        first_frame: u64,
        gpu: Option<&media::device::GpuFrames>,
        outbox: &Outbox,
        threaded: bool,
    ) -> Result<Self, EngineError> {
        let encoder = RenditionEncoder::open(plan, rendition, first, first_frame, gpu, outbox)?;
        if !threaded {
            return Ok(Self::Inline(Box::new(InlineLane(encoder))));
        }
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name(rendition.name.clone())
            .spawn(move || encode_all(encoder, &receiver))
            .map_err(EngineError::internal)?;
        Ok(Self::Threaded(ThreadedLane { sender: Some(sender), thread }))
    }

    /// Gives a frame.
    pub(crate) fn frame(&mut self, frame: Frame, number: u64) -> Result<(), EngineError> {
        match self {
            Self::Inline(lane) => lane.0.frame(frame, number),
            Self::Threaded(lane) => match &lane.sender {
                // A closed channel means that the thread failed; `finish` tells how.
                Some(sender) if sender.send((frame, number)).is_ok() => Ok(()),
                _ => Err(EngineError::internal("the encoder thread stopped")),
            },
        }
    }

    /// No frame follows; the rendition ends before frame `end`.
    pub(crate) fn finish(self, end: u64) -> Result<StageSeconds, EngineError> {
        match self {
            Self::Inline(lane) => lane.0.finish(end),
            Self::Threaded(lane) => {
                drop(lane.sender);
                let encoder =
                    lane.thread.join().map_err(|_| EngineError::internal("the encoder thread panicked"))??;
                encoder.finish(end)
            }
        }
    }
}

fn encode_all(mut encoder: RenditionEncoder, frames: &Receiver<(Frame, u64)>) -> Result<RenditionEncoder, EngineError> {
    while let Ok((frame, number)) = frames.recv() {
        encoder.frame(frame, number)?;
    }
    Ok(encoder)
}
