//! Uploads in parts by people who have no credentials of the store: it is begun and completed by us, the parts go straight
//! to the store under addresses that allow one part of one length for some time. Where the store has no addresses (a
//! folder), whoever serves HTTP hands the parts to its [`PartReceiver`].
//!
//! Which parts arrived is asked of the store and kept nowhere else, so an upload goes on after any crash of either side.
//! Completing and aborting may be repeated, and by several at once: all are told the same.

mod conformance;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::key::invalid;
use super::{ObjectError, ObjectFacts, ObjectStore};

#[doc(hidden)]
pub use conformance::conformance as uploads_conformance;

/// Smallest part in bytes: S3 takes 5 MiB, but smaller parts cost more requests than they save on bad lines.
pub const SMALLEST_PART: u64 = 8 << 20;
/// Parts of one upload at most: the limit of S3.
pub const MOST_PARTS: u64 = 10_000;
/// Largest upload in bytes, such that no part is larger than the 5 GiB of S3: 5 TiB, the limit of S3 for an object.
pub const LARGEST_UPLOAD: u64 = 5 << 40;

/// Bytes in each part but the last of an upload of `size` bytes: whole MiB, as few as suffice.
#[must_use]
pub fn part_size(size: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    SMALLEST_PART.max(size.div_ceil(MOST_PARTS).div_ceil(MIB) * MIB)
}

/// An upload in parts that was begun. The store keeps none of this but the parts: whoever began it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// Key of the object to be.
    pub key: String,
    /// The store's own name for the upload.
    pub id: String,
    /// Bytes of the object to be; more than none.
    pub size: u64,
    /// Bytes of each part but the last, which has the rest.
    pub part_size: u64,
    /// Every part comes with a checksum.
    pub checksums: bool,
}

impl Multipart {
    /// What a store calls `id`, of a size that was checked.
    pub(super) fn new(key: &str, id: String, size: u64, checksums: bool) -> Self {
        Self { key: key.to_owned(), id, size, part_size: part_size(size), checksums }
    }

    /// How many parts there are; they are counted from 1.
    #[must_use]
    pub fn parts(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part_size)).unwrap_or(u32::MAX)
    }

    /// First byte and length of a part; `None` when there is no such part.
    #[must_use]
    pub fn range(&self, number: u32) -> Option<(u64, u64)> {
        let offset = u64::from(number.checked_sub(1)?).checked_mul(self.part_size)?;
        (offset < self.size).then(|| (offset, self.part_size.min(self.size - offset)))
    }

    /// As [`range`](Self::range), for a part that is to be sent with or without a checksum.
    pub(super) fn expect(&self, part: &Part) -> Result<(u64, u64), ObjectError> {
        let range = self.range(part.number);
        let range = range.ok_or_else(|| invalid(&self.key, format!("there is no part {}", part.number)))?;
        match (self.checksums, &part.sha256) {
            (true, None) => Err(invalid(&self.key, format!("part {} needs a checksum", part.number))),
            (false, Some(_)) => Err(invalid(&self.key, "the upload was begun without checksums")),
            _ => Ok(range),
        }
    }

    /// The parts that are not among `received`, in order.
    #[must_use]
    pub fn missing(&self, received: &[Received]) -> Vec<u32> {
        let there: std::collections::HashSet<u32> = received.iter().map(|part| part.number).collect();
        (1..=self.parts()).filter(|number| !there.contains(number)).collect()
    }
}

/// A part to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number, from 1.
    pub number: u32,
    /// SHA-256 of its bytes in base64, when the upload has checksums.
    pub sha256: Option<String>,
}

/// A part that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number, from 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
}

/// Where a part goes.
#[derive(Clone, PartialEq, Eq)]
pub enum PartTarget {
    /// To this address with `PUT` and these headers; it is a credential, so never log it.
    Address {
        /// Address, signed.
        url: String,
        /// Headers that are signed with it. `Content-Length` is too, but every client sends it by itself.
        headers: Vec<(String, String)>,
    },
    /// To the store's [`PartReceiver`].
    Receiver,
}

impl std::fmt::Debug for PartTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Receiver) { "Receiver" } else { "Address" })
    }
}

/// What came of completing an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The object is there, now or since an earlier call.
    Done(ObjectFacts),
    /// Nothing was changed: these parts have not arrived.
    Missing(Vec<u32>),
}

/// Why a part was not taken. What had arrived of it is forgotten.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Not as many bytes as the part has.
    #[error("part {number} has {expected} bytes, not {got}")]
    Length {
        /// Part.
        number: u32,
        /// Bytes it has.
        expected: u64,
        /// Bytes that came; more may have followed.
        got: u64,
    },
    /// The bytes are not those of the checksum.
    #[error("part {number} does not have the checksum it was announced with")]
    Checksum {
        /// Part.
        number: u32,
    },
    /// Another request sends the same part, or the upload is being completed.
    #[error("part {number} is being received already")]
    Busy {
        /// Part.
        number: u32,
    },
    /// The sender went away.
    #[error("part {number} broke off: {reason}")]
    BrokeOff {
        /// Part.
        number: u32,
        /// What happened.
        reason: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] ObjectError),
}

