//! The HTTP interface as an uploader sees it, with the patience of one.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use indicatif::ProgressBar;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::UploadError;

/// A request is not made again when it has waited this long in all: somebody has to look.
const PATIENCE: Duration = Duration::from_secs(600);
/// To make a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// For an answer of the interface; completing waits for the store.
const ANSWER: Duration = Duration::from_secs(120);

/// An upload that is wanted.
#[derive(Serialize)]
pub(super) struct UploadWish {
    pub(super) filename: String,
    pub(super) size_bytes: u64,
    pub(super) content_type: &'static str,
    pub(super) fingerprint: String,
    pub(super) checksum: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<JobWish>,
}

/// A job that is wanted of it.
#[derive(Serialize)]
pub(super) struct JobWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ladder: Option<String>,
}

/// An upload, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) checksum: Option<String>,
    pub(super) part_size_bytes: u64,
    pub(super) parts_total: u32,
    pub(super) received: Vec<ReceivedPart>,
    pub(super) received_bytes: u64,
    pub(super) job_id: Option<String>,
    pub(super) job_problem: Option<Problem>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReceivedPart {
    pub(super) number: u32,
}

/// Where a part goes.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) headers: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Addresses {
    parts: Vec<Address>,
}

/// What the server has to say against it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Problem {
    #[serde(default)]
    code: String,
    pub(super) title: String,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may work later, best after this long.
    Passing(String, Option<Duration>),
    /// It will not.
    Final(UploadError),
}

/// A server and a key.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    server: String,
    key: String,
}

/// An answer as what it should be.
pub(super) fn read<T: DeserializeOwned>(answer: &serde_json::Value) -> Result<T, UploadError> {
    T::deserialize(answer).map_err(|error| UploadError::Refused {
        code: "unreadable".to_owned(),
        title: format!("the server's answer cannot be read: {error}; is it a newer version, or no Touchline server?"),
    })
}

impl Client {
    pub(super) fn new(server: &str, key: String) -> Result<Self, UploadError> {
        let server = server.trim_end_matches('/').to_owned();
        if !(server.starts_with("http://") || server.starts_with("https://")) {
            return Err(UploadError::Where(format!("{server} is no http:// or https:// address")));
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT).build();
        let http = http.map_err(|e| UploadError::Where(format!("no HTTP client can be made: {e}")))?;
        Ok(Self { http, server, key })
    }

