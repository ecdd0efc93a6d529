//! `dispatcher upload` to a fleet on one machine.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use serde_json::{Value, json};
use stories::local_fleet::{Local, log_of, run};
use stories::receiver::Receiver;
use stories::services::{signal, tied};
use stories::{made_clip, program};
use tempfile::tempdir;

use super::PART;
use super::sender::{Sender, id, pattern};

/// `dispatcher upload --json` of a file, one part after the other.
fn upload(dir: &Path, file: &Path, more: &[&str]) -> Child {
    tied(program("dispatcher"))
        .args(["upload", "--json", "--parallel", "1", "--dir"])
        .arg(dir.join("fleet"))
        .args(more)
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The file of an upload below the fleet's folder.
fn stored(dir: &Path, upload: &str) -> Vec<u8> {
    let output = Command::new("find")
        .arg(dir.join("fleet/uploads"))
        .args(["-path", &format!("*/{upload}/*"), "-type", "f"])
        .output()
        .unwrap();
    let files: Vec<&str> =
        std::str::from_utf8(&output.stdout).unwrap().lines().filter(|l| !l.contains("/.touchline/")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(files[0]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_wherever_it_was_killed() {
    const PARTS: u64 = 16;
    let dir = tempdir().unwrap();
    let mut local = Local::start(dir.path(), &[]);
    let file = dir.path().join("Cup final.mp4");
    let bytes = pattern(PARTS * PART - 1000);
    std::fs::write(&file, &bytes).unwrap();

    // Killed and stopped in the middle; the fleet killed, too.
    let mut sent = 0;
    for (how, code) in [("KILL", None), ("INT", Some(130))] {
        let mut child = upload(dir.path(), &file, &["--no-job"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line["event"], "part", "{line}");
        signal(child.id(), how);
        sent += 1 + lines.map_while(Result::ok).filter(|line| line.contains("\"part\"")).count();
        assert_eq!(child.wait().unwrap().code(), code, "{how}");
    }
    assert!((sent as u64) < PARTS, "{sent} parts went out before it was stopped");
    signal(local.child.id(), "KILL");
    local.child.wait().unwrap();
    drop(local);
    let local = Local::start(dir.path(), &[]);

    let output = upload(dir.path(), &file, &["--no-job"]).wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}\n{}", log_of(dir.path()));
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = lines.last().unwrap();
    assert_eq!((&done["event"], &done["upload"]["state"]), (&json!("completed"), &json!("completed")));
    let now = lines.len() - 1;
    assert!(now as u64 + sent as u64 >= PARTS && (now as u64) < PARTS, "{sent} parts before, {now} now");
    assert_eq!(stored(dir.path(), id(&done["upload"])), bytes);

    let client = local.owner(dir.path());
    let (_, page) = client.get("/uploads").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "one upload all along: {page}");
    assert_eq!(client.get("/jobs").await.1["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_match_becomes_watchable() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 6);
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let receiver = Receiver::start().await;
    let hook = json!({ "url": receiver.url(), "events": ["upload.completed"] });
    let (status, hook) = local.owner(dir.path()).post("/webhooks", hook).await;
    assert_eq!(status, StatusCode::CREATED, "{hook}");
    let (ok, job) = run(dir.path(), &["upload", "--ladder", "quick", "--title", "Final", clip.to_str().unwrap()]);
    assert!(ok, "{}", log_of(dir.path()));
    let (ok, _) = run(dir.path(), &["follow", job.trim(), "--json"]);
    assert!(ok, "{}", log_of(dir.path()));
    let client = local.owner(dir.path());
    let (_, job) = client.get(&format!("/jobs/{}", job.trim())).await;
    assert_eq!((&job["state"], &job["title"]), (&json!("succeeded"), &json!("Final")));
    let (_, upload) = client.get(&format!("/uploads/{}", job["upload_id"].as_str().unwrap())).await;
    assert_eq!((&upload["state"], &upload["job_id"]), (&json!("completed"), &job["id"]));

    // Whoever asked to be told of uploads was told of this one.
    let message = receiver.wait_for(1).await[0].message();
    let (told, kind) = (&message["data"]["upload"], &message["type"]);
    assert_eq!((kind, &told["id"], &told["job_id"]), (&json!("upload.completed"), &upload["id"], &job["id"]));

    // The same file again is another upload; a file that is none is told at once.
    let (ok, second) = run(dir.path(), &["upload", "--no-job", clip.to_str().unwrap()]);
    assert!(ok && second.trim() != upload["id"]);
    assert!(!run(dir.path(), &["upload", dir.path().to_str().unwrap()]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dispatcher_takes_exactly_the_part_that_was_announced() {
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &[]);
    let client = local.owner(dir.path());
    let sender = Sender::new(&client, PART + 10);
    let (status, upload) = sender.begin(json!({})).await;
    assert_eq!((status, &upload["parts_total"]), (StatusCode::CREATED, &json!(2)), "{upload}");

    let (_, address) = sender.address(&upload, 2, None).await;
    let url = address["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("/uploads/"), "{url}");
    for wrong in [9, 11, 0] {
        assert_eq!(sender.put(&address, vec![1; wrong]).await, StatusCode::BAD_REQUEST, "{wrong} bytes");
    }
    // The address of another part, and one that was tampered with.
    let (_, first) = sender.address(&upload, 1, None).await;
    assert_eq!(sender.put(&first, sender.part(&upload, 2)).await, StatusCode::BAD_REQUEST);
    for forged in [url.replace("/uploads/", "/uploads/x"), url[..url.len() - 4].to_owned(), "/uploads/a.b".to_owned()] {
        let address = json!({ "url": forged, "headers": {} });
        assert_eq!(sender.put(&address, sender.part(&upload, 2)).await, StatusCode::FORBIDDEN, "{forged}");
    }
    assert!(sender.received(&upload).await.is_empty());
    assert_eq!(sender.put(&address, sender.part(&upload, 2)).await, StatusCode::OK);
    assert_eq!(sender.received(&upload).await, [2]);

    // Aborted: the address is worth nothing any more, and nothing is left on the disk.
    assert_eq!(sender.abort(&upload).await, StatusCode::NO_CONTENT);
    assert_eq!(sender.abort(&upload).await, StatusCode::NO_CONTENT);
    assert_eq!(sender.put(&address, sender.part(&upload, 2)).await, StatusCode::CONFLICT);
    let left = std::fs::read_dir(dir.path().join("fleet/uploads/.touchline/uploads")).unwrap().count();
    assert_eq!(left, 0, "{}", log_of(dir.path()));
    let (status, problem) = sender.complete(&upload).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("upload_aborted")));
}
