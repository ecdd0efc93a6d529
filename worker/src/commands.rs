//! What each verb does, and how it looks to a person or a script.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use comfy_table::{Table, presets};
use fleet::config::Config;
use fleet::conformance;
use fleet::failure::FailureCode;
use fleet::timeline::clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::cli::{RunArgs, TranscodeArgs, Verb};
use crate::facts::SourceFacts;
use crate::failure::JobError;
use crate::profiles;
use crate::service::{self, ServiceError, ServiceRequest};
use crate::source::SourceLocation;
use crate::transcode::{self, Request};
use crate::trial;
use crate::update::{Failed, Sink, Summary, Update};

/// Logs to standard error; `RUST_LOG` chooses what. An engine's lines have no time and colour: its parent adds them.
pub fn start_logging(verb: &Verb) {
    let is_engine = matches!(verb, Verb::Engine { .. });
    let usual = if is_engine || matches!(verb, Verb::Run(_)) { "info,sqlx=warn" } else { "warn,aws_config=error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if is_engine {
        subscriber.without_time().with_ansi(false).init();
    } else {
        subscriber.with_ansi(io::stderr().is_terminal()).init();
    }
}

/// Text on standard output; a closed pipe is not worth an error.
fn print(text: &str) {
    if let Err(error) = writeln!(io::stdout().lock(), "{text}") {
        tracing::debug!(%error, "standard output is closed");
    }
}

fn print_json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => print(&text),
        Err(error) => tracing::error!(%error, "printing JSON"),
    }
}

fn fail(error: &JobError, json: bool) -> ExitCode {
    if json {
        print_json(&Failed::from(error));
    } else {
        eprintln!("error [{}]: {error}", error.code);
        eprintln!("  for the coach: {}", error.code.for_coach());
        eprintln!("  for ops:       {}", error.code.for_ops());
    }
    ExitCode::from(error.code.exit_code())
}

fn runtime() -> Result<tokio::runtime::Runtime, JobError> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(JobError::internal)
}

/// `worker transcode`.
#[must_use]
pub fn transcode(args: TranscodeArgs) -> ExitCode {
    let json = args.json;
    match run_transcode(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, json),
    }
}

fn run_transcode(args: TranscodeArgs) -> Result<(), JobError> {
    let ladder = profiles::load(&args.ladder)?;
    let input = SourceLocation::from_os(&args.input)?;
    let (sender, updates) = mpsc::channel();
    let json = args.json;
    let name = input.file_name();
    let printer = std::thread::spawn(move || {
        if json {
            for update in updates {
                print_json(&update);
            }
        } else {
            show(&name, updates);
        }
    });
    let request = Request {
        input,
        out: args.out,
        ladder,
        encoder: args.encoder.into(),
        slots: args.slots,
        chunk_s: args.chunk,
        overwrite: args.overwrite,
        insecure_engine: args.insecure_engine,
    };
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let (cancel, cancelled) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            if wait_for_stop().await.is_ok() && cancel.send(true).is_err() {
                tracing::debug!("the job ended before it was stopped");
            }
        });
        transcode::transcode(request, Sink::new(sender), cancelled).await
    });
    // Kills engines that a stop left; they end with their sockets.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    if printer.join().is_err() {
        tracing::error!("the progress display failed");
    }
    let summary = outcome?;
    if json {
        #[derive(Serialize)]
        struct Done<'a> {
            event: &'static str,
            #[serde(flatten)]
            summary: &'a Summary,
        }
        print_json(&Done { event: "done", summary: &summary });
    } else {
        print_summary(&summary);
    }
    Ok(())
}

