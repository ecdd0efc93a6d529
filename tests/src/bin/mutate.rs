//! Changed bytes, at random, for everything that reads bytes from outside.
//!
//! `mutate parsers`: this project's own readers, in this process; a panic is a finding. `mutate media`: films through
//! FFmpeg in locked processes (`careless both guarded many`); every way to end is counted, and a film that ends the process
//! is kept.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use media::io::ReadAt;
use stories::{cheap_ladder, made_clip, program, shared_media, transcode};

const HELP: &str = "mutate parsers [--seconds S] [--seed N]     each reader for S seconds (10)
mutate seeds DIR                               writes what both begin with (`./run fuzz` begins with it, too)
mutate media [--count N] [--seed N] [--keep DIR]   N changed films (1000)";
/// Films that a locked process looks at before another takes its place: it loads FFmpeg once for all of them.
const BATCH: usize = 50;
/// How a film ends that the lock has nothing to do with.
const OPENED: &str = "opened and decoded";
const REFUSED: &str = "refused";
/// Seconds in which a process must be done with its films.
const PATIENCE_S: &str = "60";
/// Largest film that is changed, in bytes.
const LARGEST: u64 = 400_000;
/// Numbers that readers of lengths and counts trip over.
const AWKWARD: [u32; 8] = [0, 1, 7, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fff8, 0x0001_0000];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    if what == "seeds" {
        return write_seeds(&arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from));
    }
    let (mut seconds, mut count, mut seed, mut keep) = (10, 1000, 20_261_121, None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--seconds" => seconds = value.parse().unwrap_or(seconds),
            "--count" => count = value.parse().unwrap_or(count),
            "--seed" => seed = value.parse().unwrap_or(seed),
            "--keep" => keep = Some(PathBuf::from(value)),
            _ => return usage(),
        }
    }
    let mut random = Rng::with_seed(seed);
    let findings = match what.as_str() {
        "parsers" => parsers(Duration::from_secs(seconds), &mut random),
        "media" => films(count, &mut random, keep.as_deref()),
        _ => return usage(),
    };
    ExitCode::from(u8::from(findings > 0))
}

fn usage() -> ExitCode {
    println!("{HELP}");
    ExitCode::from(2)
}

/// Changes a few places: bits, bytes, numbers, cuts, repeats, and pieces of `other`.
fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    for _ in 0..random.usize(1..8) {
        if bytes.is_empty() {
            bytes.push(random.u8(..));
        }
        let at = random.usize(..bytes.len());
        let end = (at + random.usize(1..64)).min(bytes.len());
        match random.u8(..7) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => {
                let number = AWKWARD[random.usize(..AWKWARD.len())];
                let number = if random.bool() { number.to_be_bytes() } else { number.to_le_bytes() };
                bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            3 => bytes.truncate(at.max(1)),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ if !other.is_empty() => {
                let from = random.usize(..other.len());
                let piece = other[from..(from + 32).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            _ => {}
        }
    }
}

struct Memory<'a>(&'a [u8]);

impl ReadAt for Memory<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or(&[]);
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

type Reader = fn(&[u8]);

/// Readers of bytes from outside. What they make of the bytes does not matter here.
const READERS: [(&str, Reader); 8] = [
    ("boxes of a source", |b| drop(worker::precheck::check(&mut Memory(b)))),
    ("init segment", |b| drop(fleet::cmaf::parse_init(b))),
    ("media segment", |b| {
        if let Some((init, segment)) = b.split_at_checked(b.len().min(900))
            && let Ok(init) = fleet::cmaf::parse_init(init)
        {
            drop((fleet::cmaf::parse_segment(segment, &init), fleet::cmaf::foreign_box(segment)));
        }
    }),
    ("engine's event", |b| {
        let mut wire = b;
        drop(worker::protocol::read::<worker::protocol::Event>(&mut wire));
        drop(serde_json::from_slice::<worker::protocol::Event>(b));
    }),
    ("playlist", |b| drop(fleet::hls::parse(&String::from_utf8_lossy(b)))),
    ("queue message", |b| drop(serde_json::from_slice::<fleet::queue::Message>(b))),
    ("configuration", |b| drop(fleet::config::Config::parse("mutate", &String::from_utf8_lossy(b)))),
    ("ladder", |b| drop(fleet::ladder::Ladder::from_yaml("mutate", &String::from_utf8_lossy(b)))),
];

