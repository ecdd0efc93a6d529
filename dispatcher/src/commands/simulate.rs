//! `dispatcher simulate`: the fleet in virtual time, policies side by side.

use std::path::{Path, PathBuf};

use capacity::policy::{Policy, PolicyError};
use capacity::pools::{Fleet, FleetProblems};
use capacity::receipt;
use capacity::simulate::arrivals::{self, ArrivalError};
use capacity::simulate::comparison::Comparison;
use capacity::simulate::market::SpotError;
use capacity::simulate::{Scenario, Settings, Spot, page};
use clap::Args;

/// Arguments of `simulate`.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Regions, quotas, pools, policy
    #[arg(long, value_name = "FILE", default_value = "infra/fleet.toml")]
    pub fleet: PathBuf,
    /// CSV or JSON file, also what `dispatcher jobs --json` prints, or a generator: weekend:matches=200,
    /// `saturday:matches=40`, `steady:per_hour=10`
    #[arg(long, value_name = "FILE|GENERATOR", default_value = "weekend:matches=200")]
    pub arrivals: String,
    /// always, calm, rough, `process:up_h=…,down_h=…,shared=…,sigma=…,hazard=…`, or a trace file or folder
    #[arg(long, value_name = "MARKET|PATH", default_value = "rough")]
    pub spot: String,
    /// Policies, separated by commas, parameters after a colon; that of the fleet file when missing
    #[arg(long, value_name = "P,Q,…")]
    pub policy: Vec<String>,
    /// Try each policy that has this parameter with each whole number of the range
    #[arg(long, value_name = "NAME=A..B")]
    pub sweep: Option<String>,
    /// Same seed, same output
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Share of on-demand launches that find no capacity, 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub on_demand_full: f64,
    /// Share of chunks that take five times as long, 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub stragglers: f64,
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    pub out: Option<PathBuf>,
    /// Write the receipts of the first policy
    #[arg(long, value_name = "FILE.csv")]
    pub receipts: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// JSON of an earlier run; what became worse is an error
    #[arg(long, value_name = "FILE.json")]
    pub baseline: Option<PathBuf>,
}

/// Why a simulation gives no result, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The fleet file.
    #[error("{path}:\n{problems}")]
    Fleet {
        /// File.
        path: PathBuf,
        /// All of them.
        problems: FleetProblems,
    },
    /// Arrivals.
    #[error(transparent)]
    Arrivals(#[from] ArrivalError),
    /// The spot market.
    #[error(transparent)]
    Spot(#[from] SpotError),
    /// A policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// What was typed.
    #[error("{0}")]
    Usage(String),
    /// The file system.
    #[error("{path}")]
    File {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Worse than the baseline.
    #[error("worse than {path}:\n{what}")]
    Worse {
        /// Baseline.
        path: PathBuf,
        /// A sentence each.
        what: String,
    },
}

impl SimulateError {
    /// 6 for a run that is worse than its baseline, 3 for files that cannot be written, 2 for bad input.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Worse { .. } => 6,
            Self::File { .. } => 3,
            Self::Fleet { .. } | Self::Arrivals(_) | Self::Spot(_) | Self::Policy(_) | Self::Usage(_) => 2,
        }
    }
}

