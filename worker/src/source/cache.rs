//! The blocks that were read last, within a budget of bytes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

/// Blocks by their index; the least recently used leave first.
#[derive(Default)]
pub(super) struct BlockCache {
    blocks: HashMap<u64, Entry>,
    /// Time of last use to block index; times are unique because each use takes a new one.
    by_use: BTreeMap<u64, u64>,
    clock: u64,
    held_bytes: usize,
}

struct Entry {
    bytes: Bytes,
    used: u64,
}

impl BlockCache {
    /// The block, which counts as a use.
    pub(super) fn get(&mut self, index: u64) -> Option<Bytes> {
        let entry = self.blocks.get_mut(&index)?;
        self.by_use.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.by_use.insert(self.clock, index);
        Some(entry.bytes.clone())
    }

    /// Whether the block is held, which does not count as a use.
    pub(super) fn contains(&self, index: u64) -> bool {
        self.blocks.contains_key(&index)
    }

    /// Keeps a block as the most recently used.
    pub(super) fn insert(&mut self, index: u64, bytes: Bytes) {
        self.remove(index);
        self.clock += 1;
        self.held_bytes += bytes.len();
        self.by_use.insert(self.clock, index);
        self.blocks.insert(index, Entry { bytes, used: self.clock });
    }

    /// Lets blocks go until at most `budget` bytes are held.
    pub(super) fn shrink_to(&mut self, budget: usize) {
        while self.held_bytes > budget {
            let Some((_, &index)) = self.by_use.first_key_value() else {
                return;
            };
            self.remove(index);
        }
    }

    /// Bytes of all blocks held.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn remove(&mut self, index: u64) {
        if let Some(entry) = self.blocks.remove(&index) {
            self.by_use.remove(&entry.used);
            self.held_bytes -= entry.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_block_leaves_first() {
        let mut cache = BlockCache::default();
        for index in 0..3 {
            cache.insert(index, Bytes::from_static(b"0123456789"));
        }
        assert!(cache.get(0).is_some());
        assert!(cache.contains(1));
        cache.shrink_to(29);
        assert_eq!([0, 1, 2].map(|index| cache.contains(index)), [true, false, true]);
        assert_eq!(cache.held_bytes(), 20);
        cache.shrink_to(0);
        assert_eq!(cache.held_bytes(), 0);
        assert!(cache.get(0).is_none());
    }

    #[test]
    fn a_block_inserted_twice_is_counted_once() {
        let mut cache = BlockCache::default();
        cache.insert(7, Bytes::from_static(b"0123456789"));
        cache.insert(7, Bytes::from_static(b"01234"));
        assert_eq!(cache.held_bytes(), 5);
        assert_eq!(cache.get(7).unwrap().len(), 5);
    }
}
