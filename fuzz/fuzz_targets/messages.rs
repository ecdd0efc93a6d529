//! Messages out of queues: work, notices of S3, events of EventBridge.

#![no_main]

use fleet::queue::{Message, written_objects};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(message) = serde_json::from_str::<Message>(text) {
        let again = serde_json::to_string(&message).expect("a message that was read can be written");
        assert_eq!(serde_json::from_str::<Message>(&again).expect("what was written can be read"), message);
    }
    drop(written_objects(text));
    drop(dispatcher::scaling::events::parse(text));
});
