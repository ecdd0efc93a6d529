//! Follows a job until it ends: a bar for people, lines of JSON for scripts.

use std::time::Duration;

use fleet::state::JobState;
use fleet::store::Store;
use fleet::store::jobs::JobRow;
use fleet::timeline::clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use uuid::Uuid;

use super::{CommandError, print, print_json};

/// Between two looks at the job.
const EVERY: Duration = Duration::from_millis(250);
/// Looks that may fail in a row, while the database restarts.
const PATIENCE: u32 = 240;

pub(super) async fn follow(
    store: &Store,
    id: Uuid,
    json: bool,
    stop: &watch::Receiver<bool>,
) -> Result<(), CommandError> {
    let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
    if json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:32}] {percent:>3}% {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    let mut stop = stop.clone();
    let mut last: Option<JobRow> = None;
    let mut failures = 0;
    let job = loop {
        match store.job(id).await {
            Ok(job) => {
                failures = 0;
                let done = seconds_done(store, &job).await.unwrap_or(0.0);
                tell(&bar, last.as_ref(), &job, done, json);
                if job.job_state().is_final() {
                    break job;
                }
                last = Some(job);
            }
            Err(error) if error.is_transient() && failures < PATIENCE => failures += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stopped| *stopped) => {
                bar.finish_and_clear();
                return Err(CommandError::Stopped);
            }
        }
    };
    bar.finish_and_clear();
    finish(&job, json)
}

/// Media seconds that are encoded, by what chunks tell.
async fn seconds_done(store: &Store, job: &JobRow) -> Result<f64, CommandError> {
    if job.job_state() != JobState::Running {
        return Ok(0.0);
    }
    let chunks = store.chunks(job.id).await?;
    Ok(chunks.iter().filter(|c| c.kind == "video" && c.state == "done").map(|c| c.seconds).sum())
}

fn seconds(ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "media times")]
    let seconds = ms as f64 / 1000.0;
    seconds
}

fn tell(bar: &ProgressBar, last: Option<&JobRow>, job: &JobRow, done_s: f64, json: bool) {
    let is_news = last.is_none_or(|l| l.state != job.state || l.watchable_ms != job.watchable_ms);
    if json {
        if is_news {
            print_json(&serde_json::json!({
                "event": "progress", "job": job.id, "state": job.state, "watchable_s": seconds(job.watchable_ms),
                "duration_s": job.duration_ms.map(seconds), "encoded_s": done_s,
            }));
        }
        return;
    }
    bar.set_prefix(job.title.clone());
    let total = job.duration_ms.unwrap_or(0).max(1);
    bar.set_length(u64::try_from(total).unwrap_or(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "media times")]
    let position = (done_s * 1000.0) as u64;
    let watchable = u64::try_from(job.watchable_ms).unwrap_or(0);
    bar.set_position(position.max(watchable).min(u64::try_from(total).unwrap_or(1)));
    bar.set_message(format!("{}, watchable to {}", job.state, clock(seconds(job.watchable_ms))));
    if last.is_some_and(|l| l.first_playable_at.is_none())
        && let Some(at) = job.first_playable_at
    {
        let after = (at - job.created_at).as_seconds_f64();
        bar.println(format!("can be watched since {after:.1} s after it was handed in, and grows"));
    }
}

fn finish(job: &JobRow, json: bool) -> Result<(), CommandError> {
    if json {
        print_json(&serde_json::json!({ "event": "ended", "job": job }));
    }
    match job.job_state() {
        JobState::Succeeded if json => Ok(()),
        JobState::Succeeded => {
            print(&summary(job));
            Ok(())
        }
        JobState::Cancelled => {
            Err(CommandError::JobFailed { code: "cancelled".to_owned(), message: "somebody cancelled it".to_owned() })
        }
        _ => Err(CommandError::JobFailed {
            code: job.failure_code.clone().unwrap_or_default(),
            message: job.failure_message.clone().unwrap_or_default(),
        }),
    }
}

fn summary(job: &JobRow) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header([
        "rendition",
        "size",
        "average",
        "peak",
        "codec",
    ]);
    let summary = job.summary.clone().unwrap_or_default();
    for r in summary["renditions"].as_array().into_iter().flatten() {
        let text = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| r[key].as_u64();
        let size = number("width").zip(number("height")).map_or_else(String::new, |(w, h)| format!("{w}x{h}"));
        let copied = if r["copied"] == true { " (copied)" } else { "" };
        table.add_row([
            text("name"),
            size,
            format!("{} kbit/s", number("average_kbps").unwrap_or(0)),
            format!("{} kbit/s", number("peak_kbps").unwrap_or(0)),
            format!("{}{copied}", text("codecs")),
        ]);
    }
    let took = job.finished_at.map_or(0.0, |at| (at - job.created_at).as_seconds_f64());
    let length = seconds(job.duration_ms.unwrap_or(0));
    let soon = job.first_playable_at.map_or(0.0, |at| (at - job.created_at).as_seconds_f64());
    let mut text = table.to_string();
    text.push_str(&format!(
        "\n{} of video in {took:.1} s: {:.1}x real time with {}; could be watched after {soon:.1} s\n",
        clock(length),
        length / took.max(1e-3),
        summary["encoder"].as_str().unwrap_or("?"),
    ));
    for warning in job.warnings.as_array().into_iter().flatten().filter_map(|w| w.as_str()) {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&format!("playlist: {}", summary["playlist"].as_str().unwrap_or_default()));
    text
}
