//! A folder as object store. An object is written beside its place and renamed into it; conditions are checked under a
//! lock that holds between processes.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ETag, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, PutCondition};

/// Folder for what is being written, and the lock.
const STATE: &str = ".touchline";
/// Objects in one page of a list.
const PAGE: usize = 1000;

/// A folder.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ObjectError> {
        let root = root.into();
        fs::create_dir_all(root.join(STATE)).map_err(|e| from_io(&root.display().to_string(), &e))?;
        Ok(Self { root })
    }

    /// The file of a key.
    fn path(&self, key: &str) -> Result<PathBuf, ObjectError> {
        let invalid = |reason: &str| ObjectError::Invalid { key: key.to_owned(), reason: reason.to_owned() };
        if key.is_empty() || key.len() > 1024 {
            return Err(invalid("keys have 1 to 1024 bytes"));
        }
        for part in key.split('/') {
            if part.is_empty() || part == "." || part == ".." || part == STATE || part.contains('\0') {
                return Err(invalid("a part of the key is empty, points elsewhere or is reserved"));
            }
            if part.len() > 255 {
                return Err(invalid("a part of the key is longer than 255 bytes"));
            }
        }
        Ok(self.root.join(key))
    }

    /// Runs blocking work; a panic in it is a defect and comes back as one.
    async fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Self, &str) -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let (store, key) = (self.clone(), key.to_owned());
        let name = key.clone();
        tokio::task::spawn_blocking(move || work(&store, &key))
            .await
            .unwrap_or_else(|e| Err(ObjectError::Unavailable { key: name, reason: e.to_string() }))
    }

    fn lock(&self) -> io::Result<File> {
        let lock = File::create(self.root.join(STATE).join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// A fresh name to write to, on the same file system.
    fn part(&self) -> PathBuf {
        self.root.join(STATE).join(format!("{}.part", uuid::Uuid::now_v7()))
    }

    fn place(&self, key: &str, part: &Path, condition: &PutCondition) -> Result<ETag, ObjectError> {
        let path = self.path(key)?;
        let failed = |e: io::Error| from_io(key, &e);
        let parent = path.parent().unwrap_or(&self.root);
        let rename = || -> io::Result<()> {
            fs::create_dir_all(parent)?;
            match fs::rename(part, &path) {
                // A deletion removed the empty folder in between.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(parent)?;
                    fs::rename(part, &path)
                }
                other => other,
            }
        };
        if *condition == PutCondition::Always {
            rename().map_err(failed)?;
        } else {
            let lock = self.lock().map_err(failed)?;
            let there = match fs::metadata(&path) {
                Ok(metadata) => Some(etag(&metadata)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(failed(e)),
            };
            let holds = match condition {
                PutCondition::Always => true,
                PutCondition::IfAbsent => there.is_none(),
                PutCondition::IfMatch(wanted) => there.as_ref() == Some(wanted),
            };
            if !holds {
                return Err(ObjectError::PreconditionFailed { key: key.to_owned() });
            }
            rename().map_err(failed)?;
            drop(lock);
        }
        Ok(etag(&fs::metadata(&path).map_err(failed)?))
    }

    fn write(
        &self,
        key: &str,
        condition: &PutCondition,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<ETag, ObjectError> {
        self.path(key)?;
        let part = self.part();
        let written = File::create(&part).and_then(|mut file| fill(&mut file));
        let outcome = written.map_err(|e| from_io(key, &e)).and_then(|()| self.place(key, &part, condition));
        if outcome.is_err()
            && let Err(error) = fs::remove_file(&part)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, path = %part.display(), "left for the sweep");
        }
        outcome
    }
}

