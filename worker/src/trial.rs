//! Tries the lock of an engine: starts engines and has them do what must not be possible, with both layers and with each
//! alone. What is refused by death takes an engine each.

use std::fmt;
use std::time::Instant;

use comfy_table::{Table, presets};
use fleet::failure::FailureCode;
use futures_util::StreamExt;
use media::forbidden::{OPERATIONS, Operation, Refusal};
use serde::Serialize;

use crate::child::{EngineProcess, Engines, TaskLimits};
use crate::confinement::Layers;
use crate::failure::JobError;
use crate::protocol::{Command, Event};

/// Engines at once.
const AT_ONCE: usize = 4;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Trials {
    /// Version of the running kernel.
    pub kernel: String,
    /// Both layers first, then each alone.
    pub trials: Vec<Trial>,
}

/// One set of layers.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// Which.
    pub layers: Layers,
    /// Whether all was as it must be.
    pub holds: bool,
    /// Why there was nothing to try.
    pub problem: Option<String>,
    /// Landlock's version in the kernel.
    pub landlock_abi: Option<i32>,
    /// Milliseconds from starting an engine until it was ready.
    pub start_ms: f64,
    /// What was tried.
    pub attempts: Vec<Attempt>,
}

/// One operation that was tried.
#[derive(Debug, Serialize)]
pub struct Attempt {
    /// Its name.
    pub operation: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether that is what these layers promise.
    pub as_promised: bool,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The kernel answered with an error.
    Refused,
    /// The kernel ended the process.
    Killed,
    /// It was possible.
    Possible,
    /// The engine ended otherwise.
    Unclear,
}

impl Trials {
    /// Whether engines are locked in as they must be.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.trials.iter().any(|t| t.layers == Layers::Both && t.holds)
    }
}

/// Tries everything.
pub async fn run() -> Trials {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned());
    let mut trials = Vec::new();
    for layers in [Layers::Both, Layers::Landlock, Layers::Seccomp] {
        trials.push(match try_layers(layers).await {
            Ok(trial) => trial,
            Err(error) => Trial {
                layers,
                holds: false,
                problem: Some(error.to_string()),
                landlock_abi: None,
                start_ms: 0.0,
                attempts: Vec::new(),
            },
        });
    }
    Trials { kernel: kernel.trim().to_owned(), trials }
}

async fn try_layers(layers: Layers) -> Result<Trial, JobError> {
    let engines = Engines::with(layers);
    let started = Instant::now();
    let mut engine = engines.start_without_source().await?;
    let start_ms = started.elapsed().as_secs_f64() * 1000.0;
    let landlock_abi = engine.confinement().landlock_abi;
    let promised = |operation: &Operation| match (layers.seccomp(), operation.refusal) {
        (true, Refusal::Error) => Some(Outcome::Refused),
        (true, Refusal::Death) => Some(Outcome::Killed),
        (false, _) => operation.landlock.filter(|least| landlock_abi >= Some(*least)).map(|_| Outcome::Refused),
    };
    let (deadly, harmless): (Vec<_>, Vec<_>) = OPERATIONS
        .iter()
        .filter_map(|o| Some((o, promised(o)?)))
        .partition(|(_, promised)| *promised == Outcome::Killed);
    let mut attempts = Vec::new();
    for (operation, promised) in harmless {
        attempts.push(attempt(&mut engine, operation, promised).await);
    }
    let each = futures_util::stream::iter(deadly).map(|(operation, promised)| async move {
        let mut engine = engines.start_without_source().await?;
        Ok::<_, JobError>(attempt(&mut engine, operation, promised).await)
    });
    let ended: Vec<_> = each.buffered(AT_ONCE).collect().await;
    for attempt in ended {
        attempts.push(attempt?);
    }
    let holds = !attempts.is_empty() && attempts.iter().all(|a| a.as_promised);
    Ok(Trial { layers, holds, problem: None, landlock_abi, start_ms, attempts })
}

async fn attempt(engine: &mut EngineProcess, operation: &Operation, promised: Outcome) -> Attempt {
    let command = Command::TryForbidden { operation: operation.name.to_owned() };
    let answer = match engine.send(&command, TaskLimits::TRY).await {
        Ok(()) => engine.next().await,
        Err(error) => Err(error),
    };
    let outcome = match answer {
        Ok((Event::Forbidden { refused: true }, _)) => Outcome::Refused,
        Ok((Event::Forbidden { refused: false }, _)) => Outcome::Possible,
        Err(error) if error.code == FailureCode::EngineViolation => Outcome::Killed,
        _ => Outcome::Unclear,
    };
    Attempt { operation: operation.name, outcome, as_promised: outcome == promised }
}

impl fmt::Display for Trials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["layers", "holds", "tried", "ended by death", "Landlock ABI", "start ms"]);
        for trial in &self.trials {
            let killed = trial.attempts.iter().filter(|a| a.outcome == Outcome::Killed).count();
            table.add_row([
                format!("{:?}", trial.layers).to_lowercase(),
                if trial.holds { "yes" } else { "NO" }.to_owned(),
                trial.attempts.len().to_string(),
                killed.to_string(),
                trial.landlock_abi.map_or_else(String::new, |abi| abi.to_string()),
                format!("{:.1}", trial.start_ms),
            ]);
        }
        writeln!(f, "Linux {}\n{table}", self.kernel)?;
        for trial in &self.trials {
            if let Some(problem) = &trial.problem {
                writeln!(f, "{:?}: {problem}", trial.layers)?;
            }
            for attempt in trial.attempts.iter().filter(|a| !a.as_promised) {
                writeln!(f, "{:?}: {} was {:?}", trial.layers, attempt.operation, attempt.outcome)?;
            }
        }
        let verdict = if self.holds() { "engines are locked in" } else { "engines are NOT locked in" };
        write!(f, "{verdict}")
    }
}
