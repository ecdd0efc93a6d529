//! What an engine is locked into, as both sides name it.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Private writable memory that an engine may take, in bytes: the backstop. What a task may use is less, and watched.
pub const MEMORY: u64 = 8 << 30;

/// Locks that an engine puts on itself before it reads the first byte of a source. Both always, except where each is
/// shown to hold alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Layers {
    /// Landlock and the system call filter.
    #[default]
    Both,
    /// Landlock alone.
    Landlock,
    /// The system call filter alone.
    Seccomp,
    /// Neither: limits, and an environment without secrets, are all there is.
    None,
}

impl Layers {
    /// Whether Landlock is one of them.
    #[must_use]
    pub fn landlock(self) -> bool {
        matches!(self, Self::Both | Self::Landlock)
    }

    /// Whether the system call filter is one of them.
    #[must_use]
    pub fn seccomp(self) -> bool {
        matches!(self, Self::Both | Self::Seccomp)
    }
}

/// What an engine says of itself in its first message, when it is locked and before it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The locks that hold.
    pub layers: Layers,
    /// Landlock's version in the running kernel; `None` without that lock.
    pub landlock_abi: Option<i32>,
    /// Whether devices and calls of a GPU driver are left open.
    pub gpu: bool,
    /// Operations that were tried, and refused.
    pub refused: Vec<String>,
}
