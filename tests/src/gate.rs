//! A gate for what a fleet sends to its engines: work stands still where a story wants to look at it, however slow
//! everything beside it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The number of a gate that lets everything through.
const OPEN: u64 = u64::MAX;

/// Counts the commands that a worker may give to its engines; `dispatcher/web/e2e/gate.mjs` is the same for pages.
#[derive(Debug)]
pub struct Gate {
    file: PathBuf,
}

impl Gate {
    /// A gate that is shut, in this folder.
    #[must_use]
    pub fn shut(dir: &Path) -> Self {
        Self { file: dir.join("gate") }
    }

    /// The rule for fault points that puts it in place.
    #[must_use]
    pub fn rule(&self) -> String {
        format!("worker engine.send=hold:{}", self.file.display())
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Lets one command after another through, until something is so; then nothing moves.
    ///
    /// # Panics
    /// It is not so after two minutes.
    pub async fn step_until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let mut allowed = 0;
        let end = tokio::time::Instant::now() + Duration::from_secs(120);
        while !is_so().await {
            assert!(tokio::time::Instant::now() < end, "the gate let {allowed} through, and not yet: {what}");
            let waits = std::fs::read_to_string(self.file.with_extension("waits")).unwrap_or_default();
            // Half a number, when it is just being written, is a smaller one.
            match waits.parse() {
                Ok(waits) if waits > allowed => {
                    allowed = waits;
                    self.allow(allowed);
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.allow(OPEN);
    }

    fn allow(&self, number: u64) {
        std::fs::write(&self.file, number.to_string()).expect("the gate can be written");
    }
}
