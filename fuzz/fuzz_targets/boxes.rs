//! The pre-check of a source's boxes (`worker::precheck`): whatever the bytes, it answers, and reads little of them.

#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use media::io::ReadAt;

/// A source in memory, which counts what is asked of it.
struct Memory<'a> {
    bytes: &'a [u8],
    read: usize,
}

impl ReadAt for Memory<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.bytes.get(at..)).unwrap_or(&[]);
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.read += n;
        Ok(n)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut source = Memory { bytes, read: 0 };
    drop(worker::precheck::check(&mut source));
    // Each byte is part of one box, whose header may be read again for each level that it lies in.
    assert!(source.read <= 64 * (bytes.len() + 64), "{} bytes were read of {}", source.read, bytes.len());
});