/// Bytes of a part on their way in.
pub type PartBody = BoxStream<'static, Result<Bytes, String>>;

/// Takes parts for a store that has no addresses.
#[async_trait]
pub trait PartReceiver: Send + Sync {
    /// Writes a part, which counts as received when all of it is safely there. What the same part had before is replaced.
    ///
    /// # Errors
    /// [`PartError`].
    async fn receive(&self, upload: &Multipart, part: &Part, body: PartBody) -> Result<Received, PartError>;
}

/// A store that takes uploads in parts.
#[async_trait]
pub trait Uploads: ObjectStore {
    /// Begins an upload of `size` bytes to a key that nothing else uses. Checksums are used when `checksums` asks for them
    /// and the store can.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when the size is none or too large; else whatever the store meets.
    async fn begin(&self, key: &str, size: u64, content_type: &str, checksums: bool) -> Result<Multipart, ObjectError>;

    /// Where a part goes, for `valid` from now on.
    ///
    /// # Errors
    /// [`ObjectError::Invalid`] when there is no such part, or its checksum is missing or not wanted. Whether the upload
    /// still is there is not asked.
    async fn target(&self, upload: &Multipart, part: &Part, valid: Duration) -> Result<PartTarget, ObjectError>;

    /// The parts that have arrived, by number.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] when the upload was completed or aborted; else whatever the store meets.
    async fn received(&self, upload: &Multipart) -> Result<Vec<Received>, ObjectError>;

    /// Makes the object of the parts.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] when the upload was aborted, [`ObjectError::Unavailable`] also while parts are being
    /// received; else whatever the store meets.
    async fn complete(&self, upload: &Multipart) -> Result<Completion, ObjectError>;

    /// Gives the upload up, with all that has arrived, and says whether there was one. What was completed stays.
    ///
    /// # Errors
    /// Whatever the store meets.
    async fn abort(&self, upload: &Multipart) -> Result<bool, ObjectError>;

    /// What takes the parts for which [`target`](Self::target) gives no address.
    fn receiver(&self) -> Option<&dyn PartReceiver> {
        None
    }

    /// The key's place as a job names its source.
    fn address(&self, key: &str) -> String;
}

/// Refuses sizes that no upload can have.
pub(super) fn check_size(key: &str, size: u64) -> Result<(), ObjectError> {
    match size {
        0 => Err(invalid(key, "an upload has at least one byte")),
        1..=LARGEST_UPLOAD => Ok(()),
        _ => Err(invalid(key, format!("an upload has at most {LARGEST_UPLOAD} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(size: u64) -> Multipart {
        Multipart { key: "k".into(), id: "i".into(), size, part_size: part_size(size), checksums: false }
    }

    #[test]
    fn ten_thousand_parts_suffice_for_everything_that_may_come() {
        let gib = 1_u64 << 30;
        for size in [1, SMALLEST_PART - 1, SMALLEST_PART, SMALLEST_PART + 1, 100_000_000_000, 100 * gib, LARGEST_UPLOAD]
        {
            let upload = upload(size);
            assert!(upload.part_size >= SMALLEST_PART && upload.part_size < 5 * gib, "{size}");
            assert!(u64::from(upload.parts()) <= MOST_PARTS, "{size}");
            let ranges: Vec<_> = (1..=upload.parts()).map(|n| upload.range(n).unwrap()).collect();
            let end = ranges.iter().fold(0, |at, (offset, length)| {
                assert_eq!(at, *offset, "{size}: without a gap");
                at + length
            });
            assert_eq!(end, size);
            assert!(ranges[..ranges.len() - 1].iter().all(|(_, length)| *length == upload.part_size), "{size}");
            assert_eq!((upload.range(0), upload.range(upload.parts() + 1)), (None, None), "{size}");
        }
        assert_eq!((upload(100 * gib).part_size, upload(100 * gib).parts()), (11 << 20, 9310));
    }

    #[test]
    fn checksums_are_all_or_none() {
        let part = |sha256: Option<&str>| Part { number: 1, sha256: sha256.map(str::to_owned) };
        let plain = upload(10);
        let sums = Multipart { checksums: true, ..plain.clone() };
        assert_eq!(plain.expect(&part(None)).unwrap(), (0, 10));
        assert_eq!(sums.expect(&part(Some("c"))).unwrap(), (0, 10));
        assert!(plain.expect(&part(Some("c"))).is_err() && sums.expect(&part(None)).is_err());
        assert!(plain.expect(&Part { number: 2, sha256: None }).is_err());
    }

    #[test]
    fn missing_parts_are_told_in_order() {
        let upload = upload(SMALLEST_PART * 3 + 1);
        assert_eq!(upload.missing(&[]), [1, 2, 3, 4]);
        let there = [4, 2].map(|number| Received { number, size: 1 });
        assert_eq!(upload.missing(&there), [1, 3]);
    }
}
