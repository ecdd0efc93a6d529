//! A source in S3, or in a store that speaks its protocol.

use aws_config::Region;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{Config, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use bytes::Bytes;
use fleet::objects::Buckets;

use super::range_response::{ExactBody, Range};
use super::retry::with_retries;
use super::{NetworkOptions, SourceError};

/// An object, and the version of it that was opened.
pub(super) struct S3Object {
    input: String,
    client: Client,
    bucket: String,
    key: String,
    len: u64,
    etag: Option<String>,
    version: Option<String>,
    network: NetworkOptions,
}

impl S3Object {
    /// Opens an object of a bucket that is reached as described, else with the AWS default chain.
    pub(super) async fn open(
        buckets: &Buckets,
        input: String,
        bucket: &str,
        key: &str,
        network: NetworkOptions,
    ) -> Result<Self, SourceError> {
        Self::open_with(buckets.config(bucket).await.build(), input, bucket, key, network).await
    }

    /// Opens an object with this configuration; its time limits and retries are replaced by `network`.
    pub(super) async fn open_with(
        config: Config,
        input: String,
        bucket: &str,
        key: &str,
        network: NetworkOptions,
    ) -> Result<Self, SourceError> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(network.connect_timeout)
            .read_timeout(network.idle_timeout)
            .build();
        let config = config
            .to_builder()
            .timeout_config(timeouts)
            // Bodies fail after the SDK's own retries would have ended, so all retries are ours.
            .retry_config(RetryConfig::disabled())
            // A checksum of the whole object says nothing about a range.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let mut object = Self {
            client: Client::from_conf(config.clone()),
            input,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            len: 0,
            etag: None,
            version: None,
            network,
        };
        let mut found = object.head().await;
        if let Err(Head::Elsewhere(region)) = found {
            let config = config.to_builder().region(Region::new(region)).build();
            object.client = Client::from_conf(config);
            found = object.head().await;
        }
        let head = found.map_err(|error| match error {
            Head::Failed(error) => error,
            Head::Elsewhere(_) => SourceError::invalid(&object.input, "redirected from region to region"),
        })?;
        object.len = head
            .content_length()
            .and_then(|len| u64::try_from(len).ok())
            .ok_or_else(|| SourceError::invalid(&object.input, "no content-length header"))?;
        object.etag = head.e_tag().map(str::to_owned);
        object.version = head.version_id().map(str::to_owned);
        Ok(object)
    }

    /// Bytes in the object when it was opened.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Length, `ETag` and version.
    pub(super) fn identity(&self) -> String {
        let etag = self.etag.as_deref().unwrap_or_default();
        let version = self.version.as_deref().unwrap_or_default();
        format!("s3:{}:{etag}:{version}", self.len)
    }

    /// Reads exactly `len` bytes, which the caller keeps within the object.
    pub(super) async fn get(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        with_retries(&self.input, &self.network, || self.request(offset, len)).await
    }

    async fn head(&self) -> Result<HeadObjectOutput, Head> {
        with_retries(&self.input, &self.network, async || {
            let sent = self.client.head_object().bucket(&self.bucket).key(&self.key).send().await;
            match sent {
                Ok(head) => Ok(Ok(head)),
                Err(error) => match elsewhere(&error) {
                    Some(region) => Ok(Err(Head::Elsewhere(region))),
                    None => Err(from_sdk(&self.input, error)),
                },
            }
        })
        .await
        .map_err(Head::Failed)?
    }

    async fn request(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        // The version is not asked for by its id: that needs a permission of its own, `s3:GetObjectVersion`.
        let mut output = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&self.key)
            .range(Range::header(offset, len))
            .set_if_match(self.etag.clone())
            .send()
            .await
            .map_err(|error| from_sdk(&self.input, error))?;
        if output.e_tag() != self.etag.as_deref() {
            return Err(SourceError::Changed { input: self.input.clone() });
        }
        let content_length = output.content_length().and_then(|len| u64::try_from(len).ok());
        let range = Range { offset, len, total: self.len };
        range.check(&self.input, output.content_range(), content_length)?;

        let mut body = ExactBody::new(&self.input, len);
        loop {
            let piece = tokio::time::timeout(self.network.idle_timeout, output.body.try_next())
                .await
                .map_err(|elapsed| SourceError::unavailable(&self.input, elapsed))?
                .map_err(|error| SourceError::unavailable(&self.input, error))?;
            match piece {
                Some(piece) => body.push(&piece)?,
                None => return body.finish(),
            }
        }
    }
}

/// Why an object was not found at the first request.
enum Head {
    /// The bucket lies in this region.
    Elsewhere(String),
    Failed(SourceError),
}

/// The region that S3 names when it was asked in another one.
fn elsewhere<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let response = error.raw_response()?;
    let region = response.headers().get("x-amz-bucket-region")?;
    // It becomes part of a host name.
    let is_region = region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_region && matches!(response.status().as_u16(), 301 | 307 | 400)).then(|| region.to_owned())
}

fn from_sdk<E>(input: &str, error: SdkError<E, HttpResponse>) -> SourceError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match &error {
        SdkError::ConstructionFailure(_) => SourceError::setup(input, error),
        // The rest are failures of signing: no credentials, or a provider of them that failed.
        SdkError::DispatchFailure(failure) if !failure.is_io() && !failure.is_timeout() => {
            SourceError::setup(input, error)
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            match service.err().code() {
                // S3 sends the first with status 400 (Amazon S3 API Reference, "Error responses").
                Some("RequestTimeout" | "SlowDown" | "InternalError" | "ServiceUnavailable") => {
                    SourceError::unavailable(input, error)
                }
                Some("ExpiredToken" | "InvalidToken") => SourceError::Forbidden { input: input.to_owned() },
                Some("InvalidObjectState") => SourceError::invalid(input, "the object is archived: restore it first"),
                Some(code) if !matches!(status, 401 | 403 | 404 | 412 | 416 | 429 | 500..) => {
                    SourceError::invalid(input, format!("status {status}, {code}"))
                }
                _ => SourceError::from_status(input, status)
                    .unwrap_or_else(|| SourceError::invalid(input, "an error with a status of success")),
            }
        }
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_) => {
            SourceError::unavailable(input, error)
        }
        // The enum may grow.
        _ => SourceError::unavailable(input, error),
    }
}

#[cfg(test)]
mod tests;
