//! `./run simulate-faults`: the fleet's control logic in virtual time, under faults that seeds decide.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use stories::simulation::campaign::{Found, Tally, plant_all, sweep};
use stories::simulation::deviation::Deviation;
use stories::simulation::run;

const HELP: &str = "simulate_faults [--seeds N] [--first S] [--threads T] [--json]
simulate_faults --seed S [--trace] [--plant FAULT]
simulate_faults --planted [--most N] [--json]

Runs the control logic of dispatchers and workers in virtual time against a store, queues and objects in memory, while at
least 20 faults a seed strike processes, calls, messages, links, servers and clocks; checks every promise after each step.
The same seed gives the same run. Exit code 0: nothing is broken, or every planted fault is found.

  --seeds N      run N seeds (10000), from --first (1) on, on T threads (one for each core)
  --seed S       run one seed; with --trace print all that happens
  --plant FAULT  with one thing done otherwise than the fleet does it
  --planted      plant every fault in turn, with N seeds at most each (50000), and say after how many it was found
  --json         the result as JSON on standard output

Examples:
  ./run simulate-faults --seeds 100000
  ./run simulate-faults --seed 42 --trace | less
  ./run simulate-faults --planted
  ./run simulate-faults --seed 7 --plant MasterFirst --trace";

/// What is asked for.
#[derive(Debug)]
struct Request {
    seeds: u64,
    first: u64,
    seed: Option<u64>,
    threads: usize,
    trace: bool,
    plant: Option<Deviation>,
    planted: bool,
    most: u64,
    json: bool,
}

fn request() -> Result<Option<Request>, String> {
    let mut request = Request {
        seeds: 10_000,
        first: 1,
        seed: None,
        threads: 0,
        trace: false,
        plant: None,
        planted: false,
        most: 50_000,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--trace" => request.trace = true,
            "--planted" => request.planted = true,
            "--json" => request.json = true,
            _ => {
                let value = arguments.next().ok_or_else(|| format!("{argument}: a value is missing\n\n{HELP}"))?;
                let number = || u64::from_str(&value).map_err(|_| format!("{argument}: {value} is no number"));
                match argument.as_str() {
                    "--seeds" => request.seeds = number()?,
                    "--first" => request.first = number()?,
                    "--seed" => request.seed = Some(number()?),
                    "--threads" => request.threads = usize::try_from(number()?).unwrap_or(0),
                    "--most" => request.most = number()?,
                    "--plant" => request.plant = Some(value.parse()?),
                    _ => return Err(format!("unknown argument {argument}\n\n{HELP}")),
                }
            }
        }
    }
    Ok(Some(request))
}

fn main() -> ExitCode {
    let request = match request() {
        Ok(Some(request)) => request,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let is_well = match request.seed {
        Some(seed) => one(&request, seed),
        None if request.planted => planted(&request),
        None => many(&request),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn one(request: &Request, seed: u64) -> bool {
    let outcome = run(seed, request.plant, request.trace);
    for line in &outcome.trace {
        println!("{line}");
    }
    let struck: u32 = outcome.faults.values().sum();
    println!(
        "seed {seed}: {} steps, {:.1} s of virtual time, {struck} faults, jobs {:?}, digest {:016x}",
        outcome.steps,
        std::time::Duration::from_millis(outcome.virtual_ms.unsigned_abs()).as_secs_f64(),
        outcome.jobs,
        outcome.digest
    );
    println!("{}", outcome.violation.as_deref().unwrap_or("every promise is kept"));
    outcome.violation.is_none()
}

fn many(request: &Request) -> bool {
    let shown = AtomicU64::new(0);
    let tally = sweep(request.first, request.seeds, request.plant, (request.threads, 10), |done| {
        let percent = done * 100 / request.seeds.max(1);
        if std::io::stderr().is_terminal() && shown.fetch_max(percent, Relaxed) < percent {
            bar(percent, done, request.seeds);
        }
    });
    if shown.load(Relaxed) > 0 {
        eprintln!();
    }
    if request.json {
        println!("{}", tally_json(&tally))
    } else {
        print_tally(&tally)
    }
    tally.broken.is_empty()
}

fn bar(percent: u64, done: u64, of: u64) {
    let full = usize::try_from(percent / 4).unwrap_or(0);
    eprint!("\r[{}{}] {percent} % {done} of {of} seeds", "=".repeat(full), " ".repeat(25 - full.min(25)));
}

fn print_tally(tally: &Tally) {
    let seconds = tally.took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (rate, hours) = (tally.seeds as f64 / seconds.max(1e-9), tally.virtual_ms as f64 / 3.6e6);
    println!(
        "seeds {}, {seconds:.1} s, {rate:.0} seeds/s, {} steps, {hours:.0} h of virtual time",
        tally.seeds, tally.steps
    );
    println!("jobs {:?}", tally.jobs);
    println!("faults {}, {} at least in each seed:", tally.faults.values().sum::<u64>(), tally.fewest_faults);
    for (fault, n) in &tally.faults {
        println!("  {n:>9} {}", fault.text());
    }
    println!("chunks that seemed slow, split or taken back: {}", tally.relieved);
    println!("violations {}", tally.broken.len());
    for (seed, what) in &tally.broken {
        println!("  seed {seed}: {what}\n    again: ./run simulate-faults --seed {seed} --trace");
    }
}

fn tally_json(tally: &Tally) -> serde_json::Value {
    let faults: serde_json::Map<_, _> =
        tally.faults.iter().map(|(fault, n)| (fault.text().to_owned(), (*n).into())).collect();
    serde_json::json!({
        "seeds": tally.seeds, "took_s": tally.took.as_secs_f64(), "steps": tally.steps, "virtual_ms": tally.virtual_ms,
        "jobs": tally.jobs, "faults": faults, "fewest_faults": tally.fewest_faults, "relieved": tally.relieved,
        "violations": tally.broken,
    })
}

fn planted(request: &Request) -> bool {
    let found = plant_all(request.first, request.most, |found| {
        eprintln!(
            "{}: {}",
            found.planted,
            found.after.as_ref().map_or_else(|| "not found".to_owned(), |(n, _)| n.to_string())
        );
    });
    if request.json {
        let rows = found.iter().map(|f| {
            let (seeds, broken) = f.after.clone().unzip();
            serde_json::json!({ "planted": f.planted.to_string(), "seeds": seeds, "broken": broken })
        });
        println!("{}", serde_json::Value::Array(rows.collect()));
    } else {
        print_found(&found, request.most);
    }
    found.iter().all(|f| f.after.is_some())
}

fn print_found(found: &[Found], most: u64) {
    println!("| planted | found after seeds | what was broken |\n|---|---|---|");
    for one in found {
        let (seeds, what) = match &one.after {
            Some((seeds, what)) => (seeds.to_string(), what.as_str()),
            None => (format!("not in {most}"), ""),
        };
        println!("| {} | {seeds} | {what} |", one.planted.text());
    }
}