    /// The client, for requests to addresses of parts; they are no business of the key's.
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// An address of a part, which may begin at the server's root.
    pub(super) fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') { format!("{}{url}", self.server) } else { url.to_owned() }
    }

    pub(super) async fn create(&self, wish: &UploadWish, bar: &ProgressBar) -> Result<Upload, UploadError> {
        read(&self.call(Method::POST, "/v1/uploads", Some(wish), bar).await?)
    }

    pub(super) async fn get(&self, id: &str, bar: &ProgressBar) -> Result<Upload, UploadError> {
        read(&self.call(Method::GET, &format!("/v1/uploads/{id}"), None::<&()>, bar).await?)
    }

    pub(super) async fn address(
        &self,
        id: &str,
        number: u32,
        sha256: Option<&str>,
        bar: &ProgressBar,
    ) -> Result<Address, UploadError> {
        let body = serde_json::json!({ "parts": [{ "number": number, "sha256": sha256 }] });
        let answer = self.call(Method::POST, &format!("/v1/uploads/{id}/parts"), Some(&body), bar).await?;
        let found: Addresses = read(&answer)?;
        found.parts.into_iter().next().ok_or_else(|| UploadError::Refused {
            code: "unreadable".to_owned(),
            title: format!("the server gave no address for part {number}"),
        })
    }

    pub(super) async fn complete(&self, id: &str, bar: &ProgressBar) -> Result<serde_json::Value, UploadError> {
        self.call(Method::POST, &format!("/v1/uploads/{id}/complete"), None::<&()>, bar).await
    }

    pub(super) async fn abort(&self, id: &str, bar: &ProgressBar) -> Result<(), UploadError> {
        self.call(Method::DELETE, &format!("/v1/uploads/{id}"), None::<&()>, bar).await.map(drop)
    }

    async fn call<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        bar: &ProgressBar,
    ) -> Result<serde_json::Value, UploadError> {
        self.patiently(bar, || async {
            let request = self.http.request(method.clone(), format!("{}{path}", self.server));
            let request = request.bearer_auth(&self.key).timeout(ANSWER);
            let request = if let Some(body) = body { request.json(body) } else { request };
            let answer = request.send().await.map_err(|e| no_answer(&e))?;
            let (status, after) = (answer.status(), retry_after(&answer));
            let bytes = answer.bytes().await.map_err(|e| no_answer(&e))?;
            if status == StatusCode::NO_CONTENT {
                return Ok(serde_json::Value::Null);
            }
            if status.is_success() {
                let unreadable =
                    |e: serde_json::Error| Fault::Final(UploadError::Where(format!("{}: {e}", self.server)));
                return serde_json::from_slice(&bytes).map_err(unreadable);
            }
            Err(refusal(status, after, &bytes))
        })
        .await
    }

    /// Tries until it works, is refused, or nothing has worked for too long.
    pub(super) async fn patiently<T, F>(
        &self,
        bar: &ProgressBar,
        mut request: impl FnMut() -> F,
    ) -> Result<T, UploadError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut delays = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(300))
            .with_max_delay(Duration::from_secs(20))
            .without_max_times()
            .build();
        let mut waited = Duration::ZERO;
        loop {
            match request().await {
                Ok(answer) => {
                    bar.set_message("");
                    return Ok(answer);
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(reason, after)) => {
                    let wait = after.or_else(|| delays.next()).unwrap_or(Duration::from_secs(20));
                    waited += wait;
                    if waited > PATIENCE {
                        return Err(UploadError::Unavailable { server: self.server.clone(), reason });
                    }
                    // Where there is no bar to say it.
                    if bar.is_hidden() && waited == wait {
                        let minutes = PATIENCE.as_secs() / 60;
                        tracing::warn!(server = self.server, reason, "trying again, for up to {minutes} min");
                    }
                    tracing::debug!(reason, ?wait, "trying again");
                    bar.set_message(format!("({reason}; trying again)"));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// What it means that there was no answer. Addresses of parts are permissions, so they are not told.
pub(super) fn no_answer(error: &reqwest::Error) -> Fault {
    let reason = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    Fault::Passing(reason.to_owned(), None)
}

pub(super) fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let seconds = answer.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(Duration::from_secs(60)))
}

/// What a refusal of the interface means.
fn refusal(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Fault {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let problem = problem.unwrap_or_else(|| Problem { code: status.as_u16().to_string(), title: status.to_string() });
    let is_passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || matches!(problem.code.as_str(), "upload_busy" | "idempotency_in_progress");
    match is_passing {
        true => Fault::Passing(problem.title.trim_end_matches('.').to_owned(), after),
        false => Fault::Final(UploadError::Refused { code: problem.code, title: problem.title }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let problem = |code: &str| format!(r#"{{"code":"{code}","title":"Because."}}"#);
        for (status, code) in [(503, "unavailable"), (429, "rate_limited"), (409, "upload_busy"), (502, "")] {
            let fault = refusal(StatusCode::from_u16(status).unwrap(), None, problem(code).as_bytes());
            assert!(matches!(&fault, Fault::Passing(reason, _) if reason == "Because"), "{status} {code}: {fault:?}");
        }
        for (status, code) in
            [(401, "unauthorized"), (403, "quota_exceeded"), (409, "upload_incomplete"), (413, "too_large")]
        {
            let fault = refusal(StatusCode::from_u16(status).unwrap(), None, problem(code).as_bytes());
            assert!(matches!(&fault, Fault::Final(UploadError::Refused { code: c, .. }) if c == code), "{fault:?}");
        }
        let fault = refusal(StatusCode::BAD_GATEWAY, None, b"<html>");
        assert!(matches!(&fault, Fault::Passing(reason, _) if reason.contains("502")), "{fault:?}");
    }
}
