//! Packets of the source from a given time on, in every container.
//!
//! Containers with an index (MP4, Matroska) seek, and the landing is verified: the first key frame must be at or
//! before the wanted time, else the seek goes further back. All others are read from the start: a plain seek loses
//! hundreds of frames in MPEG-TS. An engine that gets chunks in order reads such a source once.

use std::collections::VecDeque;

use fleet::failure::FailureCode;
use media::demux::{Containers, Demuxer};
use media::{Packet, Received};

use super::EngineError;
use super::epochs::Epochs;
use super::range::RangeClient;
use crate::precheck::{Kind, Refused};

/// Compressed bytes kept to go back to a key frame; two GOPs of 10 s at 100 Mbit/s fit.
const RECENT_BYTES: usize = 256 << 20;
/// Damaged spots in a row after which the rest of a source is given up.
const MAX_ERRORS_IN_A_ROW: u32 = 64;
/// Packets read in search of a key frame after a seek.
const MAX_SEARCH: u32 = 5000;

/// Reads packets of the kept streams, with times on one continuous clock.
pub(crate) struct Reader {
    range: RangeClient,
    demuxer: Demuxer,
    video: usize,
    keep: Vec<usize>,
    indexed: bool,
    epochs: Epochs,
    /// Packets to be given before reading on.
    queue: VecDeque<Packet>,
    /// Video packets of the last two GOPs, of containers without an index.
    recent: VecDeque<Packet>,
    recent_bytes: usize,
    fresh: bool,
    ended: bool,
    damaged: u64,
}

impl Reader {
    pub(crate) fn open(range: &RangeClient, video: usize, keep: &[usize], indexed: bool) -> Result<Self, EngineError> {
        let demuxer = open_demuxer(range)?;
        let mut reader = Self {
            range: range.clone(),
            demuxer,
            video,
            keep: keep.to_vec(),
            indexed,
            epochs: Epochs::default(),
            queue: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            fresh: true,
            ended: false,
            damaged: 0,
        };
        reader.demuxer.keep_only(&reader.keep);
        Ok(reader)
    }

