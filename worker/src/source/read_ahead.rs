//! Recognises sequential reading.
//!
//! A demuxer does not read one straight line: an MP4 whose audio lies apart from its video is two lines read in
//! turns, and index lookups are single points between them. So a few lines are followed at once, a point off all
//! of them starts a new one and costs no read-ahead, and a line earns read-ahead by the bytes it has covered, as
//! the window of the kernel's own read-ahead grows.

/// Lines followed at once: video, two audio tracks, and the index.
const LINES: usize = 4;

/// The reading positions of one reader.
#[derive(Debug)]
pub(super) struct ReadAhead {
    block_len: u64,
    /// Most recently used last.
    lines: Vec<Line>,
}

/// Reads that continue each other.
#[derive(Debug)]
struct Line {
    /// Offset after the furthest byte read.
    next: u64,
    /// Bytes the line has advanced, small gaps included.
    covered: u64,
}

impl ReadAhead {
    /// `block_len` in bytes, not zero.
    pub(super) fn new(block_len: u64) -> Self {
        Self { block_len, lines: Vec::with_capacity(LINES) }
    }

    /// Notes a read and says how many blocks after it are worth fetching: 0 for a line shorter than a quarter of
    /// a block, then 1, doubling with each block covered up to `max`.
    pub(super) fn note(&mut self, offset: u64, len: u64, max: usize) -> usize {
        let end = offset.saturating_add(len);
        // Within a block either way: demuxers skip padding and step back to look again.
        let found = self.lines.iter().position(|line| line.next.abs_diff(offset) <= self.block_len);
        let mut line = match found {
            Some(place) => self.lines.remove(place),
            None => {
                if self.lines.len() == LINES {
                    self.lines.remove(0);
                }
                Line { next: offset, covered: 0 }
            }
        };
        line.covered = line.covered.saturating_add(end.saturating_sub(line.next));
        line.next = line.next.max(end);
        let covered = line.covered;
        self.lines.push(line);

        if covered < self.block_len.div_ceil(4) {
            return 0;
        }
        let doublings = u32::try_from(covered / self.block_len).unwrap_or(u32::MAX);
        1_usize.checked_shl(doublings).unwrap_or(usize::MAX).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 1000;

    fn windows(reads: impl IntoIterator<Item = (u64, u64)>) -> Vec<usize> {
        let mut read_ahead = ReadAhead::new(BLOCK);
        reads.into_iter().map(|(offset, len)| read_ahead.note(offset, len, 4)).collect()
    }

    #[test]
    fn the_window_grows_with_the_bytes_covered_and_never_beyond_its_limit() {
        let small = windows((0..50).map(|i| (i * 100, 100)));
        assert_eq!(small[..3], [0, 0, 1]);
        assert_eq!((small[8], small[9], small[19], small[49]), (1, 2, 4, 4));
        assert_eq!(windows([(0, 5000), (5000, u64::MAX)]), [4, 4]);
    }

    #[test]
    fn jumps_earn_no_read_ahead() {
        assert_eq!(windows((0..40).map(|i| (i * 7919 % 40 * 10_000, 100))), [0; 40]);
    }

    #[test]
    fn reading_the_same_place_again_earns_nothing() {
        assert_eq!(windows([(0, 100); 40]), [0; 40]);
    }

    #[test]
    fn a_line_survives_looking_things_up_elsewhere() {
        let reads = (0..40).flat_map(|i| [(i * 100, 100), (900_000 - i * 20_000, 8)]);
        let seen = windows(reads);
        assert!(seen.iter().skip(1).step_by(2).all(|&window| window == 0));
        assert_eq!(seen[78], 4);
    }

    #[test]
    fn two_lines_read_in_turns_both_grow() {
        let seen = windows((0..40).flat_map(|i| [(i * 100, 100), (500_000 + i * 100, 100)]));
        assert_eq!(seen[78..], [4, 4]);
    }
}
