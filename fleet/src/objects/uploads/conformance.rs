//! What every store that takes uploads promises, as one suite for all.

#![expect(clippy::unwrap_used, reason = "the suite fails by panicking")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{Completion, Multipart, Part, PartTarget, SMALLEST_PART, Uploads};
use crate::objects::{ObjectError, PutCondition, meta_for};

const HOUR: Duration = Duration::from_secs(3600);
/// Three parts, the last one short.
const SIZE: u64 = SMALLEST_PART * 2 + 1000;

/// Checks a store; it should be empty below `conformance/uploads/`. `put` sends bytes to an address with headers, and gives the
/// status of the answer, or 0 where the connection broke.
///
/// # Panics
/// A promise is broken.
pub async fn conformance(store: &dyn Uploads, put: impl AsyncFn(&str, &[(String, String)], Bytes) -> u16) {
    let suite = Suite { store, put };
    for checksums in [false, true] {
        suite.parts_become_the_object(checksums).await;
        suite.parts_are_as_announced(checksums).await;
    }
    suite.many_complete_at_once().await;
    suite.what_is_aborted_is_gone().await;
    suite.sizes_and_keys_are_checked().await;
}

struct Suite<'a, P> {
    store: &'a dyn Uploads,
    put: P,
}

fn pattern(size: u64) -> Bytes {
    (0..size).map(|i| (i * 7 % 251) as u8).collect()
}

fn of(upload: &Multipart, number: u32, whole: &Bytes) -> Bytes {
    let (offset, length) = upload.range(number).unwrap();
    whole.slice(usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap())
}

fn part(upload: &Multipart, number: u32, bytes: &Bytes) -> Part {
    Part { number, sha256: upload.checksums.then(|| STANDARD.encode(Sha256::digest(bytes))) }
}

