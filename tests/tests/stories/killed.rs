//! A killed worker or engine costs at most the segments in flight; the result is that of an undisturbed run.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stories::{cheap_ladder, children, finished, made_clip, shape, transcode, worker};
use tempfile::tempdir;

const RENDITIONS: [&str; 3] = ["v180", "v90", "audio-und"];
const SLOTS: u64 = 2;

/// A small generator (xorshift64*), so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn start(clip: &Path, out: &Path, ladder: &Path) -> Child {
    Command::new(worker())
        .args(["transcode", "--json", "--slots", "2", "--chunk", "12", "--ladder"])
        .args([ladder, clip, out])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(pid: u32) {
    let status = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    if !status.success() {
        println!("process {pid} was gone already");
    }
}

/// Lines of the journal that commit a segment.
fn committed(out: &Path) -> HashMap<(String, u64), usize> {
    let text = fs::read_to_string(out.join(".touchline/journal.jsonl")).unwrap_or_default();
    let mut counts = HashMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        if line["kind"] == "segment" {
            let key = (line["rendition"].as_str().unwrap().to_owned(), line["index"].as_u64().unwrap());
            *counts.entry(key).or_insert(0) += 1;
        }
    }
    counts
}

#[test]
fn killed_at_random_instants_the_result_is_the_same_and_nothing_committed_is_made_again() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 120);
    let ladder = cheap_ladder(dir.path(), &[180, 90]);
    let whole = dir.path().join("whole");
    let undisturbed =
        transcode(&clip, &whole, &["--ladder", ladder.to_str().unwrap(), "--slots", "2", "--chunk", "12"]);
    assert_eq!(undisturbed.code, Some(0), "{undisturbed:?}");
    let span_ms = u64::try_from(undisturbed.took.as_millis()).unwrap().max(400);
    let expected = shape(&whole, &RENDITIONS);

    let (kills, seed) = (number("TOUCHLINE_KILLS", 8), number("TOUCHLINE_SEED", 20_261_121));
    println!("{kills} kills, seed {seed}");
    let mut random = Random(seed | 1);
    let mut done_kills = 0;
    while done_kills < kills {
        let out = dir.path().join("killed");
        let mut lost = 0usize;
        loop {
            let before = committed(&out);
            let child = start(&clip, &out, &ladder);
            std::thread::sleep(Duration::from_millis(50 + random.below(span_ms)));
            let engine = (random.below(3) == 0).then(|| children(child.id())).filter(|c| !c.is_empty());
            if done_kills < kills {
                match engine {
                    // One engine dies; the worker lives and finishes with a fresh one.
                    Some(engines) => kill(engines[usize::try_from(random.below(engines.len() as u64)).unwrap()]),
                    None => kill(child.id()),
                }
                done_kills += 1;
            }
            let started = std::time::Instant::now();
            let output = child.wait_with_output().unwrap();
            let run = finished(&output, started.elapsed());
            for (key, count) in committed(&out) {
                assert_eq!(count, 1, "seed {seed}: {key:?} was committed twice");
                assert!(before.get(&key).is_none_or(|b| *b == 1));
            }
            match run.code {
                Some(0) => break,
                // Killed: goes on with the same command.
                None => lost += 1,
                Some(code) => panic!("seed {seed}: exit {code}: {:?}", run.last()),
            }
        }
        assert_eq!(shape(&out, &RENDITIONS), expected, "seed {seed}");
        println!("survived {lost} kills of the worker with {SLOTS} slots");
        fs::remove_dir_all(&out).unwrap();
    }
}
