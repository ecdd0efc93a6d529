//! Sends the parts that are missing, several at once.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body::{Body, Frame, SizeHint};
use indicatif::ProgressBar;
use reqwest::StatusCode;

use super::UploadError;
use super::client::{Address, Client, Fault, Upload, no_answer, retry_after};
use super::file::LocalFile;
use crate::cli::UploadArgs;

/// Bytes that are handed to the connection at once.
const PIECE: usize = 64 << 10;
/// A connection on which nothing moves for this long is dead.
const STALLED: Duration = Duration::from_secs(60);
/// The store may refuse a part so often before that is believed: bytes are damaged on the way, too.
const REFUSALS: u32 = 5;

pub(super) async fn send(
    client: &Client,
    file: &LocalFile,
    upload: &Upload,
    bar: &ProgressBar,
    args: &UploadArgs,
) -> Result<(), UploadError> {
    let there: HashSet<u32> = upload.received.iter().map(|part| part.number).collect();
    let missing = (1..=upload.parts_total).filter(|number| !there.contains(number));
    let parts = missing.map(|number| async move {
        part(client, file, upload, number, bar).await?;
        if args.json {
            let line = serde_json::json!({
                "event": "part", "upload": upload.id, "number": number, "sent_bytes": bar.position(), "size_bytes": file.size(),
            });
            crate::commands::print_json(&line);
        }
        Ok(())
    });
    let parts: Vec<_> = parts.collect();
    stream::iter(parts).buffer_unordered(args.parallel as usize).try_collect::<Vec<()>>().await.map(drop)
}

async fn part(
    client: &Client,
    file: &LocalFile,
    upload: &Upload,
    number: u32,
    bar: &ProgressBar,
) -> Result<(), UploadError> {
    let offset = u64::from(number - 1) * upload.part_size_bytes;
    let length = upload.part_size_bytes.min(file.size().saturating_sub(offset));
    let (bytes, sum) = file.read(offset, length).await?;
    let sha256 = upload.checksum.is_some().then(|| STANDARD.encode(sum));
    let (address, refusals) = (tokio::sync::Mutex::new(None::<Address>), AtomicU64::new(0));
    client
        .patiently(bar, || async {
            let mut address = address.lock().await;
            let target = match address.take() {
                Some(target) => target,
                None => client.address(&upload.id, number, sha256.as_deref(), bar).await.map_err(Fault::Final)?,
            };
            let outcome = put(client, &target, &bytes, bar).await;
            match outcome {
                // The address has expired, or the credentials that signed it have: the next try asks for another.
                Err(Refusal::Other(StatusCode::FORBIDDEN, _)) => {
                    Err(Fault::Passing("the address of a part has expired".to_owned(), None))
                }
                Err(Refusal::Other(status, body)) if status.is_client_error() && !is_passing(status, &body) => {
                    let refused = refusals.fetch_add(1, Relaxed) + 1;
                    if refused < u64::from(REFUSALS) && status == StatusCode::BAD_REQUEST {
                        return Err(Fault::Passing(format!("part {number} was refused"), None));
                    }
                    let title = format!("part {number} was refused with {status}: {}", short(&body));
                    Err(Fault::Final(UploadError::Refused { code: "part_refused".to_owned(), title }))
                }
                Err(Refusal::Other(status, body)) => {
                    *address = Some(target);
                    Err(Fault::Passing(format!("{status} {}", short(&body)), None))
                }
                Err(Refusal::Passing(fault)) => {
                    *address = Some(target);
                    Err(fault)
                }
                Ok(()) => Ok(()),
            }
        })
        .await
}

enum Refusal {
    Passing(Fault),
    Other(StatusCode, String),
}

fn is_passing(status: StatusCode, body: &str) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || body.contains("part_busy")
}

/// The beginning of what a store says.
fn short(body: &str) -> String {
    body.chars().filter(|c| !c.is_control()).take(200).collect()
}

async fn put(client: &Client, target: &Address, bytes: &Bytes, bar: &ProgressBar) -> Result<(), Refusal> {
    let sent = Arc::new(AtomicU64::new(0));
    let body = Counted { left: bytes.clone(), sent: Arc::clone(&sent), bar: bar.clone() };
    let mut request = client.http().put(client.absolute(&target.url)).body(reqwest::Body::wrap(body));
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let outcome = tokio::select! {
        outcome = request.send() => outcome.map_err(|e| Refusal::Passing(no_answer(&e))),
        () = stalled(&sent) => Err(Refusal::Passing(Fault::Passing("the connection stands still".to_owned(), None))),
    };
    let outcome = match outcome {
        Ok(answer) if answer.status().is_success() => return Ok(()),
        Ok(answer) if answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS => {
            let reason = format!("the store answers {}", answer.status());
            Refusal::Passing(Fault::Passing(reason, retry_after(&answer)))
        }
        Ok(answer) => {
            let status = answer.status();
            Refusal::Other(status, answer.text().await.unwrap_or_default())
        }
        Err(refusal) => refusal,
    };
    // What went out did not arrive.
    bar.set_position(bar.position().saturating_sub(sent.load(Relaxed)));
    Err(outcome)
}

/// Ends when nothing has been sent, or answered, for too long.
async fn stalled(sent: &AtomicU64) {
    let mut last = sent.load(Relaxed);
    loop {
        tokio::time::sleep(STALLED).await;
        let now = sent.load(Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}

/// A body that tells how much of it went out.
struct Counted {
    left: Bytes,
    sent: Arc<AtomicU64>,
    bar: ProgressBar,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = PIECE.min(self.left.len());
        let piece = self.left.split_to(length);
        self.sent.fetch_add(length as u64, Relaxed);
        self.bar.inc(length as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
