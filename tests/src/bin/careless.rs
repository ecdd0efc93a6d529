//! `careless LAYERS FILE`: an engine as careless as can be, for showing what the sandbox is worth alone. FFmpeg gets every
//! file whatever it is, with all of its demuxers and protocols and no limit, and may open what it likes; only the lock
//! (`both`, `landlock`, `seccomp`, `none`) is that of a real engine. Exits with 0 when the file was opened.

use std::io;
use std::process::ExitCode;

use clap::ValueEnum;
use media::Received;
use media::demux::{Containers, Demuxer};
use media::io::ReadAt;
use worker::confinement::Layers;

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
    let (Some(layers), Some(file)) = (layers, arguments.next()) else {
        eprintln!("careless both|landlock|seccomp|none FILE");
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
    let mut demuxer = match Demuxer::open(Box::new(Memory(bytes)), Containers::Unguarded) {
        Ok(demuxer) => demuxer,
        Err((error, _)) => {
            println!("refused: {error}");
            return ExitCode::from(2);
        }
    };
    let packets = std::iter::from_fn(|| match demuxer.read() {
        Ok(Received::Item(packet)) => Some(packet),
        _ => None,
    });
    println!("opened, {} packets", packets.take(PACKETS).count());
    ExitCode::SUCCESS
}
