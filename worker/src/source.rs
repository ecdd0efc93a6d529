//! Reading the source by ranges, from a file, S3 or a web server.
//!
//! The source can be tens of gigabytes and lie on another continent, and several engine processes read it at
//! once, each at its own place. So it is never copied whole: it is read in fixed-size blocks that all readers
//! share ([`Source`]), and each reader ([`Reader`]) has the blocks after its own place fetched while it still works
//! on the present one. Memory depends on the options alone, never on the length of the source.
//!
//! The bytes are pinned to the version that was opened. Should the file or object be replaced while it is read,
//! the read fails with [`SourceError::Changed`] rather than return a mixture.
//!
//! Reading order: `location` (what INPUT means), `error`, `blocks` (sharing and the budget; `cache` and `read_ahead`
//! are its parts), then the backends `file`, `http`, `s3` and `objects` with `range_response` and `retry`.

mod blocks;
mod cache;
mod error;
mod file;
mod http;
mod location;
mod objects;
mod range_response;
mod read_ahead;
mod retry;
mod s3;
#[cfg(test)]
mod test_server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet::fault::call;
use fleet::internet::Reach;
use fleet::objects::{Buckets, ObjectStore};

pub use error::SourceError;
pub use location::SourceLocation;
pub(crate) use objects::Part;

use blocks::Blocks;
use file::FileObject;
use http::HttpObject;
use location::Place;
use objects::JoinedObjects;
use read_ahead::ReadAhead;
use s3::S3Object;

/// Most bytes one read may ask for. The engine that asks has parsed a stranger's file, so what it asks for is
/// not trusted either.
pub const MAX_READ_LEN: usize = 16 << 20;

/// Bounds of [`BlockOptions::block_len`].
const MAX_BLOCK_LEN: usize = 16 << 20;

/// How a source is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Blocks of local files.
    pub file: BlockOptions,
    /// Blocks of S3 objects and web pages.
    pub remote: BlockOptions,
    /// Time limits and retries of S3 and web servers.
    pub network: NetworkOptions,
    /// What addresses web servers may have; `None`: whatever this machine reaches, as for a person at its keyboard.
    pub reach: Option<Arc<Reach>>,
}

/// Sizes of the block cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockOptions {
    /// Bytes in a block, from 1 to 16 MiB; other values are moved there. Files: 1 MiB, since the page cache stands
    /// behind it. Remote: 4 MiB, so that a request's latency is small beside its transfer, and S3's price per
    /// request beside everything else.
    pub block_len: usize,
    /// Bytes that blocks may take, in the cache and on their way; at least two blocks. Files: 16 MiB. Remote:
    /// 128 MiB. It is exceeded only when the blocks that readers are waiting for need more by themselves.
    pub cache_bytes: usize,
    /// Most blocks fetched ahead of one reader. Files: 2. Remote: 4. It is less when many readers share the cache.
    pub read_ahead: usize,
}

impl BlockOptions {
    fn clamped(self) -> Self {
        let block_len = self.block_len.clamp(1, MAX_BLOCK_LEN);
        Self { block_len, cache_bytes: self.cache_bytes.max(2 * block_len), read_ahead: self.read_ahead }
    }
}

/// Time limits and retries of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkOptions {
    /// To make a connection, TLS included. 5 s.
    pub connect_timeout: Duration,
    /// Without a byte arriving. 15 s.
    pub idle_timeout: Duration,
    /// For one block in all, against servers that drip. 120 s, which a link of 300 kbit/s meets.
    pub block_timeout: Duration,
    /// Requests for one block before its error is final, at least one. 5.
    pub tries: usize,
    /// Wait before the second try; it doubles with each, up to 8 s, with jitter. 500 ms.
    pub first_delay: Duration,
    /// No further try begins when the waits add up to more. 30 s.
    pub total_delay: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            file: BlockOptions { block_len: 1 << 20, cache_bytes: 16 << 20, read_ahead: 2 },
            remote: BlockOptions { block_len: 4 << 20, cache_bytes: 128 << 20, read_ahead: 4 },
            network: NetworkOptions {
                connect_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(15),
                block_timeout: Duration::from_secs(120),
                tries: 5,
                first_delay: Duration::from_millis(500),
                total_delay: Duration::from_secs(30),
            },
            reach: None,
        }
    }
}

/// An open source. Clones are cheap and share one cache.
#[derive(Clone)]
pub struct Source {
    input: Arc<str>,
    blocks: Arc<Blocks>,
}

impl Source {
    /// Finds the source and learns its length and version. Must be called, as all reads, within a tokio runtime
    /// whose I/O and timers are enabled.
    ///
    /// S3 credentials, region and endpoint come from the AWS default chain. A custom endpoint (`AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL`, or `endpoint_url` of a profile) is addressed path-style. Without a region it is
    /// us-east-1, or wherever S3 says the bucket lies.
    ///
    /// # Errors
    ///
    /// Any [`SourceError`] but [`SourceError::ReadTooLong`].
    pub async fn open(location: &SourceLocation, options: SourceOptions) -> Result<Self, SourceError> {
        Self::open_with(location, options, &Buckets::default()).await
    }

