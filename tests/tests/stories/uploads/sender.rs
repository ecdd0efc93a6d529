//! Sends parts as a page does.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stories::client::Client;

/// A client and what it sends.
pub(super) struct Sender<'a> {
    pub(super) client: &'a Client,
    pub(super) bytes: Vec<u8>,
    http: reqwest::Client,
}

/// Bytes of which no two parts are alike.
pub(super) fn pattern(size: u64) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

impl<'a> Sender<'a> {
    pub(super) fn new(client: &'a Client, size: u64) -> Self {
        Self { client, bytes: pattern(size), http: reqwest::Client::new() }
    }

    pub(super) fn wish(&self) -> Value {
        json!({ "filename": "Cup final.mp4", "size_bytes": self.bytes.len(), "content_type": "video/mp4", "fingerprint": "f-1" })
    }

    /// Begins an upload, changed by `more`.
    pub(super) async fn begin(&self, more: Value) -> (StatusCode, Value) {
        let mut wish = self.wish();
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.client.post("/uploads", wish).await
    }

    pub(super) fn part(&self, upload: &Value, number: u64) -> Vec<u8> {
        let size = upload["part_size_bytes"].as_u64().unwrap();
        let whole = &self.bytes;
        let from = usize::try_from((number - 1) * size).unwrap();
        whole[from..whole.len().min(from + usize::try_from(size).unwrap())].to_vec()
    }

    /// Where a part goes.
    pub(super) async fn address(&self, upload: &Value, number: u64, sha256: Option<&str>) -> (StatusCode, Value) {
        let body = json!({ "parts": [{ "number": number, "sha256": sha256 }] });
        let (status, answer) = self.client.post(&format!("/uploads/{}/parts", id(upload)), body).await;
        let address = if status.is_success() { answer["parts"][0].clone() } else { answer };
        (status, address)
    }

    /// Puts bytes to an address.
    pub(super) async fn put(&self, address: &Value, bytes: Vec<u8>) -> StatusCode {
        let url = address["url"].as_str().unwrap();
        let url = if url.starts_with('/') { format!("{}{url}", self.client.server) } else { url.to_owned() };
        let headers = address["headers"].as_object().unwrap();
        let request = headers.iter().fold(self.http.put(url), |r, (k, v)| r.header(k, v.as_str().unwrap()));
        request.body(bytes).send().await.map_or(StatusCode::IM_A_TEAPOT, |answer| answer.status())
    }

    /// Sends a part of an upload without checksums.
    pub(super) async fn send(&self, upload: &Value, number: u64) {
        let (status, address) = self.address(upload, number, None).await;
        assert_eq!(status, StatusCode::OK, "{address}");
        assert_eq!(self.put(&address, self.part(upload, number)).await, StatusCode::OK, "part {number}");
    }

    pub(super) async fn send_all(&self, upload: &Value) {
        for number in 1..=upload["parts_total"].as_u64().unwrap() {
            self.send(upload, number).await;
        }
    }

    pub(super) async fn complete(&self, upload: &Value) -> (StatusCode, Value) {
        self.client.post(&format!("/uploads/{}/complete", id(upload)), json!({})).await
    }

    pub(super) async fn get(&self, upload: &Value) -> Value {
        let (status, found) = self.client.get(&format!("/uploads/{}", id(upload))).await;
        assert_eq!(status, StatusCode::OK, "{found}");
        found
    }

    /// Numbers of the parts that have arrived.
    pub(super) async fn received(&self, upload: &Value) -> Vec<u64> {
        let found = self.get(upload).await;
        found["received"].as_array().unwrap().iter().map(|part| part["number"].as_u64().unwrap()).collect()
    }

    pub(super) async fn abort(&self, upload: &Value) -> StatusCode {
        self.client.send(Method::DELETE, &format!("/uploads/{}", id(upload)), None, &[]).await.status()
    }
}

pub(super) fn id(upload: &Value) -> &str {
    upload["id"].as_str().unwrap()
}
