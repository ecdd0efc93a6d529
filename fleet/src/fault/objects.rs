//! Fault points around a store of objects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Site, at};
use crate::objects::{
    Completion, ETag, Multipart, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, Part, PartReceiver, PartTarget,
    PutCondition, Received, Uploads,
};

/// See the module.
#[derive(Debug)]
pub(super) struct FaultyObjects(pub(super) Arc<dyn Uploads>);

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        meta: ObjectMeta,
        condition: PutCondition,
    ) -> Result<ETag, ObjectError> {
        at(Site::Object("put", key), self.0.put(key, bytes, meta, condition)).await
    }

    async fn put_file(&self, key: &str, path: &Path, meta: ObjectMeta) -> Result<ETag, ObjectError> {
        at(Site::Object("put_file", key), self.0.put_file(key, path, meta)).await
    }

    async fn get(&self, key: &str, limit: u64) -> Result<(Bytes, ETag), ObjectError> {
        at(Site::Object("get", key), self.0.get(key, limit)).await
    }

    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError> {
        at(Site::Object("get_range", key), self.0.get_range(key, offset, len)).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        at(Site::Object("head", key), self.0.head(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        at(Site::Object("list", ""), self.0.list(prefix, after)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError> {
        at(Site::Object("delete", ""), self.0.delete(keys)).await
    }

    async fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, ObjectError> {
        at(Site::Object("abort_stale_uploads", ""), self.0.abort_stale_uploads(older_than)).await
    }

    // Signing calls nobody.
    async fn link(&self, key: &str, expires: Duration) -> Result<Option<String>, ObjectError> {
        self.0.link(key, expires).await
    }

    async fn download_link(
        &self,
        key: &str,
        disposition: &str,
        expires: Duration,
    ) -> Result<Option<String>, ObjectError> {
        self.0.download_link(key, disposition, expires).await
    }
}

#[async_trait]
impl Uploads for FaultyObjects {
    async fn begin(&self, key: &str, size: u64, content_type: &str, checksums: bool) -> Result<Multipart, ObjectError> {
        at(Site::Object("begin", ""), self.0.begin(key, size, content_type, checksums)).await
    }

    async fn target(&self, upload: &Multipart, part: &Part, valid: Duration) -> Result<PartTarget, ObjectError> {
        self.0.target(upload, part, valid).await
    }

    async fn received(&self, upload: &Multipart) -> Result<Vec<Received>, ObjectError> {
        at(Site::Object("received", ""), self.0.received(upload)).await
    }

    async fn complete(&self, upload: &Multipart) -> Result<Completion, ObjectError> {
        at(Site::Object("complete", ""), self.0.complete(upload)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<bool, ObjectError> {
        at(Site::Object("abort", ""), self.0.abort(upload)).await
    }

    // What comes in passes through HTTP, not through a call of ours.
    fn receiver(&self) -> Option<&dyn PartReceiver> {
        self.0.receiver()
    }

    fn address(&self, key: &str) -> String {
        self.0.address(key)
    }
}
