//! `dispatcher local`: a whole fleet with nothing to configure, from zero to zero, whatever is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use stories::local_fleet::{Local, log_of, run};
use stories::services::signal;
use stories::{complaints, made_clip, program};
use tempfile::tempdir;

/// Processes of this machine whose command line names `text`.
fn processes(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

fn job(dir: &Path, id: &str) -> Value {
    let (ok, text) = run(dir, &["show", id, "--json"]);
    if ok { serde_json::from_str::<Value>(&text).unwrap()["job"].clone() } else { Value::Null }
}

fn wait_for(dir: &Path, what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(Instant::now() < until, "{what}:\n{}", log_of(dir));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn from_zero_to_zero_with_nothing_to_configure() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 30);
    let mut local = Local::start(dir.path(), &["--idle", "1", "--exit-after", "4"]);
    let fleet = dir.path().join("fleet");
    let config = fleet.join("worker.toml").display().to_string();
    assert!(processes(&config).is_empty(), "no worker runs while there is nothing to do");

    let output = Command::new(program("dispatcher"))
        .args(["submit", "--follow", "--json", "--ladder", "quick", "--dir"])
        .arg(&fleet)
        .arg(&clip)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let events: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(output.status.success(), "{events:#?}\n{}", log_of(dir.path()));
    let ended = &events.last().unwrap()["job"];
    assert_eq!(ended["state"], "succeeded");
    let watchable: Vec<f64> = events.iter().filter_map(|e| e["watchable_s"].as_f64()).collect();
    assert!(watchable.windows(2).all(|w| w[0] <= w[1]) && watchable.len() > 2, "it grew: {watchable:?}");

    // Played over HTTP, as a browser would.
    let playlist = ended["summary"]["playlist"].as_str().unwrap();
    let (ok, url) = run(dir.path(), &["play", ended["id"].as_str().unwrap()]);
    assert!(ok && url.starts_with(&format!("http://127.0.0.1:{}/media/", local.port)), "{url}");
    assert_eq!(complaints(Path::new(url.trim())), "");
    let master = fleet.join("media").join(playlist);
    let checked = stories::tool(
        &program("worker").display().to_string(),
        &["check", &master.parent().unwrap().display().to_string()],
    );
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    // What it cost: nothing, and how long this machine worked for it.
    let (ok, receipt) = run(dir.path(), &["receipt", ended["id"].as_str().unwrap(), "--json"]);
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert!(ok && receipt["lines"][0]["work_s"].as_f64().unwrap() > 0.0, "{receipt}");
    assert_eq!(
        (&receipt["total_micros"], &receipt["lines"][0]["pool"]),
        (&0.into(), &"local/process/on_demand".into())
    );
    assert!(receipt["notes"].to_string().contains("no price"), "{receipt}");
    let (ok, quote) = run(dir.path(), &["quote", "--minutes", "90", "--json"]);
    let quote: Value = serde_json::from_str(&quote).unwrap();
    assert!(ok && quote["price"]["high_micros"] == 0 && quote["done"]["late_s"].as_f64().unwrap() > 0.0, "{quote}");

    wait_for(dir.path(), "workers end when idle", || processes(&config).is_empty());
    wait_for(dir.path(), "the fleet ends when idle", || local.child.try_wait().unwrap().is_some());
    assert_eq!(local.child.wait().unwrap().code(), Some(0));
    wait_for(dir.path(), "nothing is left running", || processes(&fleet.display().to_string()).is_empty());
    assert!(!run(dir.path(), &["jobs"]).0, "commands say that nothing runs");
}

#[test]
fn whatever_is_killed_it_goes_on_where_it_was() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 480);
    let fleet = dir.path().join("fleet");
    let mut local = Local::start(dir.path(), &["--slots", "2"]);
    let (ok, id) = run(dir.path(), &["submit", "--ladder", "quick", &clip.display().to_string()]);
    assert!(ok);
    let id = id.trim().to_owned();
    let watchable = |dir: &Path| job(dir, &id)["watchable_ms"].as_i64().unwrap_or(0);
    wait_for(dir.path(), "something to watch", || watchable(dir.path()) > 0);

    // A worker.
    let workers = processes(&fleet.join("worker.toml").display().to_string());
    signal(workers[0], "KILL");
    let before = watchable(dir.path());
    wait_for(dir.path(), "a new worker goes on", || watchable(dir.path()) > before + 20_000);

    // The dispatcher: everything ends with it, and the next one goes on.
    signal(local.child.id(), "KILL");
    local.child.wait().unwrap();
    wait_for(dir.path(), "everything ends with the dispatcher", || processes(&fleet.display().to_string()).is_empty());
    local = Local::start(dir.path(), &["--slots", "2"]);
    let before = watchable(dir.path());
    assert!(before > 0, "what was there is there");
    wait_for(dir.path(), "the second run goes on", || watchable(dir.path()) > before);

    // The database: it is started again, and everything goes on.
    let postgres = processes(&fleet.join("postgres/data").display().to_string());
    signal(postgres[0], "KILL");
    let before = watchable(dir.path());
    wait_for(dir.path(), "success", || job(dir.path(), &id)["state"] == "succeeded");
    assert!(watchable(dir.path()) >= before);
    assert!(local.child.try_wait().unwrap().is_none(), "the dispatcher lives on");
    let playlist = job(dir.path(), &id)["summary"]["playlist"].as_str().unwrap().to_owned();
    assert_eq!(complaints(&fleet.join("media").join(playlist)), "");
}

#[test]
fn two_dispatchers_in_one_folder_are_one_too_many() {
    let dir = tempdir().unwrap();
    let _first = Local::start(dir.path(), &[]);
    let second = Command::new(program("dispatcher"))
        .args(["local", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dir.path().join("fleet"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("running here already"));
}