/// `worker run`.
#[must_use]
pub fn run(args: RunArgs) -> ExitCode {
    let seconds = std::time::Duration::from_secs_f64;
    let outcome = (|| -> Result<(), ServiceError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(JobError::internal)?;
        let request = ServiceRequest {
            config: runtime.block_on(Config::load(&args.config.to_string_lossy()))?,
            region: args.region,
            slots: args.slots,
            encoder: args.encoder.into(),
            pool: args.pool,
            instance: args.instance,
            idle_exit: args.idle_exit.map(seconds),
            with_parent: args.with_parent,
            listen: args.listen,
            spot: args.spot,
            drain: seconds(args.drain),
            insecure_engine: args.insecure_engine,
            pretend: args.pretend,
            pause: args.pause.map(std::time::Duration::from_secs_f64),
        };
        let outcome = runtime.block_on(async {
            let (stop, stopped) = tokio::sync::watch::channel(false);
            tokio::spawn(async move {
                if wait_for_stop().await.is_ok() {
                    stop.send_replace(true);
                }
                // Kept alive for those who look later.
                std::future::pending::<()>().await;
            });
            service::run(request, stopped).await
        });
        runtime.shutdown_timeout(seconds(2.0));
        outcome
    })();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                text = format!("{text}: {next}");
                cause = next.source();
            }
            eprintln!("error: {text}");
            ExitCode::from(match error {
                ServiceError::Config(_) | ServiceError::NoRegion { .. } | ServiceError::Listen { .. } => 2,
                ServiceError::Job(error) => error.code.exit_code(),
                ServiceError::Store(_) => 3,
            })
        }
    }
}

/// `worker sandbox`.
#[must_use]
pub fn sandbox(json: bool) -> ExitCode {
    let trials = match runtime().map(|runtime| runtime.block_on(trial::run())) {
        Ok(trials) => trials,
        Err(error) => return fail(&error, json),
    };
    if json {
        print_json(&trials);
    } else {
        print(&trials.to_string());
    }
    if trials.holds() { ExitCode::SUCCESS } else { ExitCode::from(FailureCode::SandboxUnavailable.exit_code()) }
}

/// Ctrl-C or SIGTERM.
async fn wait_for_stop() -> io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped,
        _ = terminate.recv() => Ok(()),
    }
}

/// The progress bar.
fn show(name: &str, updates: mpsc::Receiver<Update>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:32}] {percent:>3}% {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    for update in updates {
        match update {
            Update::Probed { facts } => bar.println(describe(&facts)),
            Update::Planned(plan) => {
                let sizes: Vec<String> = plan.renditions.iter().map(|r| format!("{}x{}", r.width, r.height)).collect();
                bar.println(format!(
                    "making {} at {} fps with {} on {} slot(s)",
                    sizes.join(", "),
                    plan.rate,
                    plan.encoder,
                    plan.slots
                ));
                for note in &plan.notes {
                    bar.println(format!("note: {note}"));
                }
                if plan.resumed {
                    bar.println("going on after the last committed segment");
                }
            }
            Update::Progress(p) => {
                if let Some(expected) = p.expected {
                    bar.set_length(expected.max(p.frames));
                }
                bar.set_position(p.frames);
                let eta = p.eta_s.map_or_else(|| "?".to_owned(), clock);
                bar.set_message(format!(
                    "{:.1}x real time, {eta} left, watchable to {}",
                    p.rate_x,
                    clock(p.watchable_s)
                ));
            }
            Update::Warning { text } => bar.println(format!("warning: {text}")),
            Update::Segment { .. } => {}
        }
    }
    bar.finish_and_clear();
}

fn describe(facts: &SourceFacts) -> String {
    let v = &facts.video;
    let (w, h) = v.display_size();
    let length = facts.duration_s.map_or_else(|| "unknown length".to_owned(), clock);
    let sound = match facts.audio.len() {
        0 => "no sound".to_owned(),
        1 => facts.audio[0].codec.clone(),
        n => format!("{n} sound tracks"),
    };
    format!(
        "source: {} {w}x{h} {} fps{}, {sound}, {length}",
        v.codec,
        v.rate,
        if v.interlaced { " interlaced" } else { "" }
    )
}

fn print_summary(summary: &Summary) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["rendition", "size", "average", "peak", "codec"]);
    for r in &summary.renditions {
        let size = r.width.zip(r.height).map_or_else(String::new, |(w, h)| format!("{w}x{h}"));
        let copied = if r.copied { " (copied)" } else { "" };
        table.add_row([
            r.name.clone(),
            size,
            format!("{} kbit/s", r.average_kbps),
            format!("{} kbit/s", r.peak_kbps),
            format!("{}{copied}", r.codecs),
        ]);
    }
    print(&table.to_string());
    print(&format!(
        "{} of video in {:.1} s: {:.1}x real time with {}",
        clock(summary.duration_s),
        summary.wall_s,
        summary.rate_x,
        summary.encoder
    ));
    print(&format!("HLS rules: {}", verdict(&summary.report)));
    print(&format!("playlist:  {}", summary.playlist.display()));
    print(&format!("play it:   ffplay \"{}\"", summary.playlist.display()));
}

