use super::*;

#[tokio::test]
async fn a_folder_keeps_what_every_store_promises() {
    let dir = tempfile::tempdir().unwrap();
    super::super::conformance(&FolderStore::open(dir.path()).unwrap()).await;
}

#[tokio::test]
async fn a_folder_takes_uploads_as_every_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let no_address = async |_: &str, _: &[(String, String)], _| panic!("a folder has no addresses");
    super::super::uploads_conformance(&store, no_address).await;
}

#[tokio::test]
async fn keys_that_lead_out_of_the_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("outside"), "x").unwrap();
    let store = FolderStore::open(dir.path().join("store")).unwrap();
    for key in ["", "/etc/passwd", "../outside", "a/../../outside", "a//b", ".touchline/lock", "a/./b", "nul\0"] {
        let outcome = store.get(key, 10).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{key:?}: {outcome:?}");
    }
    for prefix in ["../", "/", "//", "a/../../", ".touchline/"] {
        let outcome = store.list(prefix, None).await;
        assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{prefix:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_object_and_a_folder_cannot_have_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let put = |key: &'static str, condition| store.put(key, Bytes::new(), super::super::meta_for(key), condition);
    put("a/b", PutCondition::Always).await.unwrap();
    for key in ["a", "a/b/c"] {
        for condition in [PutCondition::Always, PutCondition::IfAbsent] {
            let outcome = put(key, condition).await;
            assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{key}: {outcome:?}");
        }
        assert!(matches!(store.get(key, 9).await, Err(ObjectError::NotFound { .. })), "{key}");
        store.delete(&[key.to_owned()]).await.expect("what is no object counts as deleted");
    }
    assert_eq!(fs::read_dir(store.root.join(STATE)).unwrap().count(), 1, "only the lock is left");
}

#[tokio::test]
async fn folders_vanish_with_their_last_object_and_no_writer_is_hurt() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let churn = (0..4).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = format!("deep/er/{i}");
            for _ in 0..50 {
                store
                    .put(&key, Bytes::from_static(b"x"), super::super::meta_for(&key), PutCondition::Always)
                    .await
                    .unwrap();
                store.delete(std::slice::from_ref(&key)).await.unwrap();
            }
        })
    });
    for task in churn.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(!dir.path().join("deep").exists());
}

#[tokio::test]
async fn a_list_goes_on_after_a_full_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    let mut all: Vec<String> = (0..PAGE + 5).map(|i| format!("d{}/{i}", i % 7)).collect();
    for key in &all {
        fs::create_dir_all(dir.path().join(&key[..2])).unwrap();
        fs::write(dir.path().join(key), "").unwrap();
    }
    all.sort_unstable();
    let first = store.list("d", None).await.unwrap();
    let rest = store.list("d", Some(&first[PAGE - 1].key)).await.unwrap();
    let found: Vec<String> = first.into_iter().chain(rest).map(|f| f.key).collect();
    assert_eq!(found, all);
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