/// Runs the scenario under each policy, writes what was asked for, and gives what is to be printed.
///
/// # Errors
/// [`SimulateError`]; when the baseline was better, what is to be printed is lost, so run it without one to see it.
pub fn simulate(args: &SimulateArgs) -> Result<String, SimulateError> {
    let scenario = scenario(args)?;
    let policies = policies(args, &scenario.fleet.policy)?;
    let comparison = Comparison::run(&scenario, &policies, command(args));
    if let Some(path) = &args.out {
        write(path, &page::render(&comparison, &scenario.fleet))?;
    }
    if let (Some(path), Some(outcome)) = (&args.receipts, comparison.outcomes.first()) {
        write(path, &receipt::csv(&outcome.receipts))?;
    }
    if let Some(path) = &args.baseline {
        let text = read(path)?;
        let baseline: Comparison = serde_json::from_str(&text)
            .map_err(|e| SimulateError::Usage(format!("{} is no earlier run: {e}", path.display())))?;
        let worse = comparison.worse_than(&baseline).map_err(SimulateError::Usage)?;
        if !worse.is_empty() {
            return Err(SimulateError::Worse { path: path.clone(), what: worse.join("\n") });
        }
    }
    if args.json {
        return serde_json::to_string_pretty(&comparison).map_err(|e| SimulateError::Usage(e.to_string()));
    }
    Ok(format!("{}\n{}", comparison.table(), comparison.notes().trim_end()))
}

fn scenario(args: &SimulateArgs) -> Result<Scenario, SimulateError> {
    for (name, share) in [("--on-demand-full", args.on_demand_full), ("--stragglers", args.stragglers)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(SimulateError::Usage(format!("{name} is a share from 0 to 1")));
        }
    }
    let text = read(&args.fleet).map_err(|e| SimulateError::Usage(format!("{e}; name the fleet with --fleet FILE")))?;
    let fleet = Fleet::parse(&text).map_err(|problems| SimulateError::Fleet { path: args.fleet.clone(), problems })?;
    let settings = Settings {
        on_demand_full: args.on_demand_full,
        stragglers: args.stragglers,
        receipts: args.receipts.is_some(),
        ..Settings::default()
    };
    let arrivals = arrivals::parse(&args.arrivals, &fleet, args.seed)?;
    Ok(Scenario { arrivals, spot: Spot::parse(&args.spot)?, seed: args.seed, settings, fleet })
}

/// The policies that were named, or that of the fleet, each with each value of the sweep.
fn policies(args: &SimulateArgs, usual: &Policy) -> Result<Vec<Policy>, SimulateError> {
    let named = args.policy.iter().flat_map(|list| split(list));
    let mut policies = named.map(|text| usual.parsed(&text)).collect::<Result<Vec<_>, _>>()?;
    if policies.is_empty() {
        policies.push(usual.clone());
    }
    let Some(sweep) = &args.sweep else { return Ok(policies) };
    let bad = || SimulateError::Usage(format!("--sweep is NAME=A..B with whole numbers, not {sweep:?}"));
    let (name, range) = sweep.split_once('=').ok_or_else(bad)?;
    let (from, until) = range.split_once("..").ok_or_else(bad)?;
    let (from, until): (u32, u32) = (from.parse().map_err(|_| bad())?, until.parse().map_err(|_| bad())?);
    if from > until || until - from > 100 {
        return Err(bad());
    }
    let mut swept = Vec::new();
    let mut found = false;
    for policy in policies {
        let mut probe = policy.clone();
        if probe.set(name, &from.to_string()).is_err() {
            swept.push(policy);
            continue;
        }
        found = true;
        for value in from..=until {
            let mut one = policy.clone();
            one.set(name, &value.to_string())?;
            swept.push(one);
        }
    }
    if found { Ok(swept) } else { Err(SimulateError::Usage(format!("no policy here has a parameter {name:?}"))) }
}

/// `a,b:x=1,y=2,c` names three policies: a part with `=` and without a colon belongs to the policy before it.
fn split(list: &str) -> Vec<String> {
    let mut policies: Vec<String> = Vec::new();
    for part in list.split(',').filter(|p| !p.trim().is_empty()) {
        match policies.last_mut() {
            Some(last) if part.contains('=') && !part.contains(':') => {
                last.push(',');
                last.push_str(part);
            }
            _ => policies.push(part.to_owned()),
        }
    }
    policies
}

