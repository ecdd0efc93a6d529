//! CPU seconds of the calling thread, for the stage table of the benchmark.

use std::time::Instant;

/// Measures a stage by wall time on its own thread. The engine's threads do not wait inside a stage, so on a machine
/// that is not overcommitted this is CPU time; the benchmark checks the sum against the kernel's count.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Adds the time since the start, or since the last call, to `stage`.
    pub(crate) fn lap(&mut self, stage: &mut f64) {
        let now = Instant::now();
        *stage += (now - self.0).as_secs_f64();
        self.0 = now;
    }
}
