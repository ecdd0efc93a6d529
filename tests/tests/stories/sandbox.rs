//! Engines are locked in, each layer holds alone, and without the lock nothing starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use stories::{cheap_ladder, finished, made_clip, program, shared_media, transcode, worker};
use tempfile::tempdir;

fn trials() -> Value {
    let output = Command::new(worker()).args(["sandbox", "--json"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn forbidden_things_are_refused_by_both_layers_and_by_each_alone() {
    let found = trials();
    let trials = found["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 3);
    for (trial, (layers, least)) in trials.iter().zip([("both", 55), ("landlock", 7), ("seccomp", 55)]) {
        assert_eq!(trial["layers"], layers);
        assert_eq!(trial["holds"], true, "{trial:#}");
        let attempts = trial["attempts"].as_array().unwrap();
        assert!(attempts.len() >= least, "{layers}: {}", attempts.len());
        assert!(attempts.iter().all(|a| a["outcome"] != "possible" && a["outcome"] != "unclear"), "{attempts:#?}");
        let killed = attempts.iter().filter(|a| a["outcome"] == "killed").count();
        assert_eq!(killed > 30, layers != "landlock", "{layers}: {killed}");
    }
}

#[test]
fn without_landlock_or_without_seccomp_nothing_starts_unless_told_to() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 1);
    let ladder = cheap_ladder(dir.path(), &[90]);
    for missing in ["landlock", "seccomp"] {
        let run = |extra: &[&str]| {
            let output = Command::new(program("without"))
                .arg(missing)
                .arg(worker())
                .args(["transcode", "--json", "--ladder", ladder.to_str().unwrap()])
                .args(extra)
                .args([&clip, &dir.path().join(missing)])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            finished(&output, std::time::Duration::ZERO)
        };
        let refused = run(&[]);
        assert_eq!(
            (refused.code, refused.last()["code"].as_str()),
            (Some(3), Some("sandbox_unavailable")),
            "{refused:?}"
        );
        let told = run(&["--insecure-engine"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.stderr.contains("INSECURE") || told.stderr.contains("insecure-engine"), "{}", told.stderr);
        let check = Command::new(program("without"))
            .arg(missing)
            .arg(worker())
            .arg("sandbox")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(3), "{check:?}");
    }
}

/// Everything that was published, but for what tells of the run.
fn published(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                if entry.file_name() != ".touchline" {
                    folders.push(path);
                }
            } else {
                files.insert(path.strip_prefix(out).unwrap().display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn what_a_locked_engine_makes_is_bit_for_bit_what_it_makes_without_the_lock() {
    let Some(media) = shared_media("bit-identical output") else { return };
    let manifest: Value = serde_json::from_slice(&fs::read(media.join("manifest.json")).unwrap()).unwrap();
    let mut files: Vec<(u64, String)> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["expected"]["outcome"] == "transcode" && f["expected"]["duration_s"].as_f64() < Some(11.0))
        .map(|f| (f["facts"]["size"].as_u64().unwrap_or(u64::MAX), f["file"].as_str().unwrap().to_owned()))
        .collect();
    files.sort();
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[180]);
    let options = ["--slots", "1", "--encoder", "x264", "--ladder", ladder.to_str().unwrap()];
    let mut compared = 0;
    for (_, name) in files.iter().take(20) {
        let [locked, open] = ["locked", "open"].map(|n| dir.path().join(n));
        let insecure: Vec<&str> = options.into_iter().chain(["--insecure-engine"]).collect();
        let (a, b) = (transcode(&media.join(name), &locked, &options), transcode(&media.join(name), &open, &insecure));
        assert_eq!((a.code, b.code), (Some(0), Some(0)), "{name}: {} {}", a.last(), b.last());
        let (a, b) = (published(&locked), published(&open));
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{name}");
        let differs: Vec<_> = a.iter().filter(|(file, bytes)| b[*file] != **bytes).map(|(file, _)| file).collect();
        assert!(differs.is_empty(), "{name}: {differs:?}");
        fs::remove_dir_all(&locked).unwrap();
        fs::remove_dir_all(&open).unwrap();
        compared += 1;
    }
    assert_eq!(compared, 20, "the media set has too few short films");
}