/// The report in one line.
fn verdict(summary: &conformance::Summary) -> String {
    let should = match summary.should_warned {
        0 => String::new(),
        n => format!(", {n} recommendation(s) not followed"),
    };
    match summary.must_failed {
        0 => format!("all {} obligatory rules hold{should}", summary.must_passed),
        n => format!("{n} obligatory rule(s) broken{should}"),
    }
}

/// What is broken, then the counts; `--json` has every rule.
fn print_report(report: &conformance::Report) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["rule", "verdict", "what it asks", "measured"]);
    for rule in report.broken() {
        let verdict = if rule.verdict == conformance::Verdict::Fail { "FAIL" } else { "warn" };
        table.add_row([rule.id, verdict, rule.title, rule.measured.as_str()]);
    }
    if report.broken().next().is_some() {
        print(&table.to_string());
    }
    print(&format!("HLS rules: {}", verdict(&report.summary)));
}

/// `worker probe`.
#[must_use]
pub fn probe(input: &OsStr, insecure_engine: bool, json: bool) -> ExitCode {
    let outcome = (|| {
        let input = SourceLocation::from_os(input)?;
        runtime()?.block_on(transcode::probe(&input, insecure_engine))
    })();
    match outcome {
        Ok(facts) if json => {
            print_json(&facts);
            ExitCode::SUCCESS
        }
        Ok(facts) => {
            print(&describe(&facts));
            print_facts(&facts);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, json),
    }
}

fn print_facts(facts: &SourceFacts) {
    let v = &facts.video;
    print(&format!(
        "container: {}{}",
        facts.container,
        if facts.indexed { "" } else { " (no index: read from the start)" }
    ));
    print(&format!(
        "picture:   {}x{} {}, pixel aspect {}:{}, turn {:?}",
        v.width, v.height, v.pixel_format, v.pixel_aspect.0, v.pixel_aspect.1, v.turn
    ));
    print(&format!("rate:      {} fps, {}", v.rate, if v.constant_rate { "constant" } else { "variable" }));
    let copy =
        v.copyable.as_ref().map_or_else(|| "no".to_owned(), |c| format!("yes, {} key frames", c.key_frames.len()));
    print(&format!("copyable:  {copy}"));
    for a in &facts.audio {
        print(&format!(
            "sound:     {} {} Hz, {} channel(s), {}",
            a.codec,
            a.sample_rate,
            a.channels,
            a.language.as_deref().unwrap_or("no language")
        ));
    }
    for warning in &facts.warnings {
        print(&format!("warning:   {warning}"));
    }
}

/// `worker ladders`.
#[must_use]
pub fn ladders(json: bool) -> ExitCode {
    let ladders = profiles::all();
    if json {
        print_json(&ladders);
        return ExitCode::SUCCESS;
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["ladder", "renditions", "for"]);
    for ladder in ladders {
        let rungs: Vec<String> = ladder.renditions.iter().map(|r| format!("{}p {}k", r.height, r.max_kbps)).collect();
        table.add_row([ladder.name, rungs.join(", "), ladder.description]);
    }
    print(&table.to_string());
    ExitCode::SUCCESS
}

/// `worker check`.
#[must_use]
pub fn check(folder: &Path, json: bool) -> ExitCode {
    match conformance::load_folder(folder) {
        Ok(presentation) => {
            let report = conformance::evaluate(&presentation);
            if json {
                print_json(&report);
            } else {
                print_report(&report);
            }
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(FailureCode::ConformanceFailed.exit_code()) }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            let error = JobError::new(FailureCode::NotMedia, format!("{error}{cause}; give a folder with HLS"));
            if json {
                print_json(&Failed::from(&error));
            } else {
                // What is said of sources would lead astray: this is about what was made of one.
                eprintln!("error: {error}");
            }
            ExitCode::from(error.code.exit_code())
        }
    }
}
