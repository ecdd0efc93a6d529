//! What every store promises, as one suite for all.

#![expect(clippy::unwrap_used, reason = "the suite fails by panicking")]

use std::time::Duration;

use bytes::Bytes;

use super::{ETag, ObjectError, ObjectStore, PutCondition, meta_for};

/// Checks a store; it should be empty below `conformance/`.
///
/// # Panics
/// A promise is broken.
pub async fn conformance(store: &dyn ObjectStore) {
    reads_what_was_written(store).await;
    conditions(store).await;
    lists(store).await;
    deletes(store).await;
    files(store).await;
    one_of_many_wins(store).await;
}

async fn put(store: &dyn ObjectStore, key: &str, text: &str) -> ETag {
    store
        .put(key, Bytes::copy_from_slice(text.as_bytes()), meta_for(key), PutCondition::Always)
        .await
        .unwrap_or_else(|e| panic!("put {key}: {e}"))
}

async fn reads_what_was_written(store: &dyn ObjectStore) {
    for key in ["conformance/a.m4s", "conformance/Spiel Größe+1 %41&x=y/日本 ⚽.m3u8", "conformance/empty.json"] {
        let text = if key.contains("empty") { "" } else { "0123456789" };
        let etag = put(store, key, text).await;
        let (bytes, read) = store.get(key, 100).await.unwrap();
        assert_eq!((bytes.as_ref(), &read), (text.as_bytes(), &etag), "{key}");
        let facts = store.head(key).await.unwrap().unwrap();
        assert_eq!((facts.size, &facts.etag), (text.len() as u64, &etag), "{key}");
        assert!((time::OffsetDateTime::now_utc() - facts.modified).abs() < Duration::from_secs(120), "{key}");
    }
    let key = "conformance/a.m4s";
    assert_eq!(store.get_range(key, 2, 3).await.unwrap(), "234");
    assert_eq!(store.get_range(key, 8, 100).await.unwrap(), "89");
    assert_eq!(store.get_range(key, 10, 5).await.unwrap(), "");
    assert!(matches!(store.get(key, 9).await, Err(ObjectError::Invalid { .. })), "larger than the limit");
    put(store, key, "other").await;
    assert_eq!(store.get(key, 9).await.unwrap().0, "other");
    let missing = "conformance/missing";
    assert!(store.head(missing).await.unwrap().is_none());
    assert!(matches!(store.get(missing, 9).await, Err(ObjectError::NotFound { .. })));
    assert!(matches!(store.get_range(missing, 0, 9).await, Err(ObjectError::NotFound { .. })));
    for bad in ["", "conformance/../x", "conformance//x"] {
        let outcome = store.put(bad, Bytes::new(), meta_for(bad), PutCondition::Always).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{bad:?}: {outcome:?}");
    }
}

async fn conditions(store: &dyn ObjectStore) {
    let key = "conformance/conditions.m3u8";
    let write =
        |text: &'static str, condition| store.put(key, Bytes::from_static(text.as_bytes()), meta_for(key), condition);
    let first = write("one", PutCondition::IfAbsent).await.unwrap();
    assert!(matches!(write("two", PutCondition::IfAbsent).await, Err(ObjectError::PreconditionFailed { .. })));
    let second = write("two", PutCondition::IfMatch(first.clone())).await.unwrap();
    assert_ne!(first, second);
    assert!(matches!(write("late", PutCondition::IfMatch(first)).await, Err(ObjectError::PreconditionFailed { .. })));
    assert_eq!(store.get(key, 9).await.unwrap().0, "two");
}

async fn lists(store: &dyn ObjectStore) {
    let keys = ["conformance/list/a", "conformance/list/b/c", "conformance/list/b/d e", "conformance/list/é"];
    for key in keys {
        put(store, key, key).await;
    }
    put(store, "conformance/lists-not", "x").await;
    let names = |found: Vec<super::ObjectFacts>| found.into_iter().map(|f| f.key).collect::<Vec<_>>();
    assert_eq!(names(store.list("conformance/list/", None).await.unwrap()), keys);
    assert_eq!(names(store.list("conformance/list/", Some(keys[1])).await.unwrap()), keys[2..]);
    assert_eq!(names(store.list("conformance/list/b/", None).await.unwrap()), keys[1..3]);
    assert!(store.list("conformance/nothing/", None).await.unwrap().is_empty());
    let sizes: Vec<u64> = store.list("conformance/list/", None).await.unwrap().iter().map(|f| f.size).collect();
    assert_eq!(sizes, keys.map(|k| k.len() as u64));
}

async fn deletes(store: &dyn ObjectStore) {
    let keys: Vec<String> = (0..3).map(|i| format!("conformance/delete/{i}")).collect();
    for key in &keys[..2] {
        put(store, key, "x").await;
    }
    store.delete(&keys).await.expect("what is not there counts as deleted");
    assert!(store.list("conformance/delete/", None).await.unwrap().is_empty());
    put(store, &keys[0], "again").await;
    assert_eq!(store.abort_stale_uploads(Duration::from_secs(3600)).await.unwrap(), 0);
}

async fn files(store: &dyn ObjectStore) {
    let dir = std::env::temp_dir().join(format!("touchline-conformance-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("file");
    for size in [0_usize, 1000, 70 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let key = format!("conformance/file-{size}.mp4");
        store.put_file(&key, &path, meta_for(&key)).await.unwrap();
        assert_eq!(store.head(&key).await.unwrap().unwrap().size, size as u64);
        let tail = store.get_range(&key, size.saturating_sub(500) as u64, 500).await.unwrap();
        assert_eq!(tail, bytes[size.saturating_sub(500)..]);
        store.delete(&[key]).await.unwrap();
    }
    assert!(store.put_file("conformance/none", &dir.join("none"), meta_for("x")).await.is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn one_of_many_wins(store: &dyn ObjectStore) {
    let key = "conformance/race.m3u8";
    let writers = (0..8).map(|i| async move {
        let bytes = Bytes::from(format!("writer {i}"));
        store.put(key, bytes, meta_for(key), PutCondition::IfAbsent).await.is_ok()
    });
    let won = futures_util::future::join_all(writers).await;
    assert_eq!(won.iter().filter(|w| **w).count(), 1, "exactly one of eight writers wins: {won:?}");
    let (bytes, _) = store.get(key, 100).await.unwrap();
    let winner = won.iter().position(|w| *w).unwrap();
    assert_eq!(bytes, format!("writer {winner}"));
}