    /// As [`open`](Self::open), with buckets that are reached as described.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with(
        location: &SourceLocation,
        options: SourceOptions,
        buckets: &Buckets,
    ) -> Result<Self, SourceError> {
        call("source.open", Self::find(location, options, buckets)).await
    }

    async fn find(location: &SourceLocation, options: SourceOptions, buckets: &Buckets) -> Result<Self, SourceError> {
        let input = location.to_string();
        let blocks = match &location.0 {
            Place::File(path) => {
                let object = FileObject::open(input.clone(), path).await?;
                Blocks::new(Backend::File(object), input, options.file, None)
            }
            Place::Http(url) => {
                let first_len = options.remote.clamped().block_len;
                let how = (options.network, options.reach);
                let (object, first) = HttpObject::open(input.clone(), url.clone(), how, first_len).await?;
                Blocks::new(Backend::Http(object), input, options.remote, Some(first))
            }
            Place::S3 { bucket, key } => {
                let object = S3Object::open(buckets, input.clone(), bucket, key, options.network).await?;
                Blocks::new(Backend::S3(object), input, options.remote, None)
            }
        };
        Ok(Self { input: location.to_string().into(), blocks: Arc::new(blocks) })
    }

    /// Objects as one source; `input` names it in messages.
    pub(crate) fn of_objects(input: &str, objects: Arc<dyn ObjectStore>, parts: Vec<Part>) -> Self {
        let joined = JoinedObjects::new(input.to_owned(), objects, parts);
        let options = SourceOptions::default().remote;
        let blocks = Blocks::new(Backend::Objects(joined), input.to_owned(), options, None);
        Self { input: input.into(), blocks: Arc::new(blocks) }
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty source is for the caller to judge")]
    pub fn len(&self) -> u64 {
        self.blocks.len()
    }

    /// Names the version of the bytes: two sources opened at the same location with the same identity have the
    /// same bytes, as far as the file system or server can tell. Files: size, modification time and inode. S3: size,
    /// `ETag` and version. Web: size and `ETag` or Last-Modified, or the size alone where the server sends neither.
    #[must_use]
    pub fn identity(&self) -> String {
        self.blocks.backend().identity()
    }

    /// Reads up to `len` bytes at `offset`: fewer only at the end of the source, none at or after it. Nothing is
    /// fetched beyond the blocks touched; for reading on and on, take a [`reader`](Self::reader).
    ///
    /// # Errors
    ///
    /// [`SourceError::ReadTooLong`] above [`MAX_READ_LEN`], and whatever fetching meets.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        self.blocks.begin(offset, len)?.finish().await
    }

    /// A reader with its own place and read-ahead. Make one for each engine.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.blocks.reader_opened();
        Reader { read_ahead: ReadAhead::new(self.blocks.block_len()), source: self.clone() }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("input", &self.input).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// One of the places at which a [`Source`] is being read.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    read_ahead: ReadAhead,
}

impl Reader {
    /// As [`Source::read_at`], and fetches ahead where reads follow each other. Dropping the future is safe: what
    /// is on its way arrives in the cache.
    ///
    /// # Errors
    ///
    /// As [`Source::read_at`]. A failure to fetch ahead is none; the read that needs the block tries again.
    pub async fn read_at(&mut self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let blocks = &self.source.blocks;
        // What is needed now is asked for first.
        let pending = blocks.begin(offset, len)?;
        if pending.len() > 0 {
            let count = self.read_ahead.note(offset, pending.len() as u64, blocks.max_ahead());
            blocks.fetch_ahead(offset, pending.len(), count);
        }
        pending.finish().await
    }

    /// The source that is read.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.source.blocks.reader_closed();
    }
}

/// Where blocks come from.
enum Backend {
    File(FileObject),
    Http(HttpObject),
    S3(S3Object),
    Objects(JoinedObjects),
}

impl Backend {
    fn len(&self) -> u64 {
        match self {
            Self::File(object) => object.len(),
            Self::Http(object) => object.len(),
            Self::S3(object) => object.len(),
            Self::Objects(object) => object.len(),
        }
    }

    fn identity(&self) -> String {
        match self {
            Self::File(object) => object.identity(),
            Self::Http(object) => object.identity(),
            Self::S3(object) => object.identity(),
            Self::Objects(object) => object.identity(),
        }
    }

    /// Exactly `len` bytes at `offset`, within the source.
    async fn get(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        match self {
            Self::File(object) => call("source.read file", object.get(offset, len)).await,
            Self::Http(object) => call("source.read http", object.get(offset, len)).await,
            Self::S3(object) => call("source.read s3", object.get(offset, len)).await,
            Self::Objects(object) => call("source.read objects", object.get(offset, len)).await,
        }
    }
}
