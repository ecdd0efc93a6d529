//! By which ways calls leave a worker or a dispatcher, and where each passes a fault point. The sources are read: a call by
//! another way, or in another file, fails the test until it has a point or a reason to have none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What calls of the outside are made with.
const WAYS: &[&str] = &[
    "sqlx::query",
    "sqlx::raw_sql",
    "pool.begin(",
    "aws_sdk_",
    "reqwest::",
    "Command::new",
    "UnixStream",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "lookup_host",
    "fs::",
    "File::",
    "OpenOptions",
    "NamedTempFile",
];

/// Why a file may use one of [`WAYS`].
enum Guard {
    /// Its calls pass the point of this name, in that file.
    Point(&'static str, &'static str),
    /// It is reached by the methods of a decorator alone.
    Objects,
    Queue,
    /// Its statements and transactions are the points.
    Statement,
    /// It needs none.
    None(&'static str),
}

use Guard::{Objects, Point, Queue, Statement};

const NOT_WRITTEN: Guard = Guard::None("configuration or a file that a person named, read at the start of a command");
const COMES_IN: Guard = Guard::None("what others ask of this process; it answers");
const ENGINE: Guard = Guard::None("within an engine; its parent's ends of the sockets have the points");
const START: Guard = Guard::None("setting up local mode; what fails ends the dispatcher before it serves");
const KERNEL: Guard = Guard::None("asks the kernel about itself");
const WITHIN: Guard = Guard::None("looks a name up within a call that passes `webhook.send` or `source.read http`");
const PERSON: Guard = Guard::None("a command that a person waits for, on that person's machine");

const FILES: &[(&str, Guard)] = &[
    ("dispatcher/src/api.rs", Point("jwks.get", "dispatcher/src/api/jwt.rs")),
    ("dispatcher/src/api/jwt.rs", Point("jwks.get", "dispatcher/src/api/jwt.rs")),
    ("dispatcher/src/commands/access.rs", PERSON),
    ("dispatcher/src/commands/serve.rs", COMES_IN),
    ("dispatcher/src/commands/simulate.rs", PERSON),
    ("dispatcher/src/commands/submit.rs", PERSON),
    ("dispatcher/src/http.rs", COMES_IN),
    ("dispatcher/src/local.rs", START),
    ("dispatcher/src/local/credentials.rs", START),
    ("dispatcher/src/local/postgres.rs", START),
    ("dispatcher/src/local/postgres/account.rs", START),
    ("dispatcher/src/local/postgres/cluster.rs", START),
    ("dispatcher/src/local/postgres/leftovers.rs", START),
    ("dispatcher/src/scaling/aws.rs", Point("capacity.ask_for", "dispatcher/src/scaling/act.rs")),
    ("dispatcher/src/scaling/processes.rs", Point("capacity.end", "dispatcher/src/scaling/act.rs")),
    ("dispatcher/src/upload.rs", PERSON),
    ("dispatcher/src/upload/client.rs", PERSON),
    ("dispatcher/src/upload/file.rs", PERSON),
    ("dispatcher/src/upload/send.rs", PERSON),
    ("dispatcher/src/webhooks.rs", Point("webhook.send", "dispatcher/src/webhooks/deliver.rs")),
    ("dispatcher/src/webhooks/deliver.rs", Point("webhook.send", "dispatcher/src/webhooks/deliver.rs")),
    ("dispatcher/src/webhooks/guard.rs", Point("webhook.send", "dispatcher/src/webhooks/deliver.rs")),
    ("fleet/src/config.rs", NOT_WRITTEN),
    ("fleet/src/config/capacity.rs", NOT_WRITTEN),
    ("fleet/src/conformance/load.rs", PERSON),
    ("fleet/src/fault/rules.rs", Guard::None("the points themselves")),
    ("fleet/src/internet.rs", WITHIN),
    ("fleet/src/objects/folder.rs", Objects),
    ("fleet/src/objects/folder/uploads.rs", Objects),
    ("fleet/src/objects/s3.rs", Objects),
    ("fleet/src/objects/s3/delete.rs", Objects),
    ("fleet/src/objects/s3/fault.rs", Objects),
    ("fleet/src/objects/s3/multipart.rs", Objects),
    ("fleet/src/objects/s3/upload.rs", Objects),
    ("fleet/src/objects/settings.rs", Objects),
    ("fleet/src/profiles.rs", NOT_WRITTEN),
    ("fleet/src/queue/sqs.rs", Queue),
    ("fleet/src/queue/sqs/events.rs", Point("events.receive", "fleet/src/queue/sqs/events.rs")),
    ("fleet/src/queue/sqs/notices.rs", Point("notices.receive", "fleet/src/queue/sqs/notices.rs")),
    ("fleet/src/store.rs", Statement),
    ("fleet/src/store/statement.rs", Statement),
    ("worker/src/child.rs", Point("engine.answer", "worker/src/child.rs")),
    ("worker/src/child/start.rs", Point("engine.start", "worker/src/child/start.rs")),
    ("worker/src/engine.rs", ENGINE),
    ("worker/src/engine/outbox.rs", ENGINE),
    ("worker/src/engine/range.rs", ENGINE),
    ("worker/src/engine/sandbox.rs", ENGINE),
    ("worker/src/hardware.rs", KERNEL),
    ("worker/src/output.rs", Point("files.write", "worker/src/output.rs")),
    ("worker/src/service.rs", KERNEL),
    ("worker/src/service/clip.rs", Point("files.clip", "worker/src/service/clip.rs")),
    ("worker/src/service/clip/film.rs", Point("files.clip", "worker/src/service/clip.rs")),
    ("worker/src/service/metadata.rs", Point("metadata.get", "worker/src/service/metadata.rs")),
    ("worker/src/service/monitor.rs", COMES_IN),
    ("worker/src/source/file.rs", Point("source.read file", "worker/src/source.rs")),
    ("worker/src/source/http.rs", Point("source.read http", "worker/src/source.rs")),
    ("worker/src/source/http/reach.rs", Point("source.read http", "worker/src/source.rs")),
    ("worker/src/source/s3.rs", Point("source.read s3", "worker/src/source.rs")),
    ("worker/src/trial.rs", KERNEL),
];

#[test]
fn no_call_leaves_a_process_beside_a_fault_point() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut found = Vec::new();
    for folder in ["fleet/src", "worker/src", "dispatcher/src"] {
        sources(&root.join(folder), &mut found);
    }
    let leaving: BTreeSet<String> = found
        .iter()
        .filter(|path| uses_a_way(&std::fs::read_to_string(path).unwrap()))
        .map(|path| path.strip_prefix(root).unwrap().display().to_string())
        .collect();
    let known: BTreeSet<String> = FILES.iter().map(|(file, _)| (*file).to_owned()).collect();
    let new: Vec<_> = leaving.difference(&known).collect();
    assert!(new.is_empty(), "calls leave by {new:?}: give them a fault point (fleet::fault), and enter them here");
    let gone: Vec<_> = known.difference(&leaving).collect();
    assert!(gone.is_empty(), "nothing leaves by {gone:?} any more");
    for (file, guard) in FILES {
        match guard {
            Point(name, at) => assert!(text(at).contains(&format!("\"{name}\"")), "{file}: no point {name} in {at}"),
            Objects => {
                assert!(text("fleet/src/objects/settings.rs").contains("crate::fault::objects(store)"), "{file}")
            }
            Queue => assert!(text("fleet/src/config.rs").contains("crate::fault::queue("), "{file}"),
            Statement => assert!(text("fleet/src/store/statement.rs").contains("at(self.site(),"), "{file}"),
            Guard::None(reason) => assert!(!reason.is_empty(), "{file}"),
        }
    }
}

/// Whether code beside tests uses one of [`WAYS`].
fn uses_a_way(text: &str) -> bool {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).any(|line| WAYS.iter().any(|way| line.contains(way)))
}

/// Rust files below a folder, but for tests and the suites that all stores and queues pass.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && !["tests.rs", "test_server.rs", "conformance.rs"].contains(&name.as_str()) {
            found.push(path);
        }
    }
}
