//! One try: a signed request, and what follows from its answer.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::fault::call;
use fleet::store::webhooks::deliver::{ClaimedDelivery, Then, Try};
use reqwest::{Client, Response, StatusCode, header, redirect};
use time::OffsetDateTime;

use super::guard::{Guard, GuardedResolver, Refused};
use super::sign;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// For all of a try.
const TOTAL: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read, so that the connection can be used again; what it says does not matter.
const MAX_ANSWER: usize = 64 << 10;
/// Longest `retry-after` that is heeded.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Part by which a pause is shorter or longer, by chance: so that what failed together does not come back together.
const JITTER: f64 = 0.1;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
/// Seconds between a failed try and the next: eleven tries within three days.
pub const SCHEDULE: [u64; 10] =
    [5, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 18 * HOUR, 22 * HOUR];

/// The client for deliveries: it looks names up under the guard, follows nothing and uses no proxy.
///
/// # Errors
/// There is no TLS.
pub fn client(guard: Arc<Guard>) -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(concat!("touchline/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .dns_resolver(GuardedResolver::new(guard))
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(4)
        .build()
}

/// The message's id, the same for every try and for a replay.
#[must_use]
pub fn message_id(delivery: uuid::Uuid) -> String {
    format!("msg_{}", delivery.simple())
}

/// Sends a delivery once.
pub async fn attempt(guard: &Guard, client: &Client, delivery: &ClaimedDelivery) -> Try {
    let started = Instant::now();
    let answer = send(guard, client, delivery).await;
    let took = started.elapsed();
    match answer {
        Ok(answer) => {
            let status = answer.status();
            let (error, then) = judge(status, retry_after(&answer), delivery.tries);
            discard(answer).await;
            Try { status: Some(status.as_u16()), took, error, then }
        }
        Err(failure) => Try { status: None, took, error: Some(failure), then: after_failure(delivery.tries, None) },
    }
}

async fn send(guard: &Guard, client: &Client, delivery: &ClaimedDelivery) -> Result<Response, String> {
    let url = guard.check(&delivery.url).map_err(|refused| refused.to_string())?;
    let body = delivery.payload.to_string();
    let id = message_id(delivery.id);
    let timestamp = OffsetDateTime::now_utc().unix_timestamp();
    let secrets: Vec<&str> = std::iter::once(delivery.secret.as_str()).chain(delivery.old_secret.as_deref()).collect();
    let signatures = sign::signatures(&secrets, &id, timestamp, body.as_bytes()).map_err(|e| e.to_string())?;
    let request = client
        .post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures)
        .body(body);
    call("webhook.send", async { request.send().await.map_err(|error| explain(&error)) }).await
}

/// Why there was no answer, in words for the webhook's owner.
fn explain(error: &reqwest::Error) -> String {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(refused) = one.downcast_ref::<Refused>() {
            return refused.to_string();
        }
        cause = one.source();
    }
    if error.is_timeout() && error.is_connect() {
        format!("no connection within {} s", CONNECT.as_secs())
    } else if error.is_timeout() {
        format!("no answer within {} s", TOTAL.as_secs())
    } else if error.is_dns() {
        "the name cannot be resolved".to_owned()
    } else if error.is_connect() {
        "no connection: refused, or TLS failed".to_owned()
    } else {
        "the connection ended before an answer".to_owned()
    }
}

/// What an answer means.
fn judge(status: StatusCode, retry_after: Option<Duration>, tries: i32) -> (Option<String>, Then) {
    if status.is_success() {
        return (None, Then::Delivered);
    }
    if status == StatusCode::GONE {
        return (Some("the receiver answered 410: it wants no more messages".to_owned()), Then::Gone);
    }
    let error = if status.is_redirection() {
        format!("the receiver answered {}: redirects are not followed", status.as_u16())
    } else {
        format!("the receiver answered {}", status.as_u16())
    };
    let asked =
        retry_after.filter(|_| matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE));
    (Some(error), after_failure(tries, asked))
}

/// What follows the `tries`-th try when it failed; a receiver may ask for a longer pause.
fn after_failure(tries: i32, asked: Option<Duration>) -> Then {
    let place = usize::try_from(tries - 1).unwrap_or(0);
    let Some(pause) = SCHEDULE.get(place) else { return Then::GiveUp };
    let chance = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
    let pause = Duration::from_secs(*pause).mul_f64(chance);
    Then::Again(asked.map_or(pause, |asked| pause.max(asked.min(MAX_RETRY_AFTER))))
}

/// The pause a receiver asks for, in seconds; a date is not heeded.
fn retry_after(answer: &Response) -> Option<Duration> {
    answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Reads a short answer to its end and drops a long one with its connection.
async fn discard(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(piece)) = answer.chunk().await {
        read += piece.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_ends_within_three_days() {
        let most: f64 = SCHEDULE.iter().map(|s| *s as f64 * (1.0 + JITTER)).sum();
        let least: f64 = SCHEDULE.iter().map(|s| *s as f64 * (1.0 - JITTER)).sum();
        assert!(most < 3.5 * 86400.0 && least > 2.5 * 86400.0, "{least} to {most} s");
        assert!(SCHEDULE.is_sorted());
    }

    #[test]
    fn each_failure_waits_as_the_schedule_says_give_or_take_a_tenth() {
        for (place, pause) in SCHEDULE.iter().enumerate() {
            let tries = i32::try_from(place).unwrap() + 1;
            for _ in 0..50 {
                let Then::Again(waits) = after_failure(tries, None) else { panic!("try {tries} has a next one") };
                let ratio = waits.as_secs_f64() / *pause as f64;
                assert!((0.9..=1.1).contains(&ratio), "try {tries} waits {waits:?}");
            }
        }
        assert_eq!(after_failure(11, None), Then::GiveUp);
        assert_eq!(after_failure(i32::MAX, None), Then::GiveUp);
    }

    #[test]
    fn answers_mean_what_the_documentation_says() {
        let then = |status: u16, tries| judge(StatusCode::from_u16(status).unwrap(), None, tries).1;
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(then(status, 1), Then::Delivered, "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 404, 429, 500, 502, 503] {
            assert!(matches!(then(status, 1), Then::Again(_)), "{status}");
            assert_eq!(then(status, 11), Then::GiveUp, "{status}");
        }
        assert_eq!(then(410, 1), Then::Gone);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_but_not_for_a_shorter_one_nor_for_ever() {
        let asked = |s| judge(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_secs(s)), 1).1;
        assert_eq!(asked(120), Then::Again(Duration::from_secs(120)));
        assert!(matches!(asked(0), Then::Again(pause) if pause.as_secs_f64() >= 4.5));
        assert_eq!(asked(u64::MAX), Then::Again(MAX_RETRY_AFTER));
        let Then::Again(pause) = judge(StatusCode::NOT_FOUND, Some(Duration::from_secs(120)), 1).1 else { panic!() };
        assert!(pause.as_secs() < 6, "only 429 and 503 may");
    }
}
