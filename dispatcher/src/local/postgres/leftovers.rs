//! Processes of a server whose dispatcher was killed.
//!
//! A server ends with its dispatcher, but takes a moment for it. Killed itself, it leaves processes that notice only after
//! the statement they work on, and a new server does not start beside them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{PostgresError, STOP, signal};

/// One that is left.
struct Leftover {
    pid: u32,
    /// The server itself, not one of its processes.
    is_server: bool,
}

/// Ends what is left of the server `name` on `data`, in order where it can be. The caller holds the folder's lock.
pub(super) fn end(name: &str, data: &Path) -> Result<(), PostgresError> {
    let begun = Instant::now();
    let mut sent = None;
    loop {
        let left = find(name, data);
        if left.is_empty() {
            return Ok(());
        }
        let all: Vec<u32> = left.iter().map(|l| l.pid).collect();
        let servers: Vec<u32> = left.iter().filter(|l| l.is_server).map(|l| l.pid).collect();
        let waited = begun.elapsed();
        if waited > STOP * 3 {
            let output = format!("processes of an earlier run do not end: {all:?}");
            return Err(PostgresError::Failed { program: "postgres", output });
        }
        let order = if servers.is_empty() || waited > STOP * 2 {
            // Without its server, a process has nothing to end in order: what it did not commit is undone.
            "KILL"
        } else if waited > STOP {
            "QUIT"
        } else {
            "INT"
        };
        if sent != Some(order) {
            tracing::info!(?all, signal = order, "a database of an earlier run is still there; ending it");
            signal(if order == "KILL" { &all } else { &servers }, order);
            sent = Some(order);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn find(name: &str, data: &Path) -> Vec<Leftover> {
    let noted = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let noted: Option<u32> = noted.lines().next().and_then(|l| l.trim().parse().ok());
    let data = data.to_string_lossy();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            // Empty for one that ended and was not waited for.
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line);
            // The processes of a server have a title instead of arguments.
            let is_process = line.starts_with(&format!("postgres: {name}: "));
            let is_server = line.split('\0').any(|a| a.strip_prefix("cluster_name=") == Some(name))
                || (noted == Some(pid) && line.contains("postgres\0") && line.split('\0').any(|a| a == data));
            (is_process || is_server).then_some(Leftover { pid, is_server })
        })
        .collect()
}
