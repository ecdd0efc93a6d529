//! Uploads in parts in a folder: every part is written to its place in one file, which becomes the object by a rename,
//! so nothing is copied. Below the hidden folder, an upload `ID` is
//!
//! - `uploads/ID/data`: the bytes, with holes where parts are missing;
//! - `uploads/ID/parts/N`: exists when part N was ever begun, and is not empty when all of it is on the disk;
//! - `uploads/ID/lock`: shared by those who write parts, alone for the one who completes.
//!
//! Those who complete at once take turns by a lock on the folder `parts`. A part's bytes are synced before its mark is, so
//! that what counts as received outlives a power failure.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::super::key::{invalid, unavailable};
use super::super::uploads::{
    Completion, Multipart, Part, PartBody, PartError, PartReceiver, PartTarget, Received, Uploads, check_size,
};
use super::{FolderStore, ObjectError, PutCondition, STATE, facts, from_io, from_write, is_missing};

/// Pieces of a part between the network and the disk.
const PIECES: usize = 4;

/// What the writer of a part is told.
enum Piece {
    Bytes(Bytes),
    /// All of the part has come. Without it, the part is forgotten.
    End,
}

/// A part that is being written: nobody else writes it, and nobody completes the upload.
struct Writing {
    data: File,
    mark: File,
    at: u64,
    /// Only where there is something to compare with.
    hash: Option<(Sha256, String)>,
    size: u64,
    number: u32,
    _lock: File,
}

impl FolderStore {
    /// Folder of an upload. Its name comes back from whoever keeps it, so it is looked at.
    fn upload_folder(&self, upload: &Multipart) -> Result<PathBuf, ObjectError> {
        let id = uuid::Uuid::parse_str(&upload.id);
        let id = id.map_err(|_| invalid(&upload.key, format!("{:?} is no upload of a folder", upload.id)))?;
        Ok(self.root.join(STATE).join("uploads").join(id.simple().to_string()))
    }

    fn begin_upload(&self, upload: &Multipart) -> Result<(), ObjectError> {
        self.path(&upload.key)?;
        let folder = self.upload_folder(upload)?;
        let made = fs::create_dir_all(folder.join("parts"))
            .and_then(|()| File::create(folder.join("lock")).map(drop))
            .and_then(|()| File::create(folder.join("data")))
            .and_then(|data| data.set_len(upload.size));
        made.map_err(|e| from_write(&upload.key, &e))
    }

    fn open_part(&self, upload: &Multipart, part: &Part) -> Result<Writing, PartError> {
        let (offset, size) = upload.expect(part)?;
        let folder = self.upload_folder(upload)?;
        // Nothing there: completed or aborted.
        let failed = |e: io::Error| PartError::from(from_io(&upload.key, &e));
        let busy = |e: fs::TryLockError| match e {
            fs::TryLockError::WouldBlock => PartError::Busy { number: part.number },
            fs::TryLockError::Error(e) => failed(e),
        };
        let lock = File::open(folder.join("lock")).map_err(failed)?;
        lock.try_lock_shared().map_err(busy)?;
        let data = OpenOptions::new().write(true).open(folder.join("data")).map_err(failed)?;
        let name = folder.join("parts").join(part.number.to_string());
        let mark = OpenOptions::new().write(true).create(true).truncate(false).open(name).map_err(failed)?;
        mark.try_lock().map_err(busy)?;
        mark.set_len(0).map_err(failed)?;
        let hash = part.sha256.clone().map(|sum| (Sha256::new(), sum));
        Ok(Writing { data, mark, at: offset, hash, size, number: part.number, _lock: lock })
    }

