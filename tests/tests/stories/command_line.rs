//! What the command lines say when they are used wrongly, or when what they need is not there: one sentence that says what
//! to do, and an exit code that scripts can act on.

use std::path::Path;
use std::process::{Command, Stdio};

use fleet::store::{Store, StoreOptions};
use stories::services::{Postgres, free_port};
use stories::{made_clip, program};

const FLEET: &str = "output = 'published'\n[[regions]]\nname = 'here'\nqueue = 'postgres'\n";

/// Runs a program in `dir`, and expects it to end with this code after a sentence that holds these words.
fn refused(dir: &Path, database: Option<&str>, line: &[&str], code: i32, words: &str) {
    let mut command = Command::new(program(line[0]));
    command.args(&line[1..]).current_dir(dir).stdin(Stdio::null()).env("HOME", dir).env("XDG_DATA_HOME", dir);
    for name in
        ["TOUCHLINE_DIR", "TOUCHLINE_CONFIG", "TOUCHLINE_REGION", "TOUCHLINE_SERVER", "TOUCHLINE_KEY", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    match database {
        Some(url) => command.env("TOUCHLINE_DATABASE_URL", url),
        None => command.env_remove("TOUCHLINE_DATABASE_URL"),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line:?}: {text}");
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("error")).collect();
    assert!(told.len() == 1 && told[0].contains(words), "{line:?} was to say {words:?}: {text}");
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{line:?}: {text}");
}

/// A folder with files that are none of what they are called.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder.mp4")).unwrap();
    std::fs::write(dir.path().join("empty.mp4"), "").unwrap();
    std::fs::write(dir.path().join("text.mp4"), "no film\n".repeat(100)).unwrap();
    std::fs::write(dir.path().join("fleet.toml"), FLEET).unwrap();
    std::fs::write(dir.path().join("typo.toml"), format!("{FLEET}coulour = 'red'\n")).unwrap();
    dir
}

#[test]
fn a_worker_that_is_used_wrongly_says_what_to_do() {
    let dir = folder();
    let clip = made_clip(dir.path(), 1).display().to_string();
    for (line, code, words) in [
        (&["transcode", "none.mp4", "out"][..], 2, "none.mp4: not found"),
        (&["transcode", "folder.mp4", "out"], 2, "folder.mp4: is a directory"),
        (&["transcode", "empty.mp4", "out"], 2, "the source has no bytes"),
        (&["transcode", "text.mp4", "out"], 2, "[not_media]"),
        (&["transcode", "ftp://example.org/a.mp4", "out"], 2, "use a path, s3://, http:// or https://"),
        (&["transcode", &clip, "empty.mp4"], 3, "empty.mp4 is not a folder; give one for the result"),
        (&["transcode", &clip, "out", "--ladder", "none"], 2, "give one of sports"),
        (&["transcode", &clip, "out", "--chunk", "nan"], 2, "give a number of seconds"),
        (&["probe", "folder.mp4"], 2, "folder.mp4: is a directory"),
        (&["check", "none"], 2, "give a folder with HLS"),
        (&["check", "folder.mp4"], 2, "give a folder with HLS"),
        (&["run", "--config", "none.toml", "--region", "here"], 2, "none.toml: No such file"),
        (&["run", "--config", "typo.toml", "--region", "here"], 2, "typo.toml: line 5: unknown field"),
        (&["run", "--config", "fleet.toml", "--region", "there"], 2, "region there is not in the configuration"),
        (&["run", "--config", "fleet.toml", "--region", "here"], 2, "set TOUCHLINE_DATABASE_URL"),
    ] {
        refused(dir.path(), None, &[&["worker"], line].concat(), code, words);
    }
    let line = ["worker", "run", "--config", "fleet.toml", "--region", "here"];
    refused(dir.path(), Some("127.0.0.1"), &line, 2, "give postgres://user:password@host:port/database");
}

