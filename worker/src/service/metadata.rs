//! The metadata service of EC2 (IMDSv2): which machine this is, and whether it is about to be taken away.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html>

use std::io;
use std::time::Duration;

use fleet::fault::call;

/// Variable of the AWS SDKs for the address of the service.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Longest answer that is taken, in characters.
const LONGEST: usize = 256;
/// Tag of an instance that names its pool.
const POOL_TAG: &str = "touchline:pool";

/// The service, with the token of this session.
#[derive(Debug)]
pub(super) struct Metadata {
    client: reqwest::Client,
    endpoint: String,
    token: Option<String>,
}

impl Metadata {
    /// The service at its usual address, or that of the environment.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub(super) fn open() -> Result<Self, reqwest::Error> {
        let endpoint = std::env::var(ENDPOINT).ok().filter(|e| !e.is_empty());
        let endpoint = endpoint.unwrap_or_else(|| "http://169.254.169.254".to_owned());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build()?;
        Ok(Self { client, endpoint: endpoint.trim_end_matches('/').to_owned(), token: None })
    }

    /// The provider's name of this machine and the pool that it belongs to; empty where it does not say.
    ///
    /// # Errors
    /// The service does not answer.
    pub(super) async fn place(&mut self) -> io::Result<(String, String)> {
        let instance = self.get("instance-id").await?.unwrap_or_default();
        let pool = self.get(&format!("tags/instance/{POOL_TAG}")).await?.unwrap_or_default();
        Ok((instance, pool))
    }

    /// The notice that the machine is taken away, if there is one.
    ///
    /// # Errors
    /// The service does not answer.
    pub(super) async fn spot_notice(&mut self) -> io::Result<Option<String>> {
        self.get("spot/instance-action").await
    }

    /// One item; `None` for one that is not there.
    async fn get(&mut self, item: &str) -> io::Result<Option<String>> {
        call("metadata.get", async { self.ask(item).await.map_err(io::Error::other) }).await
    }

    async fn ask(&mut self, item: &str) -> Result<Option<String>, reqwest::Error> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let request = self.client.put(format!("{}/latest/api/token", self.endpoint));
                let answer = request.header("X-aws-ec2-metadata-token-ttl-seconds", "21600").send().await?;
                self.token.insert(answer.error_for_status()?.text().await?).clone()
            }
        };
        let request = self.client.get(format!("{}/latest/meta-data/{item}", self.endpoint));
        let answer = request.header("X-aws-ec2-metadata-token", token).send().await?;
        match answer.status().as_u16() {
            404 => Ok(None),
            401 => {
                // The token has had its time; the next call asks for another.
                self.token = None;
                Ok(None)
            }
            _ => Ok(Some(answer.error_for_status()?.text().await?.chars().take(LONGEST).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, put};

    use super::*;

    async fn service(notice: Option<&'static str>) -> Metadata {
        let with_token = |answer: Option<&'static str>| {
            get(move |headers: HeaderMap| async move {
                if headers.get("X-aws-ec2-metadata-token").is_none_or(|t| t != "secret") {
                    return (StatusCode::UNAUTHORIZED, "");
                }
                answer.map_or((StatusCode::NOT_FOUND, ""), |a| (StatusCode::OK, a))
            })
        };
        let routes = Router::new()
            .route("/latest/api/token", put(async || "secret"))
            .route("/latest/meta-data/instance-id", with_token(Some("i-0123456789abcdef0")))
            .route("/latest/meta-data/tags/instance/{tag}", with_token(Some("eu-west-1/g4dn.xlarge/spot")))
            .route("/latest/meta-data/spot/instance-action", with_token(notice));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Metadata { client: reqwest::Client::builder().no_proxy().build().unwrap(), endpoint, token: None }
    }

    #[tokio::test]
    async fn tells_where_this_is_and_that_nothing_is_announced() {
        let mut metadata = service(None).await;
        let place = ("i-0123456789abcdef0".to_owned(), "eu-west-1/g4dn.xlarge/spot".to_owned());
        assert_eq!(metadata.place().await.unwrap(), place);
        assert_eq!(metadata.spot_notice().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_token_that_has_ended_is_asked_for_again() {
        let mut metadata = service(Some(r#"{"action":"terminate"}"#)).await;
        metadata.token = Some("old".to_owned());
        assert_eq!(metadata.spot_notice().await.unwrap(), None);
        assert_eq!(metadata.spot_notice().await.unwrap().as_deref(), Some(r#"{"action":"terminate"}"#));
    }
}
