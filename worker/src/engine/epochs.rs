//! One continuous clock for containers whose own clock jumps: joined MPEG-TS files, recorders that were restarted.
//!
//! A jump (more than 10 s forward or 1 s back) of the film opens a new epoch with an offset that makes the film go on
//! where it was; sound follows the film's epochs, and waits when it meets a jump first. So every engine, whichever
//! streams it decodes, finds the same clock.

use std::collections::{HashMap, VecDeque};

use media::Packet;

const FORWARD_S: f64 = 10.0;
const BACK_S: f64 = -1.0;
/// Sound packets that wait for the film to show the same jump.
const MAX_HELD: usize = 2000;

#[derive(Debug, Default)]
pub(crate) struct Epochs {
    /// Seconds added to raw times, by epoch.
    offsets: Vec<f64>,
    streams: HashMap<usize, Place>,
    held: VecDeque<(Packet, f64)>,
    released: VecDeque<Packet>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    epoch: usize,
    /// Where the next packet is expected, in corrected seconds.
    expected: f64,
}

impl Epochs {
    /// Corrects a packet's times; `None` when it waits.
    pub(crate) fn place(&mut self, packet: Packet, video: usize, tick: f64) -> Option<Packet> {
        if self.offsets.is_empty() {
            self.offsets.push(0.0);
        }
        let is_video = packet.stream() == video;
        match self.epoch_for(&packet, is_video, tick) {
            Some((epoch, is_new)) => {
                let placed = self.apply(packet, epoch, tick);
                if is_new {
                    self.release();
                }
                Some(placed)
            }
            None => {
                if self.held.len() < MAX_HELD {
                    self.held.push_back((packet, tick));
                }
                None
            }
        }
    }

    /// A packet that waited and may go now.
    pub(crate) fn take_released(&mut self) -> Option<Packet> {
        self.released.pop_front()
    }

    /// At the end of the source nothing is waited for: held packets belong to a jump that the film never made.
    pub(crate) fn drain_held(&mut self) -> Option<Packet> {
        self.held.clear();
        self.released.pop_front()
    }

    fn epoch_for(&mut self, packet: &Packet, is_video: bool, tick: f64) -> Option<(usize, bool)> {
        let latest = self.offsets.len() - 1;
        let Some(raw) = raw_seconds(packet, tick) else {
            return Some((self.streams.get(&packet.stream()).map_or(latest, |p| p.epoch), false));
        };
        let Some(place) = self.streams.get(&packet.stream()).copied() else { return Some((latest, false)) };
        let fits = |offset: f64| (BACK_S..=FORWARD_S).contains(&(raw + offset - place.expected));
        if fits(self.offsets[place.epoch]) {
            return Some((place.epoch, false));
        }
        if let Some(epoch) = (0..self.offsets.len()).rev().find(|&e| fits(self.offsets[e])) {
            return Some((epoch, false));
        }
        if !is_video {
            return None;
        }
        tracing::info!(
            at_s = place.expected,
            jump_s = raw + self.offsets[place.epoch] - place.expected,
            "the clock of the source jumps"
        );
        self.offsets.push(place.expected - raw);
        Some((latest + 1, true))
    }

    fn apply(&mut self, mut packet: Packet, epoch: usize, tick: f64) -> Packet {
        let offset = self.offsets[epoch];
        if let Some(raw) = raw_seconds(&packet, tick) {
            #[expect(clippy::cast_precision_loss, reason = "packet durations are short")]
            let length = packet.duration().max(0) as f64 * tick;
            self.streams.insert(packet.stream(), Place { epoch, expected: raw + offset + length });
        }
        if offset != 0.0 && tick > 0.0 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "saturates, and the source would be refused for its length"
            )]
            packet.shift((offset / tick).round() as i64);
        }
        packet
    }

    fn release(&mut self) {
        for (packet, tick) in std::mem::take(&mut self.held) {
            match self.epoch_for(&packet, false, tick) {
                Some((epoch, _)) => {
                    let placed = self.apply(packet, epoch, tick);
                    self.released.push_back(placed);
                }
                None => self.held.push_back((packet, tick)),
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of media stay far below 2^52 ticks")]
fn raw_seconds(packet: &Packet, tick: f64) -> Option<f64> {
    packet.dts().or_else(|| packet.pts()).map(|t| t as f64 * tick)
}