impl<P: AsyncFn(&str, &[(String, String)], Bytes) -> u16> Suite<'_, P> {
    async fn begin(&self, key: &str, size: u64, checksums: bool) -> Multipart {
        let upload = self.store.begin(key, size, "video/mp4", checksums).await.unwrap();
        assert_eq!((upload.key.as_str(), upload.size, upload.checksums), (key, size, checksums));
        upload
    }

    /// Sends bytes as a part; whether the store took them.
    async fn send(&self, upload: &Multipart, part: &Part, bytes: Bytes) -> bool {
        match self.store.target(upload, part, HOUR).await.unwrap() {
            PartTarget::Address { url, headers } => {
                let status = (self.put)(&url, &headers, bytes).await;
                assert!(status < 500, "status {status}");
                status == 200
            }
            PartTarget::Receiver => {
                // In pieces, as a network brings them.
                let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
                let body = stream::iter(pieces).boxed();
                self.store.receiver().unwrap().receive(upload, part, body).await.is_ok()
            }
        }
    }

    async fn send_all(&self, upload: &Multipart, whole: &Bytes) {
        for number in 1..=upload.parts() {
            let bytes = of(upload, number, whole);
            assert!(self.send(upload, &part(upload, number, &bytes), bytes).await, "part {number}");
        }
    }

    async fn numbers(&self, upload: &Multipart) -> Vec<u32> {
        let received = self.store.received(upload).await.unwrap();
        assert!(received.iter().all(|part| Some(part.size) == upload.range(part.number).map(|(_, length)| length)));
        received.iter().map(|part| part.number).collect()
    }

    async fn parts_become_the_object(&self, checksums: bool) {
        let (store, key, whole) = (self.store, "conformance/uploads/é+.mp4", pattern(SIZE));
        let upload = self.begin(key, SIZE, checksums).await;
        assert!(self.numbers(&upload).await.is_empty());
        assert_eq!(store.complete(&upload).await.unwrap(), Completion::Missing(vec![1, 2, 3]));
        for (number, there) in [(3, vec![3]), (1, vec![1, 3]), (1, vec![1, 3])] {
            let bytes = of(&upload, number, &whole);
            assert!(self.send(&upload, &part(&upload, number, &bytes), bytes).await, "part {number}");
            assert_eq!(self.numbers(&upload).await, there);
        }
        assert_eq!(store.complete(&upload).await.unwrap(), Completion::Missing(vec![2]));
        assert!(store.head(key).await.unwrap().is_none(), "there is no object before all of it is there");
        assert!(store.list("conformance/uploads/", None).await.unwrap().is_empty());

        // Sent again, the later bytes count.
        let wrong = Bytes::from(vec![0; usize::try_from(upload.part_size).unwrap()]);
        assert!(self.send(&upload, &part(&upload, 2, &wrong), wrong).await);
        let bytes = of(&upload, 2, &whole);
        assert!(self.send(&upload, &part(&upload, 2, &bytes), bytes.clone()).await);
        assert_eq!(self.numbers(&upload).await, [1, 2, 3]);
        let Completion::Done(facts) = store.complete(&upload).await.unwrap() else { panic!("nothing is missing") };
        assert_eq!((facts.key.as_str(), facts.size), (key, SIZE));
        assert_eq!(store.get(key, SIZE).await.unwrap().0, whole);

        assert_eq!(store.complete(&upload).await.unwrap(), Completion::Done(facts.clone()), "once more");
        assert!(matches!(store.received(&upload).await, Err(ObjectError::NotFound { .. })));
        assert!(!self.send(&upload, &part(&upload, 2, &bytes), bytes).await, "the object changes no more");
        assert!(!store.abort(&upload).await.unwrap(), "what is complete is not aborted");
        assert_eq!(store.head(key).await.unwrap().unwrap().etag, facts.etag);
        store.delete(&[key.to_owned()]).await.unwrap();
    }

    async fn parts_are_as_announced(&self, checksums: bool) {
        let (store, whole) = (self.store, pattern(SIZE));
        let upload = self.begin("conformance/uploads/announced.mp4", SIZE, checksums).await;
        let (bytes, length) = (of(&upload, 3, &whole), usize::try_from(SIZE - 2 * SMALLEST_PART).unwrap());
        let announced = part(&upload, 3, &bytes);
        let longer = Bytes::from(vec![1; length + 1]);
        for wrong in [bytes.slice(..length - 1), Bytes::new(), longer, whole.slice(..1 << 20)] {
            assert!(!self.send(&upload, &announced, wrong.clone()).await, "{} bytes", wrong.len());
        }
        if checksums {
            assert!(!self.send(&upload, &announced, Bytes::from(vec![1; length])).await, "the bytes are others");
            let bare = Part { number: 3, sha256: None };
            assert!(store.target(&upload, &bare, HOUR).await.is_err(), "the checksum is missing");
        }
        let none = part(&upload, 4, &bytes);
        assert!(matches!(store.target(&upload, &none, HOUR).await, Err(ObjectError::Invalid { .. })), "no such part");
        assert!(self.numbers(&upload).await.is_empty(), "nothing of it counts");
        assert!(self.send(&upload, &announced, bytes).await);
        assert_eq!(self.numbers(&upload).await, [3]);
        assert!(store.abort(&upload).await.unwrap());
    }

    async fn many_complete_at_once(&self) {
        let (store, key, whole) = (self.store, "conformance/uploads/many.mp4", pattern(SIZE));
        let upload = self.begin(key, SIZE, false).await;
        self.send_all(&upload, &whole).await;
        let outcomes = join_all((0..6).map(|_| store.complete(&upload))).await;
        let Some(there) = store.head(key).await.unwrap() else { panic!("{outcomes:?}") };
        for outcome in outcomes {
            let Completion::Done(facts) = outcome.unwrap() else { panic!("nothing is missing") };
            assert_eq!((facts.size, facts.etag), (SIZE, there.etag.clone()));
        }
        assert_eq!(store.get(key, SIZE).await.unwrap().0, whole);
        store.delete(&[key.to_owned()]).await.unwrap();
    }

    async fn what_is_aborted_is_gone(&self) {
        let (store, key, whole) = (self.store, "conformance/uploads/aborted.mp4", pattern(10));
        let upload = self.begin(key, 10, false).await;
        self.send_all(&upload, &whole).await;
        assert!(store.abort(&upload).await.unwrap());
        assert!(!store.abort(&upload).await.unwrap(), "once is enough");
        assert!(!self.send(&upload, &part(&upload, 1, &whole), whole.clone()).await);
        assert!(matches!(store.received(&upload).await, Err(ObjectError::NotFound { .. })));
        assert!(matches!(store.complete(&upload).await, Err(ObjectError::NotFound { .. })));
        assert!(store.head(key).await.unwrap().is_none());

        // Of two uploads to one key, one ends without the other.
        let (first, second) = (self.begin(key, 10, false).await, self.begin(key, 10, false).await);
        self.send_all(&second, &whole).await;
        assert!(store.abort(&first).await.unwrap());
        assert!(matches!(store.complete(&second).await.unwrap(), Completion::Done(_)));
        store.delete(&[key.to_owned()]).await.unwrap();

        self.begin(key, 10, false).await;
        assert_eq!(store.abort_stale_uploads(HOUR).await.unwrap(), 0, "an hour is not over");
        let left = self.begin(key, 10, false).await;
        assert!(store.abort(&left).await.unwrap());
    }

    async fn sizes_and_keys_are_checked(&self) {
        let begin = |key: &'static str, size| self.store.begin(key, size, "video/mp4", false);
        for (key, size) in [("conformance/none", 0), ("conformance/huge", (5 << 40) + 1), ("../out", 1), ("", 1)] {
            let outcome = begin(key, size).await;
            assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{key} {size}: {outcome:?}");
        }
        let key = "conformance/uploads/address.mp4";
        self.store.put(key, Bytes::from_static(b"x"), meta_for(key), PutCondition::Always).await.unwrap();
        let address = self.store.address(key);
        assert!(address.ends_with(key) && (address.starts_with('/') || address.starts_with("s3://")), "{address}");
        self.store.delete(&[key.to_owned()]).await.unwrap();
    }
}
