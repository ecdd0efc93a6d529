//! Why a request failed, and whether to make it again.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::super::ObjectError;
use super::super::key::{invalid, unavailable};

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The same request may succeed later.
    Passing(ObjectError),
    /// It will not.
    Final(ObjectError),
    /// The store does not know the operation, or one of its headers.
    Unsupported(ObjectError),
}

impl From<Fault> for ObjectError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Passing(error) | Fault::Final(error) | Fault::Unsupported(error) => error,
        }
    }
}

impl Fault {
    pub(super) fn passing(key: &str, reason: impl Into<String>) -> Self {
        Self::Passing(unavailable(key, reason))
    }

    pub(super) fn invalid(key: &str, reason: impl Into<String>) -> Self {
        Self::Final(invalid(key, reason))
    }

    /// What an answer of the store means, or that there was none.
    pub(super) fn from_sdk<E>(key: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let response = match error {
            SdkError::ServiceError(service) => service.raw(),
            SdkError::ConstructionFailure(_) => return Self::invalid(key, with_causes(error)),
            SdkError::TimeoutError(_) => return Self::passing(key, "no answer in time"),
            // No connection, or no credentials: their provider may be back later. Or an answer that is none.
            _ => return Self::passing(key, with_causes(error)),
        };
        let region = response.headers().get("x-amz-bucket-region");
        let mut fault = from_answer(key, response.status().as_u16(), error.code().unwrap_or_default());
        if let (Some(region), Self::Final(ObjectError::Invalid { reason, .. })) = (region, &mut fault) {
            reason.push_str(&format!("; the bucket is in region {region}"));
        }
        fault
    }
}

/// An error with its causes; the SDK's own words for it end in a dump of all fields.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What a status and a code mean (Amazon S3 API Reference, "Error responses"). Answers to `HEAD` have no code.
fn from_answer(key: &str, status: u16, code: &str) -> Fault {
    match (status, code) {
        (_, "NotImplemented" | "MissingContentMD5") | (501, _) => {
            Fault::Unsupported(invalid(key, "the store does not implement this"))
        }
        (_, "InvalidObjectState") => Fault::invalid(key, "the object is archived: restore it first"),
        // Clocks that differ and expired tokens pass; the first two of the others come with status 400.
        (_, "RequestTimeTooSkewed" | "ExpiredToken" | "RequestTimeout" | "IncompleteBody" | "SlowDown")
        | (408 | 429 | 500.., _) => Fault::passing(key, format!("status {status}, {code}")),
        (404, _) => Fault::Final(ObjectError::NotFound { key: key.to_owned() }),
        (412, _) => Fault::Final(ObjectError::PreconditionFailed { key: key.to_owned() }),
        // Another write is under way; S3 asks to try again, and then says which one won.
        (409, _) => Fault::Passing(ObjectError::PreconditionFailed { key: key.to_owned() }),
        (401 | 403, _) => Fault::Final(ObjectError::Forbidden { key: key.to_owned() }),
        _ => Fault::invalid(key, format!("the store refuses with status {status}, {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_s3_documents() {
        let passing =
            [(503, "SlowDown"), (400, "RequestTimeout"), (429, ""), (500, "InternalError"), (403, "ExpiredToken")];
        for (status, code) in passing {
            let fault = from_answer("k", status, code);
            assert!(matches!(fault, Fault::Passing(ObjectError::Unavailable { .. })), "{status} {code}: {fault:?}");
        }
        assert!(matches!(from_answer("k", 409, "ConditionalRequestConflict"), Fault::Passing(_)));
        for (status, code) in [(501, ""), (400, "NotImplemented"), (400, "MissingContentMD5")] {
            assert!(matches!(from_answer("k", status, code), Fault::Unsupported(_)), "{status} {code}");
        }
        assert!(matches!(from_answer("k", 403, "AccessDenied"), Fault::Final(ObjectError::Forbidden { .. })));
        assert!(matches!(from_answer("k", 404, ""), Fault::Final(ObjectError::NotFound { .. })));
        assert!(matches!(from_answer("k", 412, ""), Fault::Final(ObjectError::PreconditionFailed { .. })));
        assert!(matches!(from_answer("k", 301, "PermanentRedirect"), Fault::Final(ObjectError::Invalid { .. })));
    }
}