/// The command that gives the same again.
fn command(args: &SimulateArgs) -> String {
    let mut words = vec!["dispatcher simulate".to_owned()];
    words.push(format!("--fleet {}", args.fleet.display()));
    words.push(format!("--arrivals {}", args.arrivals));
    words.push(format!("--spot {}", args.spot));
    words.extend((!args.policy.is_empty()).then(|| format!("--policy {}", args.policy.join(","))));
    words.extend(args.sweep.as_ref().map(|s| format!("--sweep {s}")));
    words.extend((args.on_demand_full > 0.0).then(|| format!("--on-demand-full {}", args.on_demand_full)));
    words.extend((args.stragglers > 0.0).then(|| format!("--stragglers {}", args.stragglers)));
    words.push(format!("--seed {}", args.seed));
    words.join(" ")
}

fn read(path: &Path) -> Result<String, SimulateError> {
    std::fs::read_to_string(path).map_err(|e| SimulateError::Usage(format!("{} cannot be read: {e}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), SimulateError> {
    std::fs::write(path, text).map_err(|source| SimulateError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn typed(words: &[&str]) -> SimulateArgs {
        let fleet = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/fleet.toml");
        let line = ["simulate", "--fleet", fleet, "--arrivals", "saturday:matches=6"];
        Line::parse_from(line.iter().chain(words)).args
    }

    fn names(words: &[&str]) -> Vec<String> {
        policies(&typed(words), &Policy::default()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn policies_are_separated_by_commas_and_swept() {
        assert_eq!(names(&[]), ["deadline"]);
        assert_eq!(
            names(&["--policy", "spot_only,static_mix:base=2,pct=50,deadline:lead=2"]),
            ["spot_only", "static_mix:base=2,pct=50", "deadline:lead=2"]
        );
        assert_eq!(
            names(&["--policy", "spot_only,static_mix", "--sweep", "base=0..2"]),
            ["spot_only", "static_mix:base=0", "static_mix", "static_mix:base=2"]
        );
        for bad in ["base", "base=3..1", "base=a..b", "bass=0..1"] {
            let args = typed(&["--policy", "static_mix", "--sweep", bad]);
            assert!(policies(&args, &Policy::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_a_baseline_catches_what_became_worse() {
        let folder = tempfile::tempdir().unwrap();
        let page = |name: &str| folder.path().join(name).display().to_string();
        let run = |out: &str, words: &[&str]| {
            let line = ["--policy", "deadline", "--json", "--out", out];
            simulate(&typed(&line.iter().chain(words).copied().collect::<Vec<_>>()))
        };
        let (one, two) = (page("one.html"), page("two.html"));
        let first = run(&one, &[]).unwrap();
        assert_eq!(first, run(&two, &[]).unwrap());
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        assert!(std::fs::read_to_string(&one).unwrap().contains("<svg"));

        let baseline = page("baseline.json");
        std::fs::write(&baseline, &first).unwrap();
        assert!(run(&one, &["--baseline", &baseline]).is_ok());
        let mut better: Comparison = serde_json::from_str(&first).unwrap();
        better.outcomes[0].usd_per_job *= 0.9;
        std::fs::write(&baseline, serde_json::to_string(&better).unwrap()).unwrap();
        let error = run(&one, &["--baseline", &baseline]).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains("deadline: a match costs"), "{error}");
        let other = run(&one, &["--baseline", &baseline, "--seed", "2"]).unwrap_err();
        assert!(other.to_string().contains("of another scenario"), "{other}");
        let more = run(&one, &["--baseline", &baseline, "--policy", "on_demand_only"]).unwrap_err();
        assert!(more.to_string().contains("nothing to compare on_demand_only with"), "{more}");
        // The policy is what was changed: it stands in the place of the one before.
        better.outcomes[0].policy = "deadline:lead=9".to_owned();
        std::fs::write(&baseline, serde_json::to_string(&better).unwrap()).unwrap();
        assert_eq!(run(&one, &["--baseline", &baseline]).unwrap_err().exit_code(), 6);
    }
}
