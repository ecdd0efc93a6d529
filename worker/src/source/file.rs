//! A source in a local file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::SourceError;

/// An open regular file and the version of it that was opened.
pub(super) struct FileObject {
    input: String,
    file: Arc<File>,
    version: Version,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    len: u64,
    modified_s: i64,
    modified_ns: i64,
    inode: u64,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
            inode: metadata.ino(),
        }
    }
}

impl FileObject {
    /// Opens a regular file. Links are followed; anything else is refused.
    pub(super) async fn open(input: String, path: &Path) -> Result<Self, SourceError> {
        let path = path.to_owned();
        blocking(&input.clone(), move || {
            // Looked at before it is opened, because opening a pipe waits for a writer; and again afterwards,
            // because that is the file that will be read.
            let before = std::fs::metadata(&path).map_err(|error| from_io(&input, error))?;
            require_regular(&input, &before)?;
            let file = File::open(&path).map_err(|error| from_io(&input, error))?;
            let metadata = file.metadata().map_err(|error| from_io(&input, error))?;
            require_regular(&input, &metadata)?;
            Ok(Self { input, file: Arc::new(file), version: Version::of(&metadata) })
        })
        .await
    }

    /// Bytes in the file when it was opened.
    pub(super) fn len(&self) -> u64 {
        self.version.len
    }

    /// Size, modification time and inode.
    pub(super) fn identity(&self) -> String {
        let Version { len, modified_s, modified_ns, inode } = self.version;
        format!("file:{len}:{modified_s}.{modified_ns:09}:{inode}")
    }

    /// Reads exactly `len` bytes, which the caller keeps within the file.
    pub(super) async fn get(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let (input, file, version) = (self.input.clone(), Arc::clone(&self.file), self.version);
        blocking(&self.input, move || {
            let mut block = vec![0; len];
            let read = file.read_exact_at(&mut block, offset);
            // Asked after the read: a writer that came before it has been seen.
            let now = file.metadata().map_err(|error| from_io(&input, error))?;
            if Version::of(&now) != version {
                return Err(SourceError::Changed { input });
            }
            match read {
                Ok(()) => Ok(Bytes::from(block)),
                Err(error) => Err(from_io(&input, error)),
            }
        })
        .await
    }
}

fn require_regular(input: &str, metadata: &Metadata) -> Result<(), SourceError> {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        return Ok(());
    }
    let kind = if file_type.is_dir() {
        "directory"
    } else if file_type.is_fifo() {
        "pipe"
    } else if file_type.is_socket() {
        "socket"
    } else {
        "device"
    };
    Err(SourceError::NotAFile { input: input.to_owned(), kind })
}

fn from_io(input: &str, error: io::Error) -> SourceError {
    let input = input.to_owned();
    match error.kind() {
        // A path through a file (`a.mp4/b`) names nothing either.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::NotFound { input },
        io::ErrorKind::PermissionDenied => SourceError::Forbidden { input },
        io::ErrorKind::UnexpectedEof => SourceError::Changed { input },
        _ => SourceError::Io { input, source: Arc::new(error) },
    }
}

/// Runs file work where it may block.
async fn blocking<T, F>(input: &str, work: F) -> Result<T, SourceError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, SourceError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(from_io(input, io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    async fn open(path: &Path) -> Result<FileObject, SourceError> {
        FileObject::open(path.display().to_string(), path).await
    }

    #[tokio::test]
    async fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let file = folder.path().join("-\"é.mp4");
        std::fs::write(&file, b"match").unwrap();
        assert_eq!(open(&file).await.unwrap().len(), 5);

        let kind_of = async |path: &Path| match open(path).await {
            Err(SourceError::NotAFile { kind, .. }) => kind,
            Err(error) => panic!("{error}"),
            Ok(_) => "regular file",
        };
        assert_eq!(kind_of(folder.path()).await, "directory");
        assert_eq!(kind_of(&socket).await, "socket");
        assert_eq!(kind_of(Path::new("/dev/zero")).await, "device");
        for missing in [folder.path().join("missing"), file.join("below")] {
            assert!(matches!(open(&missing).await, Err(SourceError::NotFound { .. })));
        }
    }

    #[tokio::test]
    async fn a_file_that_grows_shrinks_or_is_rewritten_is_reported_as_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("match.mp4");
        type Change = fn(&Path) -> io::Result<()>;
        let changes: [(&str, Change); 3] = [
            ("grows", |path| File::options().append(true).open(path)?.write_all(b"x")),
            ("shrinks", |path| File::options().write(true).open(path)?.set_len(3)),
            ("rewritten", |path| {
                let file = File::options().write(true).open(path)?;
                file.write_all_at(b"M", 0)?;
                // File systems stamp times by the tick of their clock, which two writes in a test may share.
                file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(2))
            }),
        ];
        for (name, change) in changes {
            std::fs::write(&path, b"match").unwrap();
            let object = open(&path).await.unwrap();
            let identity = object.identity();
            assert_eq!(object.get(1, 3).await.unwrap().as_ref(), b"atc");
            change(&path).unwrap();
            assert!(matches!(object.get(0, 5).await, Err(SourceError::Changed { .. })), "{name}");
            assert_ne!(open(&path).await.unwrap().identity(), identity, "{name}");
        }
    }
}