#[test]
fn a_name_may_hold_what_a_file_system_allows() {
    let dir = tempfile::tempdir().unwrap();
    let clip = made_clip(dir.path(), 1);
    let (film, out) = (dir.path().join("-Spieltag 'ä' \"₂\" ⚽.mp4"), dir.path().join("out ✓ 'of' it"));
    std::fs::rename(clip, &film).unwrap();
    let run = stories::transcode(&film, &out, &["--ladder", "quick", "--encoder", "x264"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(stories::complaints(&out.join("master.m3u8")), "");
}

#[test]
fn a_dispatcher_that_is_used_wrongly_says_what_to_do() {
    let dir = folder();
    for (line, code, words) in [
        (&["jobs"][..], 2, "start one with `dispatcher local`, or give --config"),
        (&["local", "--dir", "empty.mp4"], 2, "empty.mp4 is not a folder; give one with --dir"),
        (&["local", "--idle=-1"], 2, "give a number from 0 to"),
        (&["local", "--listen", "here"], 2, "--listen"),
        (&["serve"], 2, "give --config FILE"),
        (&["serve", "--config", "typo.toml"], 2, "typo.toml: line 5: unknown field"),
        (&["jobs", "--config", "fleet.toml"], 2, "set TOUCHLINE_DATABASE_URL"),
        (&["simulate"], 2, "name the fleet with --fleet FILE"),
        (&["pools", "--fleet", "none.toml"], 2, "none.toml: No such file"),
        (&["upload", "text.mp4"], 2, "give --server, or start a fleet here"),
        (&["upload", "empty.mp4", "--server", "http://127.0.0.1:1", "--key", "k"], 2, "empty.mp4: is empty"),
        (&["quote"], 2, "required arguments were not provided"),
        (&["sweep", "--days", "nan"], 2, "give a number from 0 to"),
    ] {
        refused(dir.path(), None, &[&["dispatcher"], line].concat(), code, words);
    }
}

#[test]
fn a_database_that_is_away_shut_or_empty_is_told_from_the_others() {
    let dir = folder();
    let away = format!("postgres://user:password@127.0.0.1:{}/touchline", free_port());
    for verb in ["jobs", "migrate", "serve"] {
        let line = ["dispatcher", verb, "--config", "fleet.toml"];
        refused(dir.path(), Some(&away), &line, 3, "check that Postgres runs, and its address");
    }
    let empty = Postgres::shared().create_database();
    let jobs = ["dispatcher", "jobs", "--config", "fleet.toml"];
    refused(dir.path(), Some(&empty), &jobs, 4, "with `dispatcher migrate`");
    let (server, _) = empty.rsplit_once('/').unwrap();
    refused(dir.path(), Some(&format!("{server}/no_such_database")), &jobs, 2, "check user, password and database");
}

#[tokio::test]
async fn a_fleet_that_is_asked_wrongly_says_what_to_do() {
    let dir = folder();
    let database = Postgres::shared().create_database();
    Store::open(&StoreOptions::new(database.clone(), "story")).unwrap().migrate().await.unwrap();
    let nobody = "0192f0c1-1111-7000-8000-000000000000";
    for (line, code, words) in [
        (&["jobs", "--state", "odd"][..], 2, "there are queued, planning"),
        (&["show", "zz"], 2, "give at least its first four letters"),
        (&["show", "0192"], 2, "no job begins with 0192; see `dispatcher jobs`"),
        (&["why", nobody], 2, "no job 0192f0c1"),
        (&["submit", "none.mp4"], 2, "none.mp4 cannot be read"),
        (&["submit", "folder.mp4"], 2, "folder.mp4 is not a file; give the video itself"),
        (&["submit", "empty.mp4"], 2, "empty.mp4 is empty"),
        (&["submit", "text.mp4", "--ready-in", "inf"], 2, "give a number from 0 to"),
        (&["submit", "text.mp4", "--region", "mars"], 2, "no region mars; there are here"),
        (&["quote", "folder.mp4"], 2, "folder.mp4 is not a file"),
        (&["organisation", "set", "default"], 2, "--tier, --weight or --monthly-cap"),
        (&["key", "create", "--organisation", "nobody"], 2, "see `dispatcher organisation list`"),
        (&["drain", nobody], 2, "see `dispatcher workers`"),
        (&["redrive", "--code", "odd"], 2, "no failure code odd"),
    ] {
        let line = [&["dispatcher"], line, &["--config", "fleet.toml"]].concat();
        refused(dir.path(), Some(&database), &line, code, words);
    }
}
