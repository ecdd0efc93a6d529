//! A folder as object store. An object is written beside its place and renamed into it, under a lock that holds between
//! processes: shared by writers without a condition, alone for one with a condition and for deletions.
//!
//! Nothing but uploads in parts is synced: what was written shortly before a power failure may be lost or empty. Types and cache rules are not
//! kept; whoever serves the folder derives them from the key ([`meta_for`](super::meta_for)).

mod uploads;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::key::{self, invalid, unavailable};
use super::{ETag, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, PutCondition};

/// Folder for what is being written, and the lock. Reserved at every depth, as stores may lie within each other.
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
        key::check(key)?;
        for part in key.split('/') {
            if part == STATE {
                return Err(invalid(key, format!("{STATE} is reserved")));
            }
            if part.len() > 255 {
                return Err(invalid(key, "a part of the key is longer than 255 bytes"));
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
            .unwrap_or_else(|e| Err(unavailable(&name, e.to_string())))
    }

    /// The lock's file; it is unlocked when dropped.
    fn lock(&self, alone: bool) -> io::Result<File> {
        let lock = File::create(self.root.join(STATE).join("lock"))?;
        if alone {
            lock.lock()?
        } else {
            lock.lock_shared()?
        }
        Ok(lock)
    }

    /// A fresh name to write to, on the same file system.
    fn part(&self) -> PathBuf {
        self.root.join(STATE).join(format!("{}.part", uuid::Uuid::now_v7()))
    }

    /// Renames a written file into its place.
    fn place(&self, key: &str, part: &Path, condition: &PutCondition) -> Result<(), ObjectError> {
        let path = self.path(key)?;
        let failed = |e: io::Error| from_write(key, &e);
        let lock = self.lock(*condition != PutCondition::Always).map_err(failed)?;
        if *condition != PutCondition::Always {
            let there = match fs::metadata(&path) {
                Ok(metadata) => metadata.is_file().then(|| etag(&metadata)),
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
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        fs::rename(part, &path).map_err(failed)?;
        drop(lock);
        Ok(())
    }

    fn write(
        &self,
        key: &str,
        condition: &PutCondition,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<ETag, ObjectError> {
        self.path(key)?;
        let part = self.part();
        let written = File::create(&part).and_then(|mut file| {
            fill(&mut file)?;
            // The kernel's own stamps are milliseconds apart, and an inode may come back within one: this one differs.
            file.set_modified(SystemTime::now())?;
            file.metadata()
        });
        let outcome = written
            .map_err(|e| from_write(key, &e))
            .and_then(|metadata| self.place(key, &part, condition).map(|()| etag(&metadata)));
        if outcome.is_err()
            && let Err(error) = fs::remove_file(&part)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, path = %part.display(), "left for the sweep");
        }
        outcome
    }

    /// Deletes an object, and the folders that are empty then.
    fn remove(&self, path: &Path) -> io::Result<()> {
        // Alone, so that no writer loses the folder that it has just made.
        let lock = self.lock(true)?;
        match fs::remove_file(path) {
            Err(e) if is_missing(&e) => {}
            other => other?,
        }
        let mut folder = path.parent();
        while let Some(f) = folder.filter(|f| **f != *self.root) {
            if fs::remove_dir(f).is_err() {
                break;
            }
            folder = f.parent();
        }
        drop(lock);
        Ok(())
    }
}

/// Inode, time in nanoseconds, and size: another for every write, and the same after the rename.
fn etag(metadata: &fs::Metadata) -> ETag {
    use std::os::unix::fs::MetadataExt;
    ETag(format!("\"{:x}-{:x}-{:x}-{:x}\"", metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}

fn facts(key: &str, metadata: &fs::Metadata) -> ObjectFacts {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    ObjectFacts { key: key.to_owned(), size: metadata.len(), etag: etag(metadata), modified: modified.into() }
}

/// There is no object: nothing, a folder, or a file where the key has a folder.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory)
}

fn from_io(key: &str, error: &io::Error) -> ObjectError {
    match error.kind() {
        _ if is_missing(error) => ObjectError::NotFound { key: key.to_owned() },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ObjectError::Forbidden { key: key.to_owned() }
        }
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => invalid(key, error.to_string()),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => unavailable(key, "no space is left"),
        _ => unavailable(key, error.to_string()),
    }
}

fn from_write(key: &str, error: &io::Error) -> ObjectError {
    match error.kind() {
        // Or the swept part of an upload that took too long.
        io::ErrorKind::NotFound => unavailable(key, "what was being written is gone"),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            invalid(key, "a folder and an object cannot have the same name")
        }
        _ => from_io(key, error),
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
            let mut source = File::open(&path)
                .and_then(|f| if f.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(f) })
                .map_err(|e| invalid(key, format!("{}: {e}", path.display())))?;
            s.write(key, &PutCondition::Always, |file| io::copy(&mut source, file).map(|_| ()))
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
                return Err(invalid(key, format!("{} bytes, more than the allowed {limit}", metadata.len())));
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
            let base = key::folder_of(prefix)?;
            if !base.is_empty() {
                s.path(base)?;
            }
            let mut keys = Vec::new();
            let wanted = Wanted { prefix, after: after.as_deref() };
            collect(&s.root, base, &wanted, &mut keys).map_err(|e| from_io(prefix, &e))?;
            keys.sort_unstable();
            // What vanishes between the two looks is not there.
            let found = keys.iter().filter_map(|key| {
                let metadata = fs::metadata(s.root.join(key)).ok().filter(fs::Metadata::is_file)?;
                Some(facts(key, &metadata))
            });
            Ok(found.take(PAGE).collect())
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError> {
        let keys = keys.to_vec();
        self.blocking("", move |s, _| {
            let paths = keys.iter().map(|key| s.path(key)).collect::<Result<Vec<_>, _>>()?;
            for (key, path) in keys.iter().zip(&paths) {
                s.remove(path).map_err(|e| from_io(key, &e))?;
            }
            Ok(())
        })
        .await
    }

    async fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, ObjectError> {
        self.blocking("", move |s, _| {
            let mut aborted = s.abort_stale_parts(older_than).map_err(|e| from_io("", &e))?;
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

/// Which keys a list is to have.
struct Wanted<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
}

impl Wanted<'_> {
    fn key(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after)
    }

    /// Whether a folder, given with the closing slash, may hold such keys.
    fn folder(&self, folder: &str) -> bool {
        let passed = self.after.is_some_and(|after| after > folder && !after.starts_with(folder));
        !passed && (folder.starts_with(self.prefix) || self.prefix.starts_with(folder))
    }
}

/// The wanted keys below a folder, in no order.
fn collect(root: &Path, base: &str, wanted: &Wanted<'_>, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(base)) {
        Err(e) if is_missing(&e) => return Ok(()),
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
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                if wanted.folder(&format!("{key}/")) {
                    collect(root, &key, wanted, keys)?;
                }
            }
            Ok(_) if wanted.key(&key) && key::check(&key).is_ok() => keys.push(key),
            Ok(_) => {}
            Err(e) if is_missing(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
