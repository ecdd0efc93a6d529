//! The readers of init and media segments (`fleet::cmaf`), which look at what an engine handed over before it is committed.

#![no_main]

use fleet::cmaf::{foreign_box, parse_init, parse_segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (border, bytes) = input;
    let Some((init, segment)) = bytes.split_at_checked(usize::from(border)) else { return };
    drop(foreign_box(segment));
    let Ok(init) = parse_init(init) else { return };
    if let Ok(facts) = parse_segment(segment, &init) {
        // What follows from the facts must be computable for all of them.
        let _ = (facts.tfdt(), facts.decode_end(), facts.duration());
    }
});
