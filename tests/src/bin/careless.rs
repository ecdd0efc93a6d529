//! `careless LAYERS [guarded] FILE`: an engine as careless as can be, for showing what the sandbox is worth alone. FFmpeg gets every
//! file whatever it is, with all of its demuxers and protocols and no limit, and may open what it likes; only the lock
//! (`both`, `landlock`, `seccomp`, `none`) is that of a real engine. `guarded` gives FFmpeg its options and the boxes their
//! check after all, and decodes pictures. `many` takes a file of several films, each after its length (4 bytes, the lowest
//! first), one after the other in the same locked process. A line for each; exits with 0 when the last was opened, with 2
//! when it was refused.

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
    let mut arguments = std::env::args().skip(1).peekable();
    let layers = arguments.next().and_then(|name| Layers::from_str(&name, false).ok());
    let guarded = arguments.next_if(|word| word == "guarded").is_some();
    let many = arguments.next_if(|word| word == "many").is_some();
    let (Some(layers), Some(file)) = (layers, arguments.next()) else {
        eprintln!("careless both|landlock|seccomp|none [guarded] [many] FILE");
        return ExitCode::from(64);
    };
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(64);
        }
    };
    let films = if many { split(&bytes) } else { vec![bytes] };
    if let Err(error) = worker::engine::lock(layers) {
        eprintln!("{error}");
        return ExitCode::from(65);
    }
    let mut is_open = true;
    for film in films {
        let seen = look(film, guarded);
        is_open = seen.is_ok();
        match seen {
            Ok((packets, pictures)) => println!("opened, {packets} packets, {pictures} pictures"),
            Err(error) => println!("refused: {error}"),
        }
    }
    ExitCode::from(if is_open { 0 } else { 2 })
}

/// The films of a file of several.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut films = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
        let (film, rest) = rest.split_at(length);
        films.push(film.to_vec());
        bytes = rest;
    }
    films
}

/// Opens a film and reads from it: packets and pictures, or why not.
fn look(film: Vec<u8>, guarded: bool) -> Result<(usize, usize), String> {
    let mut source = Memory(film);
    let containers = match guarded.then(|| precheck::check(&mut source)) {
        None => Containers::Unguarded,
        Some(Ok(Kind::Boxes)) => Containers::Boxes,
        Some(Ok(Kind::Other)) => Containers::Others,
        Some(Err(error)) => return Err(error.to_string()),
    };
    let mut demuxer = Demuxer::open(Box::new(source), containers).map_err(|(error, _)| error.to_string())?;
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
    Ok((packets, pictures))
}