/// Whole inputs to begin with: everything for everyone, since a playlist is also a fine thing to give to a box reader.
fn seeds(dir: &Path) -> Vec<Vec<u8>> {
    let ladder = cheap_ladder(dir, &[90]);
    let clip = made_clip(dir, 2);
    let out = dir.join("out");
    let run = transcode(&clip, &out, &["--ladder", &ladder.to_string_lossy()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (init, segment) = (read(out.join("v90/init.mp4")), read(out.join("v90/seg_00000.m4s")));
    let event = r#"{"event":"segment","rendition":"v90","index":0,"first":0,"count":50}"#;
    let framed = [&u32::try_from(event.len()).unwrap_or(0).to_le_bytes()[..], &[0; 4], event.as_bytes()].concat();
    vec![
        read(clip),
        [init.clone(), segment].concat(),
        init,
        read(out.join("master.m3u8")),
        read(out.join("v90/index.m3u8")),
        read(ladder),
        framed,
        event.as_bytes().to_vec(),
        br#"{"v":1,"job":"01930d2a-0000-7000-8000-000000000000","chunk":1,"attempt":2}"#.to_vec(),
        br#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"a+b%25","size":9,"sequencer":"0A"}}}]}"#
            .to_vec(),
        br#"{"detail-type":"EC2 Spot Instance Interruption Warning","detail":{"instance-id":"i-1"}}"#.to_vec(),
        b"output = \"s3://a/b\"\n[database]\nurl = \"postgres://x\"\n[[regions]]\nname = \"r\"\nqueue = \"q\"\n"
            .to_vec(),
        include_bytes!("../../../infra/fleet.toml").to_vec(),
    ]
}

fn write_seeds(into: &Path) -> ExitCode {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |(number, bytes): (usize, Vec<u8>)| std::fs::write(into.join(format!("seed-{number:02}")), bytes);
    let written =
        std::fs::create_dir_all(into).and_then(|()| seeds(dir.path()).into_iter().enumerate().try_for_each(write));
    if let Err(error) = written {
        eprintln!("{}: {error}", into.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parsers(each: Duration, random: &mut Rng) -> usize {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let seeds = seeds(dir.path());
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = 0;
    for (name, reader) in READERS {
        let (started, mut runs) = (Instant::now(), 0_u64);
        while started.elapsed() < each {
            let mut bytes = seeds[random.usize(..seeds.len())].clone();
            change(&mut bytes, &seeds[random.usize(..seeds.len())], random);
            runs += 1;
            if catch_unwind(AssertUnwindSafe(|| reader(&bytes))).is_err() {
                findings += 1;
                println!("{name}: panics on {}", bytes.escape_ascii());
                break;
            }
        }
        println!("{name}: {runs} runs, {findings} finding(s) so far");
    }
    findings
}

fn films(count: u64, random: &mut Rng, keep: Option<&Path>) -> usize {
    let Some(media) = shared_media("films to change") else { return 0 };
    let folders = ["ordinary", "awkward", "coded", "hostile"].map(|f| std::fs::read_dir(media.join(f)));
    let files = folders.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
    let small = files.filter(|f| f.metadata().is_ok_and(|m| m.is_file() && (100..LARGEST).contains(&m.len())));
    let mut films: Vec<Vec<u8>> = small.filter_map(|f| std::fs::read(f).ok()).collect();
    films.sort();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (file, mut ends) = (dir.path().join("films"), BTreeMap::<String, u64>::new());
    let (started, mut shown, mut done) = (Instant::now(), Instant::now(), 0);
    let mut batch: VecDeque<Vec<u8>> = VecDeque::new();
    while done < count {
        while batch.len() < BATCH && done + (batch.len() as u64) < count {
            let mut bytes = films[random.usize(..films.len())].clone();
            change(&mut bytes, &films[random.usize(..films.len())], random);
            batch.push_back(bytes);
        }
        let ended = look_at(&file, &batch);
        for how in &ended {
            let bytes = batch.pop_front().unwrap_or_default();
            if let Some(keep) = keep.filter(|_| how != OPENED && how != REFUSED) {
                let kept = keep.join(format!("{done}"));
                std::fs::write(&kept, bytes).unwrap_or_else(|e| panic!("{}: {e}", kept.display()));
            }
            *ends.entry(how.clone()).or_default() += 1;
            done += 1;
        }
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            eprintln!("{done} of {count}: {ends:?}");
        }
    }
    println!("{count} changed films of {} in {:.0} s: {ends:?}", films.len(), started.elapsed().as_secs_f64());
    // An end by SIGSYS would be a hole in what engines may ask for; any other signal is a crash that the lock contained.
    usize::try_from(ends.get("signal 31").copied().unwrap_or(0)).unwrap_or(usize::MAX)
}

/// Gives films to a locked process; how each of them ended, up to the one that ended the process.
fn look_at(file: &Path, films: &VecDeque<Vec<u8>>) -> Vec<String> {
    let mut bytes = Vec::new();
    for film in films {
        bytes.extend_from_slice(&u32::try_from(film.len()).expect("a small film").to_le_bytes());
        bytes.extend_from_slice(film);
    }
    std::fs::write(file, bytes).expect("the temporary folder can be written");
    let mut careless = Command::new("timeout");
    careless.args(["-s", "KILL", PATIENCE_S]).arg(program("careless")).args(["both", "guarded", "many"]).arg(file);
    let output = careless.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("timeout");
    let lines = String::from_utf8_lossy(&output.stdout);
    let mut ended: Vec<String> =
        lines.lines().map(|line| if line.starts_with("opened") { OPENED } else { REFUSED }.to_owned()).collect();
    if ended.len() < films.len() {
        // `timeout` ends by the signal of what it watched.
        ended.push(match (output.status.code(), output.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        });
    }
    ended
}
