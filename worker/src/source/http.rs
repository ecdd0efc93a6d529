//! A source on a web server.
//!
//! Only `GET` is used: a presigned URL is signed for one method, so a `HEAD` to learn the length would be refused.
//! The length comes with the first block instead.
//!
//! Where strangers name the address, only what [`Reach`] permits is connected to: the address itself, those that its name
//! leads to at the moment of connecting, and the targets of redirects.

mod reach;

use std::sync::Arc;

use bytes::Bytes;
use fleet::internet::{OutOfReach, Reach};
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::range_response::{ContentRange, ExactBody, Range};
use super::retry::with_retries;
use super::{NetworkOptions, SourceError};

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;

/// Longest validator (`ETag`, Last-Modified) that is remembered; it becomes part of the identity.
const MAX_VALIDATOR_LEN: usize = 1024;

/// A resource that serves ranges, and the version of it that was opened.
pub(super) struct HttpObject {
    input: String,
    client: Client,
    url: Url,
    len: u64,
    validator: Validator,
    network: NetworkOptions,
}

/// What tells one content of a resource from another (RFC 9110 section 8.8).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Validator {
    Etag(String),
    LastModified(String),
    /// The server sends neither; the length must do.
    None,
}

impl Validator {
    fn of(headers: &HeaderMap) -> Self {
        let read = |name| text_of(headers, name).filter(|text| text.len() <= MAX_VALIDATOR_LEN).map(str::to_owned);
        read(header::ETAG)
            .map(Self::Etag)
            .or_else(|| read(header::LAST_MODIFIED).map(Self::LastModified))
            .unwrap_or(Self::None)
    }

    /// The header that has the server refuse another version. Weak tags never match `If-Match` (RFC 9110 section
    /// 13.1.1), so for them the comparison of the answer has to do.
    fn precondition(&self) -> Option<(HeaderName, &str)> {
        match self {
            Self::Etag(tag) if tag.starts_with("W/") => None,
            Self::Etag(tag) => Some((header::IF_MATCH, tag)),
            Self::LastModified(date) => Some((header::IF_UNMODIFIED_SINCE, date)),
            Self::None => None,
        }
    }
}

impl HttpObject {
    /// Opens the resource and returns its first `first_len` bytes with it, or all of them if it is shorter.
    pub(super) async fn open(
        input: String,
        url: Url,
        (network, reach): (NetworkOptions, Option<Arc<Reach>>),
        first_len: usize,
    ) -> Result<(Self, Bytes), SourceError> {
        let builder = Client::builder()
            .user_agent(concat!("touchline/", env!("CARGO_PKG_VERSION")))
            // A redirect's target has no business knowing a presigned URL.
            .referer(false)
            .connect_timeout(network.connect_timeout)
            .read_timeout(network.idle_timeout);
        let builder = match reach {
            None => builder.redirect(reqwest::redirect::Policy::limited(MAX_REDIRECTS)),
            Some(reach) if reach.permits_host(&url) => reach::confine(builder, reach, MAX_REDIRECTS),
            Some(_) => return Err(refused(&input)),
        };
        let client = builder.build().map_err(|error| SourceError::setup(&input, error.without_url()))?;
        let (len, validator, first) =
            with_retries(&input, &network, || probe(&input, &client, &url, first_len)).await?;
        let object = Self { input, client, url, len, validator, network };
        Ok((object, first))
    }

    /// Bytes in the resource when it was opened.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Length and validator.
    pub(super) fn identity(&self) -> String {
        let validator = match &self.validator {
            Validator::Etag(text) | Validator::LastModified(text) => text,
            Validator::None => "",
        };
        format!("http:{}:{validator}", self.len)
    }

    /// Reads exactly `len` bytes, which the caller keeps within the resource.
    pub(super) async fn get(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        with_retries(&self.input, &self.network, || self.request(offset, len)).await
    }

    async fn request(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let precondition = self.validator.precondition();
        let response = send(&self.input, &self.client, &self.url, offset, len, precondition).await?;
        if let Some(error) = SourceError::from_status(&self.input, response.status().as_u16()) {
            return Err(error);
        }
        if Validator::of(response.headers()) != self.validator {
            return Err(SourceError::Changed { input: self.input.clone() });
        }
        let range = Range { offset, len, total: self.len };
        range.check(&self.input, content_range(&response), response.content_length())?;
        read_body(&self.input, response, len).await
    }
}

/// The first request: length, validator and first bytes.
async fn probe(
    input: &str,
    client: &Client,
    url: &Url,
    first_len: usize,
) -> Result<(u64, Validator, Bytes), SourceError> {
    let response = send(input, client, url, 0, first_len, None).await?;
    let status = response.status();
    let sent = content_range(&response).and_then(ContentRange::parse);
    // An empty resource has no first byte to send (RFC 9110 section 15.5.17).
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        return match sent {
            Some(ContentRange { bytes: None, total: 0 }) => Ok((0, Validator::of(response.headers()), Bytes::new())),
            _ => Err(SourceError::invalid(input, "the first bytes were refused with status 416")),
        };
    }
    if let Some(error) = SourceError::from_status(input, status.as_u16()) {
        return Err(error);
    }
    let total = match sent {
        Some(sent) => sent.total,
        None if content_range(&response).is_some() => {
            return Err(SourceError::invalid(input, "bad content-range header"));
        }
        None => response.content_length().ok_or_else(|| SourceError::RangesUnsupported { input: input.to_owned() })?,
    };
    let len = usize::try_from(total).unwrap_or(usize::MAX).min(first_len);
    let validator = Validator::of(response.headers());
    if len > 0 {
        let range = Range { offset: 0, len, total };
        range.check(input, content_range(&response), response.content_length())?;
    }
    Ok((total, validator, read_body(input, response, len).await?))
}

async fn send(
    input: &str,
    client: &Client,
    url: &Url,
    offset: u64,
    len: usize,
    precondition: Option<(HeaderName, &str)>,
) -> Result<Response, SourceError> {
    let mut request = client
        .get(url.clone())
        .header(header::RANGE, Range::header(offset, len))
        // Ranges of a compressed body would be ranges of other bytes.
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some((name, value)) = precondition {
        request = request.header(name, value);
    }
    let response = request.send().await.map_err(|error| from_reqwest(input, error))?;
    match text_of(response.headers(), header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            Err(SourceError::invalid(input, "a compressed body"))
        }
        _ => Ok(response),
    }
}

async fn read_body(input: &str, mut response: Response, len: usize) -> Result<Bytes, SourceError> {
    let mut body = ExactBody::new(input, len);
    while let Some(piece) = response.chunk().await.map_err(|error| from_reqwest(input, error))? {
        body.push(&piece)?;
    }
    body.finish()
}

fn content_range(response: &Response) -> Option<&str> {
    text_of(response.headers(), header::CONTENT_RANGE)
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn refused(input: &str) -> SourceError {
    SourceError::BadLocation { input: input.to_owned(), reason: OutOfReach.to_string() }
}

fn from_reqwest(input: &str, error: reqwest::Error) -> SourceError {
    // Also the target of a redirect may be a presigned URL.
    let error = error.without_url();
    if reach::is_refusal(&error) {
        refused(input)
    } else if error.is_builder() {
        SourceError::setup(input, error)
    } else if error.is_redirect() {
        SourceError::invalid(input, format!("more than {MAX_REDIRECTS} redirects, or one that leads nowhere"))
    } else {
        SourceError::unavailable(input, error)
    }
}

#[cfg(test)]
mod tests;
