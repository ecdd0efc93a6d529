//! What this machine encodes and decodes with, found by trying.

use std::path::Path;

use fleet::failure::FailureCode;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::EncoderType;
use serde::{Deserialize, Serialize};

use crate::child::{Engines, TaskLimits};
use crate::encoder::Backend;
use crate::failure::JobError;
use crate::plan::{JobPlan, Machine};
use crate::protocol::{Command, Event, Hardware};

/// Which encoder was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderChoice {
    /// NVENC where it works, else x264.
    #[default]
    Auto,
    /// NVENC or failure.
    Nvenc,
    /// x264.
    X264,
}

/// What was chosen.
#[derive(Debug)]
pub struct Chosen {
    /// For planning.
    pub machine: Machine,
    /// Sentences about the choice.
    pub notes: Vec<String>,
    gpu: Option<Gpu>,
}

/// What NVML says of a GPU.
#[derive(Clone, Debug, Serialize)]
pub struct Gpu {
    /// Product name.
    pub name: String,
    /// Identifier of the piece of hardware; empty when NVML does not tell.
    pub uuid: String,
    /// Free memory in bytes.
    pub free_bytes: u64,
    /// Share of the encoder that is free for H.264, in percent.
    pub encoder_capacity: Option<u32>,
    /// Encoder sessions open now, of all processes.
    pub sessions: Option<u32>,
    /// Encoder utilisation in percent.
    pub encoder_percent: Option<u32>,
    /// Decoder utilisation in percent.
    pub decoder_percent: Option<u32>,
}

/// GPU memory of one engine with a full ladder, in bytes.
const GPU_BYTES_PER_SLOT: u64 = 1 << 30;
/// NVENC has at most three engines, and one job's renditions keep one busy.
const MAX_GPU_SLOTS: u64 = 3;

/// Pixels of one picture in all renditions of the default ladder: 1080p, 720p, 540p and 360p.
const FULL_LADDER_PIXELS: u64 = 1920 * 1080 + 1280 * 720 + 960 * 540 + 640 * 360;

/// The first GPU, as NVML sees it; `None` without a driver.
#[must_use]
pub fn gpu() -> Option<Gpu> {
    let nvml = Nvml::init().inspect_err(|error| tracing::debug!(%error, "no NVML")).ok()?;
    let device = nvml.device_by_index(0).ok()?;
    Some(Gpu {
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
        uuid: device.uuid().unwrap_or_default(),
        free_bytes: device.memory_info().map_or(0, |m| m.free),
        encoder_capacity: device.encoder_capacity(EncoderType::H264).ok(),
        sessions: device.encoder_stats().ok().map(|s| s.session_count),
        encoder_percent: device.encoder_utilization().ok().map(|u| u.utilization),
        decoder_percent: device.decoder_utilization().ok().map(|u| u.utilization),
    })
}

/// Chooses, trying the GPU in an engine process of its own when there may be one: what does not work inside the sandbox
/// does not work.
///
/// # Errors
/// NVENC was demanded and does not work.
pub(crate) async fn choose(engines: Engines, choice: EncoderChoice) -> Result<Chosen, JobError> {
    let gpu = gpu();
    let may_have_gpu = gpu.is_some() || Path::new("/dev/nvidiactl").exists() || choice == EncoderChoice::Nvenc;
    if choice == EncoderChoice::X264 && gpu.is_none() || !may_have_gpu {
        return Ok(Chosen::cpu());
    }
    let tried = match try_in_engine(engines).await {
        Ok(hardware) => hardware,
        Err(error) => Hardware { reasons: vec![error.to_string()], ..Hardware::default() },
    };
    let nvenc = tried.h264_nvenc && choice != EncoderChoice::X264;
    if choice == EncoderChoice::Nvenc && !nvenc {
        return Err(JobError::new(FailureCode::EncoderUnavailable, tried.reasons.join("; ")));
    }
    let mut notes = Vec::new();
    let name = gpu.as_ref().map_or("the GPU", |g| g.name.as_str());
    let reasons = tried.reasons.join("; ");
    match (tried.cuda, nvenc) {
        (true, true) => {}
        (true, false) if tried.h264_nvenc => notes.push(format!("{name} decodes; x264 encodes, as asked")),
        (true, false) => notes.push(format!("{name} decodes; it has no usable NVENC, so x264 encodes")),
        (false, true) => notes.push(format!("{name} encodes; processors decode and scale: {reasons}")),
        (false, false) => notes.push(format!("the GPU is not used: {reasons}")),
    }
    Ok(Chosen {
        machine: Machine {
            backend: if nvenc { Backend::Nvenc } else { Backend::X264 },
            nvenc_hevc: nvenc && tried.hevc_nvenc,
            gpu: tried.cuda,
        },
        notes,
        gpu,
    })
}

