//! How long the simulator takes for a million matches, on one core: the program that people run.

use std::path::Path;

use crate::measure::{Measured, cost};
use crate::program;

/// Matches, in as many months as have 20,000 each.
const MATCHES: u32 = 1_000_000;
/// A million matches should take less than this.
const LIMIT_S: f64 = 60.0;
/// vCPUs that each quota admits: 25,000 instances a region, so that nothing waits for one.
const VCPU: u32 = 100_000;

/// CPU seconds for a million matches of 90 and of 10 minutes.
///
/// # Panics
/// The simulator refuses.
#[must_use]
pub fn matches(dir: &Path) -> Vec<Measured> {
    let fleet = dir.join("fleet.toml");
    std::fs::write(&fleet, fleet_file()).expect("the temporary folder can be written");
    println!("\nsimulate: {MATCHES} matches, 20000 a month, {VCPU} vCPU for each quota, one run on one core");
    let mut measured = Vec::new();
    for minutes in [90, 10] {
        let months = MATCHES / 20_000;
        let command = [
            "taskset".to_owned(),
            "-c".to_owned(),
            "0".to_owned(),
            program("dispatcher").display().to_string(),
            "simulate".to_owned(),
            "--fleet".to_owned(),
            fleet.display().to_string(),
            "--arrivals".to_owned(),
            format!("weekend:matches=20000,months={months},minutes={minutes}"),
            "--spot".to_owned(),
            "calm".to_owned(),
            "--policy".to_owned(),
            "deadline:travel=0".to_owned(),
        ];
        let cpu = cost(&command).cpu;
        println!("  {minutes} min: {cpu:.1} s of CPU");
        measured.push(Measured { name: format!("simulate_{minutes}_min"), ratio: cpu / LIMIT_S, limit: 1.0 });
    }
    measured
}

/// The example fleet with quotas that admit what is needed.
fn fleet_file() -> String {
    let example = include_str!("../../infra/fleet.toml");
    let lines = example.lines().map(|line| match line.split_once("vcpu = ") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}vcpu = {VCPU}{rest}\n")
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}
