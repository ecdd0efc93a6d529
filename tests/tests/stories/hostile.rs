//! Files made to reach other files, other hosts, or the end of the machine's memory.
//!
//! Two independent locks hold them: FFmpeg's options (allow lists, denied opens, limits), and the sandbox around the
//! process. Each is shown to hold alone, and a control without either shows that the attacks are real.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use stories::{Run, cheap_ladder, children, finished, peak_kib, program, shared_media, transcode, worker};
use tempfile::tempdir;

/// Longest that a hostile file may keep the worker.
const WITHIN: Duration = Duration::from_secs(10);
/// Most memory that worker and engine may have at their peak, together, in KiB.
const MEMORY_KIB: u64 = 512 << 10;

/// A file that must not be opened and a port that must not be called. Opening a FIFO to read lets through whoever waits to
/// write, so that an open cannot go unseen.
struct Canary {
    file: PathBuf,
    port: u16,
    calls: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    opener: JoinHandle<()>,
    listener: JoinHandle<()>,
}

impl Canary {
    fn new(dir: &Path, name: &str) -> Self {
        let file = dir.join(format!("{name}.mp4"));
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let fifo = file.clone();
        let opener = std::thread::spawn(move || drop(fs::OpenOptions::new().write(true).open(fifo).unwrap()));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (calls, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, told) = (calls.clone(), ended.clone());
        let listener = std::thread::spawn(move || {
            for caller in socket.incoming() {
                if told.load(SeqCst) {
                    return;
                }
                counted.fetch_add(1, SeqCst);
                caller.unwrap().write_all(b"HTTP/1.0 404 no\r\n\r\n").unwrap();
            }
        });
        Self { file, port, calls, ended, opener, listener }
    }

    /// Whether the file was opened, and how often the port was called.
    fn read(self) -> (bool, usize) {
        let opened = self.opener.is_finished();
        if !opened {
            drop(fs::File::open(&self.file).unwrap());
        }
        self.opener.join().unwrap();
        self.ended.store(true, SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)).unwrap());
        self.listener.join().unwrap();
        (opened, self.calls.load(SeqCst))
    }
}

/// Attacks on a canary, by name.
fn attacks(canary: &Canary) -> [(&'static str, String); 6] {
    let (port, file) = (canary.port, canary.file.display());
    let url = format!("http://127.0.0.1:{port}");
    let playlist = |lines: &str| format!("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n{lines}\n#EXT-X-ENDLIST\n");
    [
        ("HLS to a host", playlist(&format!("#EXTINF:10.0,\n{url}/latest/meta-data.ts"))),
        (
            "HLS key from a host",
            playlist(&format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{url}/key.m4s\"\n#EXTINF:10.0,\n{url}/admin.ts")),
        ),
        ("HLS to a file", playlist(&format!("#EXTINF:10.0,\nfile://{file}"))),
        (
            "DASH to a host",
            format!(
                "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" mediaPresentationDuration=\"PT10S\"><Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1000\" width=\"10\" height=\"10\" codecs=\"avc1.42c00d\"><BaseURL>{url}/dash.mp4</BaseURL><SegmentBase><Initialization range=\"0-100\"/></SegmentBase></Representation></AdaptationSet></Period></MPD>"
            ),
        ),
        ("concat to a file", format!("ffconcat version 1.0\nfile '{file}'\n")),
        ("HLS concat trick", playlist(&format!("#EXTINF:10.0,\nconcat:{url}/header.m3u8|file://{file}"))),
    ]
}

/// Gives each attack to `run` with a canary of its own; the attacks that hit, and how the runs ended.
fn attack_all(dir: &Path, run: impl Fn(&Path) -> Output) -> (Vec<&'static str>, Vec<Output>) {
    let (mut hits, mut ends) = (Vec::new(), Vec::new());
    for number in 0..6 {
        let canary = Canary::new(dir, &format!("canary{number}"));
        let (name, text) = attacks(&canary)[number].clone();
        // Coaches' files are not named after what they are.
        let upload = dir.join(format!("upload{number}.mp4"));
        fs::write(&upload, text).unwrap();
        ends.push(run(&upload));
        if canary.read() != (false, 0) {
            hits.push(name);
        }
    }
    (hits, ends)
}

fn careless(layers: &str, file: &Path) -> Output {
    Command::new("timeout").arg("20").arg(program("careless")).arg(layers).arg(file).output().unwrap()
}

#[test]
fn without_any_lock_the_attacks_are_real() {
    let dir = tempdir().unwrap();
    let (hits, _) = attack_all(dir.path(), |file| careless("none", file));
    for name in ["HLS to a host", "HLS to a file", "DASH to a host"] {
        assert!(hits.contains(&name), "{hits:?}");
    }
}

