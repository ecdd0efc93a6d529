//! The guard against a GPU, or a machine, that computes wrongly: a known film before any work and now and then, and a look
//! at what each task made.
//!
//! The look is the engine's own (`engine/likeness.rs`), before it hands a segment over. It has read a stranger's bytes, so its
//! word condemns no hardware: it fails the task, and the known film, in a fresh engine that reads nothing, decides about
//! the machine.

use std::time::Duration;

use fleet::failure::FailureCode;

use crate::child::{Engines, TaskLimits};
use crate::encoder::Backend;
use crate::failure::JobError;
use crate::protocol::{Command, Event, Golden};

/// Frames of the known film.
const FRAMES: u64 = crate::engine::GOLDEN_FRAMES;
/// Least likeness of its pictures, in dB. x264 reaches 40 at this rate; a wrong picture stays below 15.
const GOLDEN_DB: f64 = 30.0;
/// Least likeness of a task's key frames. Those of the smallest renditions are coarse, so this is lower.
pub(crate) const TASK_DB: f64 = 20.0;
/// Output pixels a second that no machine makes with one engine: three NVENC engines of the fastest GPU make a quarter.
const FASTEST: f64 = 16e9;
/// Time below which speed tells nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// Why the known film did not come out right; `None` when it did.
fn wrong(found: &Golden) -> Option<String> {
    if found.frames != FRAMES {
        return Some(format!("{} of {FRAMES} frames came out", found.frames));
    }
    let alike = found.worst_db >= GOLDEN_DB;
    (!alike).then(|| format!("a picture of the known film has {:.1} dB; {GOLDEN_DB} are the least", found.worst_db))
}

/// Sends the known film through this machine's encoder and decoder, in a fresh engine.
///
/// # Errors
/// [`FailureCode::GuardFailed`] when it came out wrong, else why it could not be tried.
pub(crate) async fn golden(engines: Engines, backend: Backend) -> Result<Golden, JobError> {
    let encoder = match backend {
        Backend::X264 => "libx264",
        Backend::Nvenc => "h264_nvenc",
    };
    let mut engine = engines.start_without_source().await?;
    engine.send(&Command::Golden { encoder: encoder.to_owned() }, TaskLimits::TRY).await?;
    match engine.next().await? {
        (Event::Golden(found), _) => match wrong(&found) {
            Some(why) => Err(JobError::new(FailureCode::GuardFailed, why)),
            None => Ok(found),
        },
        (other, _) => Err(JobError::new(FailureCode::EngineProtocol, format!("unexpected event {}", other.name()))),
    }
}

/// Checks that `pixels` of output may have been made in this time.
///
/// # Errors
/// [`FailureCode::GuardFailed`].
pub(crate) fn pace(pixels: f64, took: Duration) -> Result<(), JobError> {
    let speed = pixels / took.max(SHORTEST).as_secs_f64();
    if speed <= FASTEST {
        return Ok(());
    }
    Err(JobError::new(FailureCode::GuardFailed, format!("{speed:.1e} pixels a second are too good to be true")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_film_counts_and_looks() {
        assert_eq!(wrong(&Golden { frames: FRAMES, worst_db: 41.0 }), None);
        for (frames, worst_db) in [(FRAMES - 1, 41.0), (FRAMES, 12.0), (0, 0.0), (FRAMES, f64::NAN)] {
            assert!(wrong(&Golden { frames, worst_db }).is_some(), "{frames} {worst_db}");
        }
    }

    #[test]
    fn an_hour_in_a_second_is_too_good_to_be_true() {
        let hour = 3600.0 * 30.0 * 1920.0 * 1080.0;
        assert!(pace(hour, Duration::from_secs(60)).is_ok());
        let error = pace(hour, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.code, FailureCode::GuardFailed);
        // A first segment may have been ready before anybody looked.
        assert!(pace(180.0 * 1280.0 * 720.0, Duration::ZERO).is_ok());
    }
}
