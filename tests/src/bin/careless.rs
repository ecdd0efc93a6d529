//! `careless LAYERS [guarded] FILE`: an engine as careless as can be, for showing what the sandbox is worth alone. FFmpeg gets every
//! file whatever it is, with all of its demuxers and protocols and no limit, and may open what it likes; only the lock
//! (`both`, `landlock`, `seccomp`, `none`) is that of a real engine. `guarded` gives FFmpeg its options and the boxes their
//! check after all, and decodes pictures. Exits with 0 when the file was opened, with 2 when it was refused.

use std::io;
use std::process::ExitCode;

use clap::ValueEnum;
use media::Received;
use media::decode::Decoder;
use media::demux::{Containers, Demuxer, StreamKind};
use media::io::ReadAt;
use worker::confinement::Layers;
use worker::precheck::{self, Kind};

/// Packets that are read.
const PACKETS: usize = 200;

struct Memory(Vec<u8>);

impl ReadAt for Memory {
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

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let layers = arguments.next().and_then(|name| Layers::from_str(&name, false).ok());
    let mut file = arguments.next();
    let guarded = file.as_deref() == Some("guarded");
    if guarded {
        file = arguments.next();
    }
    let (Some(layers), Some(file)) = (layers, file) else {
        eprintln!("careless both|landlock|seccomp|none [guarded] FILE");
        return ExitCode::from(64);
    };
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(64);
        }
    };
    if let Err(error) = worker::engine::lock(layers) {
        eprintln!("{error}");
        return ExitCode::from(65);
    }
    let mut source = Memory(bytes);
    let containers = match guarded.then(|| precheck::check(&mut source)) {
        None => Containers::Unguarded,
        Some(Ok(Kind::Boxes)) => Containers::Boxes,
        Some(Ok(Kind::Other)) => Containers::Others,
        Some(Err(error)) => {
            println!("refused: {error}");
            return ExitCode::from(2);
        }
    };
    let mut demuxer = match Demuxer::open(Box::new(source), containers) {
        Ok(demuxer) => demuxer,
        Err((error, _)) => {
            println!("refused: {error}");
            return ExitCode::from(2);
        }
    };
    let video = (0..demuxer.streams())
        .filter_map(|i| demuxer.facts(i))
        .find(|f| f.kind == StreamKind::Video && f.decodable)
        .filter(|_| guarded);
    let mut decoder = video.as_ref().and_then(|f| Decoder::open(&demuxer.parameters(f.index).ok()?, 1, None).ok());
    let (mut packets, mut pictures) = (0, 0);
    while packets < PACKETS {
        let Ok(Received::Item(packet)) = demuxer.read() else { break };
        packets += 1;
        if let Some(decoder) = decoder.as_mut().filter(|_| video.as_ref().is_some_and(|f| f.index == packet.stream()))
            && decoder.send(&packet).is_ok()
        {
            while let Ok(Received::Item(_)) = decoder.receive() {
                pictures += 1;
            }
        }
    }
    println!("opened, {packets} packets, {pictures} pictures");
    ExitCode::SUCCESS
}
