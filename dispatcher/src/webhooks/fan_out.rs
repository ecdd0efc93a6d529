//! What a message says: `{type, timestamp, data}`. Part of the public interface: fields are added, never renamed.

use fleet::failure::FailureCode;
use fleet::state::JobState;
use fleet::store::jobs::JobRow;
use fleet::store::ledger::budget::CAP_REACHED_EVENT;
use fleet::store::webhooks::fan_out::ReadEvent;
use fleet::store::webhooks::{PROGRESS, TEST};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::api::Job;

/// The body for an event. How a job ended is as the event says, whatever became of the job since.
#[must_use]
pub fn payload(event: &ReadEvent, job: Option<&JobRow>) -> Value {
    let mut data = match (event.job_id, job) {
        (Some(_), Some(row)) => {
            let mut job = told(row);
            if let Some(state) = ended_as(&event.kind) {
                job["state"] = state.as_str().into();
                job["failure"] = failure(&event.data);
            }
            json!({ "job": job })
        }
        // Its rows are kept no longer.
        (Some(id), None) => json!({ "job": { "id": id } }),
        (None, _) => json!({}),
    };
    if event.kind.starts_with("upload.") {
        data["upload"] = upload(event);
    }
    if event.kind.starts_with("clip.") {
        data["clip"] = json!({ "id": event.data["clip_id"], "error": event.data["coach"] });
    }
    if event.kind == CAP_REACHED_EVENT {
        data["cap"] = event.data.clone();
    }
    message(&event.kind, event.at, data)
}

/// The body for a job that came to another tenth.
#[must_use]
pub fn progress_payload(job: &JobRow, tenth: u8) -> Value {
    let data = json!({ "job": told(job), "progress": f64::from(tenth) / 10.0 });
    message(PROGRESS, OffsetDateTime::now_utc(), data)
}

/// The body of a message that tries a webhook out.
#[must_use]
pub fn test_payload(webhook: Uuid) -> Value {
    message(TEST, OffsetDateTime::now_utc(), json!({ "webhook": { "id": webhook } }))
}

fn message(kind: &str, at: OffsetDateTime, data: Value) -> Value {
    let timestamp = at.format(&Rfc3339).expect("years of four digits have a form in RFC 3339");
    json!({ "type": kind, "timestamp": timestamp, "data": data })
}

/// A job as `GET /v1/jobs/{id}` tells of it, without what is for ops alone.
fn told(row: &JobRow) -> Value {
    serde_json::to_value(Job::of(row, false)).expect("a job is plain data")
}

/// An upload, in short; `GET /v1/uploads/{id}` tells the rest.
fn upload(event: &ReadEvent) -> Value {
    let of = |field: &str| event.data[field].clone();
    json!({ "id": of("upload_id"), "filename": of("filename"), "size_bytes": of("size_bytes"), "job_id": event.job_id })
}

/// The state in which an event leaves its job, when it ends it.
fn ended_as(kind: &str) -> Option<JobState> {
    kind.strip_prefix("job.").and_then(JobState::from_word).filter(|state| state.is_final())
}

/// Why a job failed: what is for the coach.
fn failure(data: &Value) -> Value {
    match (data["code"].as_str(), data["coach"].as_str()) {
        (Some(code), Some(message)) => {
            let retryable = FailureCode::from_code(code).is_none_or(FailureCode::is_retryable);
            json!({ "code": code, "message": message, "retryable": retryable, "detail": null })
        }
        _ => Value::Null,
    }
}
