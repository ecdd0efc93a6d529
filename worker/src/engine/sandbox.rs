//! The lock that an engine puts on itself between starting and reading the first byte of a source.
//!
//! Order: limits, then (for a GPU) a wide Landlock and the driver's start, then Landlock without any file, then the system
//! call filter, then forbidden things are tried, and only then the engine says that it is ready. Nothing is undone later:
//! whoever takes over a locked engine has its memory, its three descriptors, and wrong pictures to offer.

mod filter;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use media::forbidden::{OPERATIONS, Operation, Refusal};
use media::process;

use crate::confinement::{Confinement, Layers, MEMORY};

/// Rights that Landlock is asked to handle; a kernel that knows fewer handles those.
const RIGHTS: ABI = ABI::V6;
/// Without these the lock does not count.
const LEAST: ABI = ABI::V1;
/// Folders that the GPU driver's libraries and their settings are read from while it starts.
const DRIVER_FOLDERS: [&str; 8] = ["/usr", "/lib", "/lib64", "/opt", "/etc", "/proc", "/sys", "/run"];
/// What its started threads still open: its own devices, and the names of its threads.
const DRIVER_FILES: [&str; 2] = ["/proc/self/task", "/proc/driver/nvidia"];

/// Why an engine could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A limit could not be set.
    #[error("limits cannot be set: {0}")]
    Limits(#[source] std::io::Error),
    /// The kernel has no Landlock, or it is not enabled.
    #[error("Landlock does not hold here ({0}); Linux 5.13 or later with it enabled is needed")]
    Landlock(String),
    /// The kernel takes no system call filter.
    #[error("the system call filter does not hold here: {0}")]
    Filter(String),
    /// Something forbidden was possible under the lock.
    #[error("the lock has a hole: \"{0}\" was not refused")]
    Hole(&'static str),
}

/// Locks this process. `warm` starts the GPU driver, at the moment when that is still possible and nothing hostile has
/// been read.
pub(crate) fn lock(layers: Layers, gpu: bool, warm: impl FnOnce()) -> Result<Confinement, SandboxError> {
    let limits = process::Limits {
        data: MEMORY,
        // A GPU driver reserves address space as large as all memory of machine and GPU.
        address_space: (!gpu).then_some(MEMORY + (8 << 30)),
        files: if gpu { 512 } else { 16 },
    };
    process::limit(&limits).map_err(SandboxError::Limits)?;
    if gpu {
        // Threads of the driver start now and keep this first, wider lock: from them, too, no file of a user, no
        // secret of another process's owner and no network can be reached.
        if layers.landlock() {
            let folders = DRIVER_FOLDERS.map(String::from);
            restrict(&folders, AccessFs::from_read(RIGHTS), &driver_files())?;
        }
        warm();
    }
    if layers != Layers::None {
        // After the driver's start, which looks at /proc/self: what a hidden process has there is root's.
        process::hide_and_die_with_parent().map_err(SandboxError::Limits)?;
    }
    let landlock_abi = if layers.landlock() {
        let files = if gpu { driver_files() } else { Vec::new() };
        Some(restrict(&[], BitFlags::EMPTY, &files)?)
    } else {
        None
    };
    let refused = if layers.seccomp() {
        filter::refuse(gpu).map_err(|e| SandboxError::Filter(e.to_string()))?;
        let refused = try_all(gpu)?;
        filter::kill().map_err(|e| SandboxError::Filter(e.to_string()))?;
        refused
    } else if let Some(abi) = landlock_abi {
        try_some(|o| o.landlock.is_some_and(|least| least <= abi))?
    } else {
        Vec::new()
    };
    Ok(Confinement { layers, landlock_abi, gpu, refused })
}

/// Everything is tried, also what will mean death once the second filter is on.
fn try_all(gpu: bool) -> Result<Vec<String>, SandboxError> {
    try_some(|o| !gpu || o.refusal == Refusal::Death)
}

fn try_some(wanted: impl Fn(&Operation) -> bool) -> Result<Vec<String>, SandboxError> {
    let tried = OPERATIONS.iter().filter(|o| wanted(o));
    tried.map(|o| if o.is_refused() { Ok(o.name.to_owned()) } else { Err(SandboxError::Hole(o.name)) }).collect()
}

/// The devices of NVIDIA's driver on this machine and the few files beside.
fn driver_files() -> Vec<String> {
    let devices = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut files: Vec<String> = devices
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .filter(|path| path.starts_with("/dev/nvidia"))
        .collect();
    files.extend(DRIVER_FILES.map(String::from));
    files
}

/// Restricts this thread and all that it starts to reading `folders` and to reading, writing and controlling `files`, and
/// takes away the network; gives Landlock's version.
fn restrict(folders: &[String], read: BitFlags<AccessFs>, files: &[String]) -> Result<i32, SandboxError> {
    let use_files = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let attempt = || -> Result<RestrictionStatus, landlock::RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LEAST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(RIGHTS))?
            .handle_access(AccessNet::from_all(RIGHTS))?
            .scope(Scope::from_all(RIGHTS))?
            .create()?
            .add_rules(path_beneath_rules(folders, read))?
            .add_rules(path_beneath_rules(files, use_files))?
            .restrict_self()
    };
    let status = attempt().map_err(|e| SandboxError::Landlock(e.to_string()))?;
    match (status.ruleset, status.no_new_privs, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            true,
            LandlockStatus::Available { effective_abi, kernel_abi },
        ) => Ok(kernel_abi.unwrap_or(effective_abi as i32)),
        (ruleset, ..) => Err(SandboxError::Landlock(format!("{ruleset:?}"))),
    }
}

/// Tries one forbidden operation in the engine as it is; `true` when it was refused.
pub(crate) fn is_refused(name: &str) -> Option<bool> {
    Operation::named(name).map(Operation::is_refused)
}
