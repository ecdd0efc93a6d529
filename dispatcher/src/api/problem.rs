//! Errors as clients see them: problem details (RFC 9457) with a stable code. Causes stay in the log.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet::objects::ObjectError;
use fleet::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Clone, Debug, ToSchema)]
pub struct Problem(Box<ProblemDetails>);

/// A problem, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ProblemDetails {
    /// Always `about:blank`: `code` says which problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// Stable code, for programs.
    #[schema(value_type = String, example = "not_found")]
    code: &'static str,
    /// What happened and what to do, for people.
    title: String,
    /// Which parts of the request are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// Names the request in the dispatcher's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// Seconds after which it is worth trying again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

/// A part of a request that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// Which.
    field: String,
    /// What is wrong with it.
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails {
            kind: "about:blank",
            status: status.as_u16(),
            code,
            title: title.into(),
            errors: Vec::new(),
            request_id: None,
            retry_after: None,
        }))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            format!("The request is not valid: {field}: {message}."),
        );
        problem.0.errors.push(FieldError { field: field.to_owned(), message });
        problem
    }

    pub(crate) fn conflict(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, title)
    }

    pub(crate) fn unauthorized(title: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", title)
    }

    pub(crate) fn forbidden(title: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", title)
    }

    pub(crate) fn quota(title: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "quota_exceeded", title)
    }

    pub(crate) fn too_large(title: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", title)
    }

    pub(crate) fn rate_limited(retry_after: u64) -> Self {
        let title = format!("Too many requests with this key; try again in {retry_after} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", title).after(retry_after)
    }

    pub(crate) fn unavailable(title: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title).after(2)
    }

    pub(crate) fn internal() -> Self {
        let title = "Something went wrong on our side; please tell us the request_id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
    }

    /// Whether it is ours, and may be over when the request comes again.
    pub(super) fn is_ours(&self) -> bool {
        self.0.status >= 500
    }

    /// Code and title, to be kept.
    pub(super) fn short(&self) -> serde_json::Value {
        serde_json::json!({ "code": self.0.code, "title": self.0.title })
    }

    /// The same, with seconds after which it is worth trying again.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The same, with the name of the request.
    pub(super) fn of_request(mut self, name: &str) -> Self {
        self.0.request_id = Some(name.to_owned());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.title)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Whoever answers the request puts its name into the body.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NoJob(_) => Self::not_found("job"),
            StoreError::NoOrganisation(_) => Self::not_found("organisation"),
            StoreError::NoTier { .. } => Self::invalid("tier", error.to_string()),
            StoreError::Conflict { state, reason, .. } => {
                Self::conflict("conflict", format!("The job is {state}: {reason}."))
            }
            StoreError::Unavailable(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a request met no database");
                Self::unavailable("The database does not answer; try again in a moment.")
            }
            StoreError::BadUrl(_)
            | StoreError::Database(_)
            | StoreError::Migration(_)
            | StoreError::Unreadable { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        tracing::warn!(%error, "a request met no objects");
        match error {
            ObjectError::Unavailable { .. } => Self::unavailable("The store does not answer; try again in a moment."),
            ObjectError::NotFound { .. } => Self::not_found("object"),
            ObjectError::Invalid { .. } | ObjectError::PreconditionFailed { .. } | ObjectError::Forbidden { .. } => {
                Self::internal()
            }
        }
    }
}