/// Inode, time and size: a rename always brings another inode, as the old one is in use until then.
fn etag(metadata: &fs::Metadata) -> ETag {
    use std::os::unix::fs::MetadataExt;
    ETag(format!("\"{:x}-{:x}-{:x}-{:x}\"", metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}

fn facts(key: &str, metadata: &fs::Metadata) -> ObjectFacts {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    ObjectFacts { key: key.to_owned(), size: metadata.len(), etag: etag(metadata), modified: modified.into() }
}

fn from_io(key: &str, error: &io::Error) -> ObjectError {
    let key = key.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            ObjectError::NotFound { key }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ObjectError::Forbidden { key },
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
            ObjectError::Invalid { key, reason: error.to_string() }
        }
        _ => ObjectError::Unavailable { key, reason: error.to_string() },
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        _meta: ObjectMeta,
        condition: PutCondition,
    ) -> Result<ETag, ObjectError> {
        self.blocking(key, move |s, key| s.write(key, &condition, |file| file.write_all(&bytes))).await
    }

    async fn put_file(&self, key: &str, path: &Path, _meta: ObjectMeta) -> Result<ETag, ObjectError> {
        let path = path.to_owned();
        self.blocking(key, move |s, key| {
            s.write(key, &PutCondition::Always, |file| io::copy(&mut File::open(&path)?, file).map(|_| ()))
        })
        .await
    }

    async fn get(&self, key: &str, limit: u64) -> Result<(Bytes, ETag), ObjectError> {
        self.blocking(key, move |s, key| {
            let failed = |e: io::Error| from_io(key, &e);
            let mut file = File::open(s.path(key)?).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(ObjectError::NotFound { key: key.to_owned() });
            }
            if metadata.len() > limit {
                let reason = format!("{} bytes, more than the allowed {limit}", metadata.len());
                return Err(ObjectError::Invalid { key: key.to_owned(), reason });
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed)?;
            Ok((bytes.into(), etag(&metadata)))
        })
        .await
    }

    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError> {
        self.blocking(key, move |s, key| {
            let failed = |e: io::Error| from_io(key, &e);
            let mut file = File::open(s.path(key)?).map_err(failed)?;
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            let mut bytes = Vec::new();
            file.take(len).read_to_end(&mut bytes).map_err(failed)?;
            Ok(bytes.into())
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        self.blocking(key, |s, key| match fs::metadata(s.path(key)?) {
            Ok(metadata) if metadata.is_file() => Ok(Some(facts(key, &metadata))),
            Ok(_) => Ok(None),
            Err(e) => match from_io(key, &e) {
                ObjectError::NotFound { .. } => Ok(None),
                other => Err(other),
            },
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        let after = after.map(str::to_owned);
        self.blocking(prefix, move |s, prefix| {
            let mut keys = Vec::new();
            // Only folders that can hold keys of the prefix are looked into.
            let base = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            collect(&s.root, base, &mut keys).map_err(|e| from_io(prefix, &e))?;
            keys.retain(|k| k.starts_with(prefix) && after.as_deref().is_none_or(|a| k.as_str() > a));
            keys.sort_unstable();
            keys.truncate(PAGE);
            // What vanishes between the two looks is not there.
            Ok(keys.iter().filter_map(|k| Some(facts(k, &fs::metadata(s.root.join(k)).ok()?))).collect())
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError> {
        let keys = keys.to_vec();
        self.blocking("", move |s, _| {
            for key in &keys {
                let path = s.path(key)?;
                match fs::remove_file(&path) {
                    Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                        return Err(from_io(key, &e));
                    }
                    _ => {}
                }
                // Folders that are empty now go too; one that is not stays.
                let mut folder = path.parent();
                while let Some(f) = folder.filter(|f| **f != *s.root) {
                    if fs::remove_dir(f).is_err() {
                        break;
                    }
                    folder = f.parent();
                }
            }
            Ok(())
        })
        .await
    }

    async fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, ObjectError> {
        self.blocking("", move |s, _| {
            let mut aborted = 0;
            for entry in fs::read_dir(s.root.join(STATE)).map_err(|e| from_io("", &e))?.flatten() {
                let is_part = entry.path().extension().is_some_and(|e| e == "part");
                let age = entry.metadata().ok().and_then(|m| m.modified().ok()).and_then(|m| m.elapsed().ok());
                if is_part && age.is_some_and(|a| a > older_than) && fs::remove_file(entry.path()).is_ok() {
                    aborted += 1;
                }
            }
            Ok(aborted)
        })
        .await
    }
}

/// All keys below a folder.
fn collect(root: &Path, base: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(base)) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        // Names that are not UTF-8 were not written by this store.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name == STATE {
            continue;
        }
        let key = if base.is_empty() { name } else { format!("{base}/{name}") };
        if entry.file_type()?.is_dir() {
            collect(root, &key, keys)?;
        } else {
            keys.push(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_keeps_what_every_store_promises() {
        let dir = tempfile::tempdir().unwrap();
        super::super::conformance(&FolderStore::open(dir.path()).unwrap()).await;
    }

    #[tokio::test]
    async fn keys_that_lead_out_of_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderStore::open(dir.path()).unwrap();
        for key in ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".touchline/lock", "a/./b", "nul\0"] {
            let outcome = store.get(key, 10).await;
            assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{key:?}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn what_a_dead_writer_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderStore::open(dir.path()).unwrap();
        fs::write(store.part(), "half").unwrap();
        assert!(store.list("", None).await.unwrap().is_empty());
        assert_eq!(store.abort_stale_uploads(Duration::from_secs(3600)).await.unwrap(), 0);
        assert_eq!(store.abort_stale_uploads(Duration::ZERO).await.unwrap(), 1);
    }
}
