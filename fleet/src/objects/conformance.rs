//! What every store promises, as one suite for all.

#![expect(clippy::unwrap_used, reason = "the suite fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

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
    readers_see_whole_versions(store).await;
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
    assert!(matches!(store.get_range(missing, 0, 0).await, Err(ObjectError::NotFound { .. })), "no bytes of nothing");
    assert_eq!(store.get_range(key, 1, 0).await.unwrap(), "");
    let long = "x".repeat(1025);
    for bad in ["", "/abs", "..", "conformance/../x", "conformance/./x", "conformance//x", "x/", "nul\0", &long] {
        let outcome = store.put(bad, Bytes::new(), meta_for(bad), PutCondition::Always).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "put {bad:?}: {outcome:?}");
        let outcome = store.get(bad, 9).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "get {bad:?}: {outcome:?}");
        let outcome = store.head(bad).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "head {bad:?}: {outcome:?}");
        let outcome = store.delete(&[bad.to_owned()]).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "delete {bad:?}: {outcome:?}");
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
    // Facts of a list serve for conditions as those of a read do.
    let listed = store.list(key, None).await.unwrap().remove(0);
    assert_eq!(listed.etag, second, "a list gives the version that the write gave");
    write("six", PutCondition::IfMatch(listed.etag.clone())).await.unwrap();
    store.delete(&[key.to_owned()]).await.unwrap();
    let gone = write("ten", PutCondition::IfMatch(listed.etag)).await;
    assert!(matches!(gone, Err(ObjectError::PreconditionFailed { .. })), "no version is there: {gone:?}");
    write("new", PutCondition::IfAbsent).await.expect("what was deleted is absent");
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
    assert_eq!(names(store.list("conformance/list/b/d ", None).await.unwrap()), keys[2..3], "within a name");
    assert_eq!(names(store.list("conformance/list/", Some("conformance/list/b/cc")).await.unwrap()), keys[2..]);
    assert!(store.list("conformance/list/", Some(keys[3])).await.unwrap().is_empty());
    assert!(store.list("conformance/nothing/", None).await.unwrap().is_empty());
    for bad in ["../", "/", "conformance/../"] {
        let outcome = store.list(bad, None).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "list {bad:?}: {outcome:?}");
    }
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
    // The last goes up in parts.
    for size in [0_usize, 1000, 20 << 20, 70 << 20] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let key = format!("conformance/file-{size}.mp4");
        store.put_file(&key, &path, meta_for(&key)).await.unwrap();
        assert_eq!(store.head(&key).await.unwrap().unwrap().size, size as u64);
        let tail = store.get_range(&key, size.saturating_sub(500) as u64, 500).await.unwrap();
        assert_eq!(tail, bytes[size.saturating_sub(500)..]);
        store.delete(&[key]).await.unwrap();
    }
    for no_file in [dir.join("none"), dir.clone()] {
        let outcome = store.put_file("conformance/none", &no_file, meta_for("x")).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{}: {outcome:?}", no_file.display());
    }
    assert!(store.head("conformance/none").await.unwrap().is_none());
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn one_of_many_wins(store: &dyn ObjectStore) {
    let key = "conformance/race.m3u8";
    race(store, key, &PutCondition::IfAbsent).await;
    let (_, etag) = store.get(key, 100).await.unwrap();
    race(store, key, &PutCondition::IfMatch(etag)).await;
}

/// Eight writers with one condition at once.
async fn race(store: &dyn ObjectStore, key: &str, condition: &PutCondition) {
    let name = |i: usize| format!("{condition:?}, writer {i}");
    let writers = (0..8).map(|i| store.put(key, Bytes::from(name(i)), meta_for(key), condition.clone()));
    let outcomes = join_all(writers).await;
    let won: Vec<usize> = (0..8).filter(|i| outcomes[*i].is_ok()).collect();
    assert_eq!(won.len(), 1, "exactly one of eight writers wins: {outcomes:?}");
    for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(lost, ObjectError::PreconditionFailed { .. }), "the others are told why: {lost:?}");
    }
    let (bytes, etag) = store.get(key, 1000).await.unwrap();
    assert_eq!(bytes, name(won[0]), "the winner's bytes are there");
    assert_eq!(outcomes[won[0]].as_ref().ok(), Some(&etag), "the winner was given the version that is there");
}

async fn readers_see_whole_versions(store: &dyn ObjectStore) {
    let key = "conformance/overwritten.mp4";
    let version = |letter: u8| Bytes::from(vec![letter; 300_000 + usize::from(letter)]);
    store.put(key, version(b'a'), meta_for(key), PutCondition::Always).await.unwrap();
    let writer = async {
        for letter in b'b'..=b'p' {
            store.put(key, version(letter), meta_for(key), PutCondition::Always).await.unwrap();
        }
    };
    let readers = (0..3).map(|_| async {
        let mut last = b'a';
        while last < b'p' {
            let (bytes, _) = store.get(key, 1 << 20).await.unwrap();
            let letter = bytes[0];
            assert!(bytes == version(letter), "a reader got a mixture of versions");
            assert!(letter >= last, "a reader got an older version after a newer one");
            last = letter;
        }
    });
    futures_util::future::join(writer, join_all(readers)).await;
}
