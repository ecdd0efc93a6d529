//! A file to be uploaded.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::UploadError;

/// Bytes of each sample that goes into the fingerprint, and how many samples there are: the whole of 100 GB would take
/// minutes to read.
const SAMPLE: u64 = 256 << 10;
const SAMPLES: u64 = 16;

/// A file that is open.
#[derive(Clone, Debug)]
pub(super) struct LocalFile {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    /// When it was changed last, to the nanosecond.
    changed: (i64, i64),
    fingerprint: String,
}

fn changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

impl LocalFile {
    pub(super) async fn open(path: &Path) -> Result<Self, UploadError> {
        let failed = |reason: String| UploadError::File { path: path.to_owned(), reason };
        let owned = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(owned)).await;
        opened.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
    }

    fn open_blocking(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("is not a file"));
        }
        if metadata.len() == 0 {
            return Err(io::Error::other("is empty"));
        }
        let (size, changed) = (metadata.len(), changed(&metadata));
        let fingerprint = fingerprint(&file, size, changed)?;
        Ok(Self { path, file: Arc::new(file), size, changed, fingerprint })
    }

    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain: String = name.chars().filter(|c| !c.is_control()).take(500).collect();
        if plain.trim().is_empty() { "file".to_owned() } else { plain }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Names the content: where it lies and what it is called does not matter.
    pub(super) fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    pub(super) fn content_type(&self) -> &'static str {
        let extension = self.path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        match extension.as_str() {
            "mp4" | "m4v" => "video/mp4",
            "mov" => "video/quicktime",
            "mkv" => "video/x-matroska",
            "webm" => "video/webm",
            "ts" | "mts" | "m2ts" => "video/mp2t",
            "avi" => "video/x-msvideo",
            _ => "application/octet-stream",
        }
    }

    /// Whether it is as it was when it was opened.
    pub(super) async fn is_unchanged(&self) -> bool {
        let metadata = tokio::fs::metadata(&self.path).await;
        metadata.is_ok_and(|m| m.len() == self.size && changed(&m) == self.changed)
    }

    /// Reads `length` bytes at `offset`, with their SHA-256.
    pub(super) async fn read(&self, offset: u64, length: u64) -> Result<(Bytes, [u8; 32]), UploadError> {
        let file = Arc::clone(&self.file);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, offset)?;
            let sum = Sha256::digest(&bytes).into();
            Ok::<_, io::Error>((Bytes::from(bytes), sum))
        });
        let failed = |reason: String| UploadError::File { path: self.path.clone(), reason };
        read.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))
    }
}

/// SHA-256 of size, time and samples, in hexadecimal.
fn fingerprint(file: &File, size: u64, changed: (i64, i64)) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(size.to_le_bytes());
    hash.update(changed.0.to_le_bytes());
    hash.update(changed.1.to_le_bytes());
    let mut sample = vec![0; usize::try_from(SAMPLE.min(size)).map_err(io::Error::other)?];
    // From the very first byte to the very last.
    let last = size - SAMPLE.min(size);
    for i in 0..SAMPLES {
        file.read_exact_at(
            &mut sample,
            last / (SAMPLES - 1) * i + if i == SAMPLES - 1 { last % (SAMPLES - 1) } else { 0 },
        )?;
        hash.update(&sample);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fingerprint_names_content_and_not_place() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.mp4"), dir.path().join("b.MOV"));
        let bytes: Vec<u8> = (0..5 << 20).map(|i: u32| (i % 253) as u8).collect();
        std::fs::write(&first, &bytes).unwrap();
        std::fs::rename(&first, &second).unwrap();
        let moved = LocalFile::open(&second).await.unwrap();
        assert_eq!((moved.name().as_str(), moved.size(), moved.content_type()), ("b.MOV", 5 << 20, "video/quicktime"));
        std::fs::rename(&second, &first).unwrap();
        assert_eq!(LocalFile::open(&first).await.unwrap().fingerprint(), moved.fingerprint());

        let time = std::fs::metadata(&first).unwrap().modified().unwrap();
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(&first, &other).unwrap();
        File::options().write(true).open(&first).unwrap().set_modified(time).unwrap();
        assert_ne!(LocalFile::open(&first).await.unwrap().fingerprint(), moved.fingerprint(), "the last byte counts");
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused_and_a_change_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none"), empty.clone()] {
            assert!(matches!(LocalFile::open(&path).await, Err(UploadError::File { .. })), "{}", path.display());
        }
        std::fs::write(&empty, "0123456789").unwrap();
        let file = LocalFile::open(&empty).await.unwrap();
        assert_eq!(file.read(2, 3).await.unwrap().0, "234");
        assert!(file.read(8, 3).await.is_err(), "past the end");
        assert!(file.is_unchanged().await);
        std::fs::write(&empty, "0123456789a").unwrap();
        assert!(!file.is_unchanged().await);
    }
}
