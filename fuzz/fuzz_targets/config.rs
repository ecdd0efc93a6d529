//! The files of operators: configuration, pools, ladders. They come from friends, but a wrong one must be a sentence.

#![no_main]

use capacity::pools::Fleet;
use fleet::config::Config;
use fleet::ladder::Ladder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    drop(Config::parse("fuzz", text));
    drop(Fleet::parse(text));
    drop(Ladder::from_yaml("fuzz", text));
});