#[test]
fn the_sandbox_alone_and_each_of_its_layers_alone_keep_them_from_everything() {
    for layers in ["both", "landlock", "seccomp"] {
        let dir = tempdir().unwrap();
        let (hits, ends) = attack_all(dir.path(), |file| careless(layers, file));
        assert_eq!(hits, [""; 0], "{layers}");
        // A hang would be a hit that came to nothing.
        assert!(ends.iter().all(|e| e.status.code() != Some(124)), "{layers}: {ends:?}");
    }
}

#[test]
fn the_options_alone_and_both_locks_together_refuse_them_by_code() {
    for extra in [&["--insecure-engine"][..], &[]] {
        let dir = tempdir().unwrap();
        let out = dir.path().join("out");
        let (hits, ends) = attack_all(dir.path(), |file| {
            let mut command = Command::new(worker());
            command.args(["transcode", "--json"]).args(extra).args([file, &out]).stdin(Stdio::null());
            command.output().unwrap()
        });
        assert_eq!(hits, [""; 0], "{extra:?}");
        for end in ends {
            let run = finished(&end, Duration::ZERO);
            assert_eq!((run.code, run.last()["code"].as_str()), (Some(2), Some("not_media")), "{run:?}");
        }
    }
}

/// Runs the worker on a file; gives how it ended, and the peak memory of worker and largest engine.
fn watched(file: &Path, out: &Path, ladder: &Path) -> (Run, u64) {
    let started = Instant::now();
    let child = Command::new(worker())
        .args(["transcode", "--json", "--slots", "1", "--ladder"])
        .args([ladder, Path::new("--"), file, out])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    let watcher = std::thread::spawn(move || {
        let (mut parent, mut engine) = (0, 0);
        while !told.load(SeqCst) {
            engine = children(pid).into_iter().filter_map(peak_kib).fold(engine, u64::max);
            parent = peak_kib(pid).map_or(parent, |kib| kib.max(parent));
            std::thread::sleep(Duration::from_millis(20));
        }
        parent + engine
    });
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    ended.store(true, SeqCst);
    (finished(&output, took), watcher.join().unwrap())
}

#[test]
fn every_hostile_file_ends_in_its_stated_outcome_within_ten_seconds_and_512_megabytes() {
    let Some(media) = shared_media("hostile files") else { return };
    let manifest: Value = serde_json::from_slice(&fs::read(media.join("manifest.json")).unwrap()).unwrap();
    let dir = tempdir().unwrap();
    let ladder = cheap_ladder(dir.path(), &[180]);
    let mut failed = Vec::new();
    let (mut files, mut longest, mut largest) = (0, Duration::ZERO, 0);
    for file in manifest["files"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        if !name.starts_with("hostile/") {
            continue;
        }
        let out = dir.path().join("out");
        let (run, kib) = watched(&media.join(name), &out, &ladder);
        let outcome = file["expected"]["outcome"].as_str().unwrap();
        let as_stated = match run.code {
            Some(0) => outcome != "refuse" && out.join("master.m3u8").exists(),
            Some(2) => outcome != "transcode" && run.last()["code"].is_string() && !out.join("master.m3u8").exists(),
            _ => false,
        };
        if !as_stated || run.took > WITHIN || kib > MEMORY_KIB {
            failed.push(format!(
                "{name}: {outcome}, {:?}, {:?}, {} MiB, {}",
                run.code,
                run.took,
                kib >> 10,
                run.last()
            ));
        }
        (files, longest, largest) = (files + 1, longest.max(run.took), largest.max(kib));
        if out.exists() {
            fs::remove_dir_all(&out).unwrap();
        }
    }
    println!("{files} files, longest {longest:?}, most memory {} MiB", largest >> 10);
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(files >= 80, "{files}");
}

#[test]
fn a_hostile_file_is_as_harmless_when_it_is_named_otherwise() {
    let Some(media) = shared_media("renamed hostile files") else { return };
    let dir = tempdir().unwrap();
    for (original, name) in
        [("hls_file_etc_passwd.m3u8", "a.ts"), ("ffconcat_etc_passwd.mp4", "a.m3u8"), ("sdp_udp_listen.mp4", "a.sdp")]
    {
        let copy = dir.path().join(name);
        fs::copy(media.join("hostile").join(original), &copy).unwrap();
        let run = transcode(&copy, &dir.path().join("out"), &[]);
        assert_eq!((run.code, run.last()["code"].as_str()), (Some(2), Some("not_media")), "{original}: {run:?}");
    }
}
