//! Objects: where sources come from and presentations go, in S3 or a store that speaks its protocol, or in a folder.

mod conformance;
mod folder;
mod key;
mod meta;
mod s3;
mod settings;
mod uploads;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

#[doc(hidden)]
pub use conformance::conformance;
pub use folder::FolderStore;
pub use meta::meta_for;
pub use s3::{S3Options, S3Store};
pub use settings::{BucketSettings, Buckets, StoreLocation, open, open_uploads};
#[doc(hidden)]
pub use uploads::uploads_conformance;
pub use uploads::{
    Completion, LARGEST_UPLOAD, MOST_PARTS, Multipart, Part, PartBody, PartError, PartReceiver, PartTarget, Received,
    SMALLEST_PART, Uploads, part_size,
};

/// Version of an object's bytes, as the store names it; compared, never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(pub String);

/// What players and caches are told about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// MIME type.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
}

/// When a write takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutCondition {
    /// Always.
    Always,
    /// Only when the key holds nothing.
    IfAbsent,
    /// Only when the key holds this version.
    IfMatch(ETag),
}

/// What a store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Key below the store's root.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Version.
    pub etag: ETag,
    /// When it was written.
    pub modified: time::OffsetDateTime,
}

/// Why an operation on an object failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object (or bucket).
    #[error("{key}: not found")]
    NotFound {
        /// Key.
        key: String,
    },
    /// The condition of a write did not hold.
    #[error("{key}: another version is there")]
    PreconditionFailed {
        /// Key.
        key: String,
    },
    /// The store refuses.
    #[error("{key}: access denied")]
    Forbidden {
        /// Key.
        key: String,
    },
    /// The key or the size is not one the store takes.
    #[error("{key}: {reason}")]
    Invalid {
        /// Key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The store did not answer, or not as it should, after several tries; the same call may succeed later.
    #[error("{key}: {reason}")]
    Unavailable {
        /// Key.
        key: String,
        /// What happened last.
        reason: String,
    },
}

/// A place for objects. Keys are UTF-8 paths with `/`, below the store's root (bucket and prefix, or folder): 1 to 1024
/// bytes in all, no part empty, `.` or `..`, no control characters. Other keys are [`ObjectError::Invalid`].
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug {
    /// Writes an object whole: readers see the old bytes or the new ones (at a new key nothing or the new ones). An
    /// error of kind [`ObjectError::Unavailable`] leaves open whether the write took place.
    ///
    /// # Errors
    /// [`ObjectError::PreconditionFailed`] when the condition does not hold ([`PutCondition::IfMatch`] at a key that
    /// holds nothing included); else whatever the store meets.
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        meta: ObjectMeta,
        condition: PutCondition,
    ) -> Result<ETag, ObjectError>;

    /// Uploads a local file, in parts where it is large; whatever is at the key is replaced when all of it is there.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`ObjectError::Invalid`] when the file cannot be read.
    async fn put_file(&self, key: &str, path: &std::path::Path, meta: ObjectMeta) -> Result<ETag, ObjectError>;

    /// Reads an object whole, with its version; for small ones.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], [`ObjectError::Invalid`] when it is larger than `limit`, or what the store meets.
    async fn get(&self, key: &str, limit: u64) -> Result<(Bytes, ETag), ObjectError>;

    /// Reads `len` bytes at `offset`; fewer only at the end.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], or what the store meets.
    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError>;

    /// What is known of an object; `None` when there is none.
    ///
    /// # Errors
    /// Whatever the store meets.
    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError>;

    /// The next 1000 objects whose key starts with `prefix`, in order of the keys' bytes, after `after`; fewer only
    /// when there are no more. The prefix need not end at a `/`.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when the prefix cannot be that of a key; else whatever the store meets.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError>;

    /// Deletes objects; what is not there counts as deleted.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`], with nothing deleted, when one of the keys is; else whatever the store meets, and some
    /// may be deleted then.
    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError>;

    /// Gives up uploads that began longer ago than `older_than`, and says how many; uploads under way included, so
    /// give hours.
    ///
    /// # Errors
    /// Whatever the store meets.
    async fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, ObjectError>;

    /// An address under which anybody can read an object until `expires` has passed; `None` when the store has no
    /// addresses of its own.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] for a bad key; else no address can be signed.
    async fn link(&self, key: &str, expires: Duration) -> Result<Option<String>, ObjectError> {
        let _unused = (key, expires);
        Ok(None)
    }

    /// As [`link`](Self::link), for a file that is saved: `disposition` is the `Content-Disposition` it is answered with.
    ///
    /// # Errors
    /// As [`link`](Self::link).
    async fn download_link(
        &self,
        key: &str,
        disposition: &str,
        expires: Duration,
    ) -> Result<Option<String>, ObjectError> {
        let _unused = (key, disposition, expires);
        Ok(None)
    }
}
