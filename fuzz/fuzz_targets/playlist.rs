//! The reader of playlists (`fleet::hls::parse`), which `worker check` and the stories use on what others may have written.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| drop(fleet::hls::parse(text)));
