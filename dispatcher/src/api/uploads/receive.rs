//! Takes parts itself, where the store is a folder: `PUT /uploads/{token}`. The token names the part, its length and
//! checksum, and nobody can make one but us; it is checked before a byte of the body is read.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::put;
use fleet::objects::{ObjectError, Part, PartError};
use fleet::store::uploads::UploadState;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::input::Place;
use super::super::problem::Problem;
use super::super::{Api, BadToken, Shared};
use super::{no_upload, not_open};

/// What tokens of parts are signed for.
const PURPOSE: &str = "part";
/// A client of which nothing comes for this long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// One part of one upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartGrant {
    #[serde(rename = "u")]
    upload: Uuid,
    #[serde(rename = "n")]
    number: u32,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl PartGrant {
    /// The address that takes a part until then.
    pub(super) fn url(api: &Api, upload: Uuid, part: &Part, until: OffsetDateTime) -> String {
        let grant = Self { upload, number: part.number, sha256: part.sha256.clone() };
        api.url(&format!("/uploads/{}", api.signer.seal(PURPOSE, &grant, until.unix_timestamp())))
    }
}

/// What takes parts; outside the limits on size and time that hold for requests of the interface.
pub(in super::super) fn routes() -> Router<Shared> {
    Router::new().route("/uploads/{token}", put(receive))
}

async fn receive(
    State(api): State<Shared>,
    Place(token): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let grant: PartGrant = api.signer.open(PURPOSE, &token, now).map_err(|bad| match bad {
        BadToken::Invalid => Problem::forbidden("This is no address of a part."),
        BadToken::Expired => {
            Problem::new(StatusCode::FORBIDDEN, "address_expired", "The address has expired; ask for another.")
        }
    })?;
    let uploads = api.uploads().await?;
    let receiver = uploads.receiver().ok_or_else(no_upload)?;
    let row = api.store.any_upload(grant.upload).await?.ok_or_else(no_upload)?;
    if row.state != UploadState::Open {
        return Err(not_open(row.state));
    }
    let (_, size) = row.multipart.range(grant.number).ok_or_else(no_upload)?;
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if announced != Some(size) {
        let title = format!("Part {} must come with Content-Length: {size}.", grant.number);
        return Err(Problem::new(StatusCode::BAD_REQUEST, "wrong_length", title));
    }
    let part = Part { number: grant.number, sha256: grant.sha256 };
    let body = stream::unfold(body.into_data_stream(), |mut body| async {
        let piece = match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(piece) => piece?.map_err(|e| e.to_string()),
            Err(_) => Err(format!("nothing came for {} s", SILENCE.as_secs())),
        };
        Some((piece, body))
    });
    receiver.receive(&row.multipart, &part, body.boxed()).await.map_err(problem)?;
    Ok(StatusCode::OK)
}

fn problem(error: PartError) -> Problem {
    let bad = |code| Problem::new(StatusCode::BAD_REQUEST, code, format!("{error}."));
    match &error {
        PartError::Length { .. } => bad("wrong_length"),
        PartError::Checksum { .. } => bad("wrong_checksum"),
        PartError::BrokeOff { .. } => bad("broke_off"),
        PartError::Busy { .. } => Problem::conflict("part_busy", format!("{error}.")).after(1),
        PartError::Store(ObjectError::NotFound { .. }) => not_open(UploadState::Aborted),
        PartError::Store(error) => error.clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::Request;
    use fleet::config::Config;
    use fleet::objects::FolderStore;
    use fleet::store::{Store, StoreOptions};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn an_address_that_has_expired_or_was_made_elsewhere_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let text = "output = 'out'\n[api]\nsigning_secret = '0123456789abcdef0123456789abcdef'\nuploads = 'up'\n\
            [[regions]]\nname = 'local'\nqueue = 'postgres'\n";
        let config = Config::parse("test", text).unwrap();
        // Nobody listens there: what is refused is refused without asking.
        let store = Store::open(&StoreOptions::new("postgres://nobody@127.0.0.1:1/none", "test")).unwrap();
        let api = Api::new(&config, store, Arc::new(FolderStore::open(dir.path()).unwrap())).unwrap();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let grant = PartGrant { upload: Uuid::from_u128(7), number: 1, sha256: None };
        let other = crate::api::Signer::new("another secret, just as long as it");
        for (token, code) in [
            (api.signer.seal(PURPOSE, &grant, now - 1), "address_expired"),
            (api.signer.seal("play", &grant, now + 60), "forbidden"),
            (other.seal(PURPOSE, &grant, now + 60), "forbidden"),
            ("none".to_owned(), "forbidden"),
        ] {
            let request = Request::put(format!("/uploads/{token}")).body(Body::from("bytes")).unwrap();
            let answer = routes().with_state(api.clone()).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{code}");
            let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
            assert!(String::from_utf8_lossy(&body).contains(code), "{body:?}");
        }
    }
}