    pub(crate) fn demuxer(&self) -> &Demuxer {
        &self.demuxer
    }

    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        *self = Self::open(&self.range.clone(), self.video, &self.keep.clone(), self.indexed)?;
        Ok(())
    }

    /// The next packet of a kept stream; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, EngineError> {
        match self.queue.pop_front() {
            Some(packet) => Ok(Some(packet)),
            None => self.read(),
        }
    }

    /// Makes [`next`](Self::next) begin with a video key frame at or before `time`, or with the first packet.
    pub(crate) fn position_video(&mut self, time: i64, origin: i64) -> Result<(), EngineError> {
        if time <= origin {
            return if self.fresh { Ok(()) } else { self.reopen() };
        }
        if self.indexed { self.seek_verified(self.video, time, origin) } else { self.read_up_to(time) }
    }

    /// Makes [`next`](Self::next) begin at or before `time` of an audio stream.
    pub(crate) fn position_audio(&mut self, stream: usize, time: i64, origin: i64) -> Result<(), EngineError> {
        if self.indexed && time > origin {
            return self.seek_verified(stream, time, origin);
        }
        if self.fresh { Ok(()) } else { self.reopen() }
    }

    fn seek_verified(&mut self, stream: usize, time: i64, origin: i64) -> Result<(), EngineError> {
        let tick = self.demuxer.facts(stream).and_then(|f| f.time_base.positive()).unwrap_or(1e-3);
        #[expect(clippy::cast_possible_truncation, reason = "one second in ticks")]
        let second = (1.0 / tick) as i64;
        let mut back = 0i64;
        loop {
            let target = time.saturating_sub(back);
            if target <= origin {
                return self.reopen();
            }
            self.queue.clear();
            self.ended = false;
            self.fresh = false;
            if self.demuxer.seek(stream, target).is_err() {
                return self.reopen();
            }
            let mut found = VecDeque::new();
            for _ in 0..MAX_SEARCH {
                let Some(packet) = self.read()? else { break };
                let is_start = packet.stream() == stream && packet.is_key();
                let at = packet.pts().or_else(|| packet.dts());
                if is_start {
                    found.push_back(packet);
                    if at.is_some_and(|t| t <= time) {
                        self.queue = found;
                        return Ok(());
                    }
                    break;
                }
                if packet.stream() != self.video || stream != self.video {
                    found.push_back(packet);
                }
            }
            back = (back * 2).max(second.max(1));
        }
    }

    /// Reads a container without an index up to `time`, from where it is when it can still reach the key frame.
    fn read_up_to(&mut self, time: i64) -> Result<(), EngineError> {
        let reachable = |recent: &VecDeque<Packet>| recent.iter().any(|p| starts_by(p, time));
        if !self.fresh && !reachable(&self.recent) {
            self.reopen()?;
        }
        self.queue.clear();
        loop {
            let passed = self.recent.back().is_some_and(|p| {
                p.dts().or_else(|| p.pts()).is_some_and(|t| t > time)
                    || (p.is_key() && p.pts().is_some_and(|t| t > time))
            });
            if passed || self.recent_bytes > RECENT_BYTES {
                break;
            }
            if self.read()?.is_none() {
                break;
            }
        }
        let from = self.recent.iter().rposition(|p| starts_by(p, time)).unwrap_or(0);
        for packet in self.recent.iter().skip(from) {
            self.queue.push_back(packet.share().map_err(EngineError::internal)?);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Packet>, EngineError> {
        if let Some(packet) = self.epochs.take_released() {
            return Ok(Some(packet));
        }
        let mut errors = 0;
        while !self.ended {
            self.fresh = false;
            let mut packet = match self.demuxer.read() {
                Ok(Received::Item(packet)) => packet,
                Ok(Received::NeedInput) => continue,
                Ok(Received::End) => {
                    self.fail_on_io_error()?;
                    self.ended = true;
                    break;
                }
                Err(error) => {
                    self.fail_on_io_error()?;
                    self.damaged += 1;
                    errors += 1;
                    if errors > MAX_ERRORS_IN_A_ROW {
                        tracing::warn!(%error, "gave up reading the rest of the source");
                        self.ended = true;
                    }
                    continue;
                }
            };
            if !self.keep.contains(&packet.stream()) {
                continue;
            }
            if packet.is_corrupt() {
                self.damaged += 1;
            }
            if !self.indexed {
                let seconds = self.demuxer.facts(packet.stream()).and_then(|f| f.time_base.positive()).unwrap_or(0.0);
                match self.epochs.place(packet, self.video, seconds) {
                    Some(placed) => packet = placed,
                    None => continue,
                }
                if packet.stream() == self.video {
                    self.remember(&packet)?;
                }
            }
            return Ok(Some(packet));
        }
        Ok(self.epochs.drain_held())
    }

    fn fail_on_io_error(&mut self) -> Result<(), EngineError> {
        match self.demuxer.take_io_error() {
            Some(error) => Err(EngineError::new(FailureCode::SourceUnavailable, error.to_string())),
            None => Ok(()),
        }
    }

    fn remember(&mut self, packet: &Packet) -> Result<(), EngineError> {
        if packet.is_key() {
            let keys = self.recent.iter().filter(|p| p.is_key()).count();
            if keys >= 2 {
                let second = self.recent.iter().enumerate().filter(|(_, p)| p.is_key()).nth(1).map_or(0, |(i, _)| i);
                for old in self.recent.drain(..second) {
                    self.recent_bytes -= old.data().len();
                }
            }
        }
        self.recent_bytes += packet.data().len();
        self.recent.push_back(packet.share().map_err(EngineError::internal)?);
        while self.recent_bytes > RECENT_BYTES + (64 << 20) {
            match self.recent.pop_front() {
                Some(old) => self.recent_bytes -= old.data().len(),
                None => break,
            }
        }
        Ok(())
    }
}

fn starts_by(packet: &Packet, time: i64) -> bool {
    packet.is_key() && packet.pts().or_else(|| packet.dts()).is_some_and(|t| t <= time)
}

/// Opens the container, telling apart what it is not.
pub(crate) fn open_demuxer(range: &RangeClient) -> Result<Demuxer, EngineError> {
    let containers = match range.check() {
        Ok(Kind::Boxes) => Containers::Boxes,
        Ok(Kind::Other) => Containers::Others,
        Err(Refused::Unreadable(error)) => {
            return Err(EngineError::new(FailureCode::SourceUnavailable, error.to_string()));
        }
        Err(Refused::Because { code, what }) => return Err(EngineError::new(code, what)),
    };
    Demuxer::open(Box::new(range.clone()), containers).map_err(|(error, io)| match io {
        Some(io) => EngineError::new(FailureCode::SourceUnavailable, io.to_string()),
        None => EngineError::new(FailureCode::NotMedia, error.to_string()),
    })
}
