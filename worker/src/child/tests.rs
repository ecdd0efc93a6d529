//! A child that has been taken over says what it likes; these are the parent's answers.

use std::io::Write;
use std::os::unix::net::UnixStream as Socket;

use super::*;
use crate::confinement::Layers;
use crate::protocol::{MAX_HEADER, MAX_PAYLOAD};

const TASK: TaskLimits =
    TaskLimits { time: Duration::from_secs(30), memory: 64 << 20, output: 1000, header: 500, payload: 600 };

/// An engine whose words the test writes; its process does what `program` does.
async fn fake(program: &[&str]) -> (EngineProcess, Socket) {
    let (ours, _theirs) = Socket::pair().unwrap();
    let (control, mut mouth) = Socket::pair().unwrap();
    let child = tokio::process::Command::new(program[0]).args(&program[1..]).kill_on_drop(true).spawn().unwrap();
    say(&mut mouth, &ready(Layers::None), &[]);
    let mut engine = Engines::with(Layers::None).attend(child, ours, control, None).await.unwrap();
    engine.send(&Command::Probe, TASK).await.unwrap();
    (engine, mouth)
}

fn ready(layers: Layers) -> Event {
    Event::Ready(Confinement { layers, landlock_abi: None, gpu: false, refused: Vec::new() })
}

fn say(mouth: &mut Socket, event: &Event, payload: &[u8]) {
    protocol::write(mouth, event, payload).unwrap();
}

fn failed(code: FailureCode, message: &str) -> Event {
    Event::Failed { code, message: message.to_owned() }
}

async fn code_of(bytes: &[u8]) -> FailureCode {
    let (mut engine, mut mouth) = fake(&["sleep", "60"]).await;
    mouth.write_all(bytes).unwrap();
    engine.next().await.unwrap_err().code
}

#[tokio::test]
async fn a_message_longer_than_the_task_allows_ends_the_engine_before_memory_is_taken() {
    for (header, payload) in [(u32::MAX, 0), (0, u32::MAX), (MAX_HEADER, 0), (501, 0), (2, MAX_PAYLOAD), (2, 601)] {
        let prefix = [header.to_le_bytes(), payload.to_le_bytes()].concat();
        assert_eq!(code_of(&prefix).await, FailureCode::EngineProtocol, "{header} {payload}");
    }
}

#[tokio::test]
async fn what_is_not_an_event_is_a_breach_of_protocol() {
    let wrap = |json: &str| {
        let length = u32::try_from(json.len()).unwrap().to_le_bytes();
        [length.to_vec(), vec![0; 4], json.as_bytes().to_vec()].concat()
    };
    for json in
        ["", "null", "{}", "[1,2]", "{\"event\":\"format_disk\"}", "{\"event\":\"progress\",\"frames\":-1}", "\u{1}"]
    {
        assert_eq!(code_of(&wrap(json)).await, FailureCode::EngineProtocol, "{json:?}");
    }
    let nested = "[".repeat(400);
    assert_eq!(code_of(&wrap(&nested)).await, FailureCode::EngineProtocol);
}

#[tokio::test]
async fn an_engine_cannot_speak_for_its_parent() {
    for code in FailureCode::ALL {
        let (mut engine, mut mouth) = fake(&["sleep", "60"]).await;
        say(&mut mouth, &failed(code, "so\n\u{1b}[31mit is"), &[]);
        let error = engine.next().await.unwrap_err();
        let wanted = if is_an_engines_to_say(code) { code } else { FailureCode::EngineProtocol };
        assert_eq!(error.code, wanted);
        assert!(!error.message.chars().any(char::is_control), "{error}");
    }
    // Handed back for nothing, or tried for ever: never on an engine's word.
    for code in [FailureCode::Cancelled, FailureCode::SandboxUnavailable, FailureCode::OutputFailed] {
        assert!(!is_an_engines_to_say(code), "{code}");
    }
    assert_eq!(sentence(&"x".repeat(9000)).len(), MAX_SENTENCE);
}

#[tokio::test]
async fn more_than_the_task_may_hand_over_is_refused() {
    let (mut engine, mut mouth) = fake(&["sleep", "60"]).await;
    for _ in 0..2 {
        say(&mut mouth, &Event::Progress { frames: 1 }, &[0; 501]);
    }
    assert!(engine.next().await.is_ok());
    assert_eq!(engine.next().await.unwrap_err().code, FailureCode::EngineProtocol);
}

#[tokio::test]
async fn an_engine_that_is_not_locked_in_as_asked_never_starts() {
    for (said, asked) in [(Layers::None, Layers::Both), (Layers::Landlock, Layers::Both), (Layers::Both, Layers::Both)]
    {
        let (ours, _theirs) = Socket::pair().unwrap();
        let (control, mut mouth) = Socket::pair().unwrap();
        // What it says of itself does not count where the kernel says otherwise.
        let child = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        say(&mut mouth, &ready(said), &[]);
        let refused = Engines::with(asked).attend(child, ours, control, None).await.err().map(|e| e.code);
        assert_eq!(refused, Some(FailureCode::SandboxUnavailable), "{said:?} for {asked:?}");
    }
}

#[tokio::test]
async fn a_process_that_takes_more_memory_than_its_task_may_is_ended() {
    let hungry = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 60; echo ${#x}";
    let (mut engine, mouth) = fake(&["bash", "-c", hungry]).await;
    engine.ended.wait_for(Option::is_some).await.unwrap();
    drop(mouth);
    let error = engine.next().await.unwrap_err();
    assert_eq!(error.code, FailureCode::LimitExceeded, "{error}");
    assert!(!engine.is_alive());
}

#[tokio::test]
async fn the_way_a_process_ends_tells_crash_and_violation_apart() {
    for (signal, code) in [("SEGV", FailureCode::EngineCrashed), ("SYS", FailureCode::EngineViolation)] {
        let (mut engine, mouth) = fake(&["bash", "-c", &format!("kill -{signal} $$")]).await;
        drop(mouth);
        assert_eq!(engine.next().await.unwrap_err().code, code);
    }
    let (mut engine, mut mouth) = fake(&["true"]).await;
    mouth.write_all(&[1, 0, 0]).unwrap();
    drop(mouth);
    assert_eq!(engine.next().await.unwrap_err().code, FailureCode::EngineCrashed);
}

#[tokio::test]
async fn an_engine_that_keeps_its_parent_waiting_past_its_time_is_given_up() {
    let (mut engine, _mouth) = fake(&["sleep", "60"]).await;
    engine.send(&Command::Probe, TaskLimits { time: Duration::ZERO, ..TASK }).await.unwrap();
    assert_eq!(engine.next().await.unwrap_err().code, FailureCode::EngineHung);
}
