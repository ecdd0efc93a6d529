//! How benchmarks measure: goals as ratios, medians of runs, processor time of commands.

use std::process::{Command, Stdio};

/// A measured ratio and the limit that it should stay below.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Name of the goal.
    pub name: String,
    /// What was measured.
    pub ratio: f64,
    /// What it should not exceed.
    pub limit: f64,
}

/// CPU and wall seconds of a command and all its children.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Seconds on processors, user and system.
    pub cpu: f64,
    /// Seconds that passed.
    pub wall: f64,
}

/// The value in the middle, the upper one of two; not a number without values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs a command line under bash's `time`, which counts children that were waited for.
///
/// # Panics
/// The command fails.
pub fn cost(command: &[String]) -> Cost {
    let output = Command::new("bash")
        .args(["-c", "TIMEFORMAT='%U %S %R'; time \"$@\" >/dev/null 2>&1", "bench"])
        .args(command)
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    assert!(output.status.success(), "{command:?} failed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert_eq!(numbers.len(), 3, "{text}");
    Cost { cpu: numbers[0] + numbers[1], wall: numbers[2] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