    fn received_parts(&self, upload: &Multipart) -> Result<Vec<Received>, ObjectError> {
        let failed = |e: io::Error| from_io(&upload.key, &e);
        let folder = self.upload_folder(upload)?;
        if !folder.join("data").exists() {
            return Err(ObjectError::NotFound { key: upload.key.clone() });
        }
        let mut parts = Vec::new();
        for entry in fs::read_dir(folder.join("parts")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let range = number.and_then(|number| upload.range(number));
            let (Some(number), Some((_, size))) = (number, range) else { continue };
            if entry.metadata().map_err(failed)?.len() > 0 {
                parts.push(Received { number, size });
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    fn complete_upload(&self, upload: &Multipart) -> Result<Completion, ObjectError> {
        let key = &upload.key;
        let failed = |e: io::Error| from_write(key, &e);
        let folder = self.upload_folder(upload)?;
        let turn = match File::open(folder.join("parts")) {
            Err(e) if is_missing(&e) => return self.completed_before(upload),
            other => other.map_err(failed)?,
        };
        turn.lock().map_err(failed)?;
        let lock = match File::open(folder.join("lock")) {
            Err(e) if is_missing(&e) => return self.completed_before(upload),
            other => other.map_err(failed)?,
        };
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Err(unavailable(key, "parts are still being received")),
            Err(fs::TryLockError::Error(e)) => return Err(failed(e)),
            Ok(()) => {}
        }
        let data = folder.join("data");
        let received = match self.received_parts(upload) {
            // Renamed by a call that ended there.
            Err(ObjectError::NotFound { .. }) => {
                let outcome = self.completed_before(upload);
                discard(&folder);
                return outcome;
            }
            other => other?,
        };
        let missing = upload.missing(&received);
        if !missing.is_empty() {
            return Ok(Completion::Missing(missing));
        }
        let file = OpenOptions::new().write(true).open(&data).map_err(failed)?;
        // As for every object: the version must differ from all before.
        file.set_modified(SystemTime::now()).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.len() != upload.size {
            return Err(invalid(key, format!("{} bytes arrived instead of {}", metadata.len(), upload.size)));
        }
        self.place(key, &data, &PutCondition::Always)?;
        let place = self.path(key)?;
        sync_folder(place.parent().unwrap_or(&self.root)).map_err(failed)?;
        discard(&folder);
        Ok(Completion::Done(facts(key, &metadata)))
    }

    /// What it means that there is no upload, or none any more: it has become the object, or was aborted.
    fn completed_before(&self, upload: &Multipart) -> Result<Completion, ObjectError> {
        let key = &upload.key;
        let metadata = fs::metadata(self.path(key)?).map_err(|e| from_io(key, &e))?;
        if !metadata.is_file() || metadata.len() != upload.size {
            return Err(invalid(key, format!("what lies there is not the upload of {} bytes", upload.size)));
        }
        Ok(Completion::Done(facts(key, &metadata)))
    }

    fn abort_upload(&self, upload: &Multipart) -> Result<bool, ObjectError> {
        let folder = self.upload_folder(upload)?;
        let there = folder.join("data").exists();
        discard(&folder);
        Ok(there)
    }

    /// Gives up uploads in parts that nothing was written to for `age`, and says how many.
    pub(super) fn abort_stale_parts(&self, age: Duration) -> io::Result<u64> {
        let entries = match fs::read_dir(self.root.join(STATE).join("uploads")) {
            Err(e) if is_missing(&e) => return Ok(0),
            other => other?,
        };
        let is_old = |path: &Path| {
            let modified = fs::metadata(path).and_then(|m| m.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > age))
        };
        let mut aborted = 0;
        for folder in entries.flatten().map(|entry| entry.path()) {
            let data = folder.join("data");
            if is_old(&folder) && (is_old(&data) || !data.exists()) {
                discard(&folder);
                aborted += 1;
            }
        }
        Ok(aborted)
    }
}

/// Deletes the folder of an upload, out of reach first of those who might write to it. What cannot be deleted is left for
/// the sweep.
fn discard(folder: &Path) {
    let gone = folder.with_extension("gone");
    let renamed = fs::rename(folder, &gone);
    if let Err(error) = renamed.and_then(|()| fs::remove_dir_all(&gone))
        && !is_missing(&error)
    {
        tracing::debug!(%error, path = %folder.display(), "left for the sweep");
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Writing {
    /// Writes what comes until its end; then the part is marked as received.
    fn run(mut self, key: &str, pieces: &mut mpsc::Receiver<Piece>) -> Result<Received, PartError> {
        let failed = |e: io::Error| PartError::from(from_write(key, &e));
        while let Some(piece) = pieces.blocking_recv() {
            let Piece::Bytes(bytes) = piece else { return self.finish(key) };
            self.data.write_all_at(&bytes, self.at).map_err(failed)?;
            self.at += bytes.len() as u64;
            if let Some((hash, _)) = &mut self.hash {
                hash.update(&bytes);
            }
        }
        // Whoever sent knows why.
        Err(PartError::BrokeOff { number: self.number, reason: "it was given up".to_owned() })
    }

    fn finish(mut self, key: &str) -> Result<Received, PartError> {
        if let Some((hash, expected)) = self.hash.take()
            && STANDARD.encode(hash.finalize()) != expected
        {
            return Err(PartError::Checksum { number: self.number });
        }
        let marked =
            self.data.sync_data().and_then(|()| self.mark.write_all(b"received\n")).and_then(|()| self.mark.sync_all());
        marked.map_err(|e| PartError::from(from_write(key, &e)))?;
        Ok(Received { number: self.number, size: self.size })
    }
}

#[async_trait]
impl PartReceiver for FolderStore {
    async fn receive(&self, upload: &Multipart, part: &Part, mut body: PartBody) -> Result<Received, PartError> {
        let (number, (_, expected)) = (part.number, upload.expect(part)?);
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let (store, upload, part) = (self.clone(), upload.clone(), part.clone());
        let key = upload.key.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let writing = store.open_part(&upload, &part)?;
            writing.run(&upload.key, &mut pieces)
        });
        let feed = async {
            let mut got = 0;
            while let Some(piece) = body.next().await {
                let bytes = piece.map_err(|reason| PartError::BrokeOff { number, reason })?;
                got += bytes.len() as u64;
                if got > expected {
                    return Err(PartError::Length { number, expected, got });
                }
                if sender.send(Piece::Bytes(bytes)).await.is_err() {
                    // The writer says why.
                    return Ok(());
                }
            }
            if got != expected {
                return Err(PartError::Length { number, expected, got });
            }
            if sender.send(Piece::End).await.is_err() {
                tracing::trace!(number, "the writer ended first");
            }
            Ok(())
        };
        let fed = feed.await;
        drop(sender);
        let written = writer.await.unwrap_or_else(|e| Err(unavailable(&key, e.to_string()).into()));
        fed.and(written)
    }
}

#[async_trait]
impl Uploads for FolderStore {
    async fn begin(&self, key: &str, size: u64, _type: &str, checksums: bool) -> Result<Multipart, ObjectError> {
        check_size(key, size)?;
        let upload = Multipart::new(key, uuid::Uuid::now_v7().simple().to_string(), size, checksums);
        let begun = upload.clone();
        self.blocking(key, move |s, _| s.begin_upload(&begun)).await?;
        Ok(upload)
    }

    async fn target(&self, upload: &Multipart, part: &Part, _valid: Duration) -> Result<PartTarget, ObjectError> {
        upload.expect(part)?;
        Ok(PartTarget::Receiver)
    }

    async fn received(&self, upload: &Multipart) -> Result<Vec<Received>, ObjectError> {
        let upload = upload.clone();
        self.blocking(&upload.key.clone(), move |s, _| s.received_parts(&upload)).await
    }

    async fn complete(&self, upload: &Multipart) -> Result<Completion, ObjectError> {
        let upload = upload.clone();
        self.blocking(&upload.key.clone(), move |s, _| s.complete_upload(&upload)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<bool, ObjectError> {
        let upload = upload.clone();
        self.blocking(&upload.key.clone(), move |s, _| s.abort_upload(&upload)).await
    }

    fn receiver(&self) -> Option<&dyn PartReceiver> {
        Some(self)
    }

    fn address(&self, key: &str) -> String {
        let path = self.root.join(key);
        // Workers run in folders of their own.
        std::path::absolute(&path).unwrap_or(path).display().to_string()
    }
}