async fn try_in_engine(engines: Engines) -> Result<Hardware, JobError> {
    let mut engine = engines.gpu(true).start_without_source().await?;
    engine.send(&Command::TryHardware, TaskLimits::TRY).await?;
    match engine.next().await? {
        (Event::Hardware(hardware), _) => Ok(hardware),
        (other, _) => Err(JobError::new(FailureCode::EngineProtocol, format!("unexpected event {other:?}"))),
    }
}

impl Chosen {
    /// x264 on the CPU, without a GPU.
    pub(crate) fn cpu() -> Self {
        Self {
            machine: Machine { backend: Backend::X264, nvenc_hevc: false, gpu: false },
            notes: Vec::new(),
            gpu: None,
        }
    }

    /// Name of what encodes, for the guard: the GPU that is used, or this host's processors.
    pub(crate) fn device(&self, host: &str) -> String {
        let used = self.gpu.as_ref().filter(|_| self.machine.gpu || self.machine.backend == Backend::Nvenc);
        match used {
            Some(gpu) if gpu.uuid.is_empty() => format!("gpu:{host}"),
            Some(gpu) => gpu.uuid.clone(),
            None => format!("cpu:{host}"),
        }
    }

    /// `engines`, with the GPU when it was chosen.
    pub(crate) fn equip(&self, engines: Engines) -> Engines {
        engines.gpu(self.machine.gpu || self.machine.backend == Backend::Nvenc)
    }

    /// Encoder families that jobs may be planned for here: with NVENC also x264, which takes what NVENC does not.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        match self.machine.backend {
            Backend::Nvenc => vec![Backend::Nvenc, Backend::X264],
            Backend::X264 => vec![Backend::X264],
        }
    }

    /// Engines at once when the jobs are not known yet: as [`slots`](Self::slots) for a ladder of 1080p and below.
    #[must_use]
    pub fn service_slots(&self) -> u32 {
        self.slots_for(FULL_LADDER_PIXELS)
    }

    /// Engines at once: one a core for x264, as far as memory carries them; for NVENC as many as keep it busy.
    #[must_use]
    pub fn slots(&self, plan: &JobPlan) -> u32 {
        self.slots_for(plan.video.renditions.iter().map(|r| u64::from(r.width) * u64::from(r.height)).sum())
    }

    fn slots_for(&self, pixels: u64) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        // About 190 MB for each 1080p of renditions, beside decoder and buffers.
        let per_slot = 150_000_000 + pixels * 190_000_000 / (1920 * 1080);
        let memory = available_memory().map_or(u64::MAX, |m| (m.saturating_sub(1_000_000_000) / per_slot).max(1));
        let slots = match (self.machine.backend, &self.gpu) {
            (Backend::Nvenc, Some(gpu)) => (gpu.free_bytes / GPU_BYTES_PER_SLOT).clamp(1, MAX_GPU_SLOTS),
            (Backend::Nvenc, None) => 1,
            (Backend::X264, _) => cores,
        };
        u32::try_from(slots.min(memory)).unwrap_or(1).max(1)
    }
}

/// Memory that can be taken without swapping, in bytes.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
