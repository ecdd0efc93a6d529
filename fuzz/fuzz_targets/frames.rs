//! The frames between a worker and its engine (`worker::protocol`): what a taken-over engine may send.

#![no_main]

use libfuzzer_sys::fuzz_target;
use worker::protocol::{Event, encode, lengths, read};

fuzz_target!(|bytes: &[u8]| {
    if let Some(prefix) = bytes.first_chunk() {
        drop(lengths(*prefix));
    }
    let mut wire = bytes;
    while let Ok(Some(event)) = read::<Event>(&mut wire) {
        // What was understood can be said again.
        drop(encode(&event, &[]));
    }
});
