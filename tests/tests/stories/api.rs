//! The HTTP interface on a whole local fleet.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stories::client::{Client, Events};
use stories::local_fleet::{Local, log_of, run};
use stories::{complaints, made_clip};
use tempfile::tempdir;

/// The next event of this type.
async fn wait_for(dir: &Path, events: &mut Events, kind: &str) -> (String, Value) {
    let found = async {
        loop {
            let (id, found, data) = events.next().await.expect("the stream goes on");
            if found == kind {
                return (id, data);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), found).await.unwrap_or_else(|_| panic!("{kind}: {}", log_of(dir)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_is_watched_clipped_and_shared_while_it_is_being_made() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 240);
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let client = local.owner(dir.path());

    let (status, me) = client.get("/me").await;
    assert_eq!((status, &me["organisation"]["name"]), (StatusCode::OK, &json!("default")));

    // Sent twice, it is one job.
    let mut events = Events::new(client.send(Method::GET, "/events", None, &[]).await);
    let body = json!({ "source": clip, "title": "Cup final", "ladder": "quick", "encoder": "x264" });
    let once = [("idempotency-key", "final-1")];
    let first = client.send(Method::POST, "/jobs", Some(body.clone()), &once).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let job: Value = first.json().await.unwrap();
    let again = client.send(Method::POST, "/jobs", Some(body), &once).await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), job);
    let other = client.send(Method::POST, "/jobs", Some(json!({ "source": "/none" })), &once).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let id = job["id"].as_str().unwrap();
    assert_eq!(client.get("/jobs").await.1["items"].as_array().unwrap().len(), 1);
    assert_eq!(client.get("/jobs?q=CUP&state=failed").await.1["items"], json!([]));

    let (_, created) = wait_for(dir.path(), &mut events, "job.created").await;
    assert_eq!(created["job"]["title"], "Cup final");
    let (seen, playable) = wait_for(dir.path(), &mut events, "job.playable").await;
    assert_eq!(playable["job_id"], id);

    // Watched while it is being made.
    let (_, playback) = client.get(&format!("/jobs/{id}/playback")).await;
    assert_eq!((&playback["complete"], &playback["master_url"]), (&json!(false), &Value::Null), "{playback}");
    let (status, text) = client.fetch(playback["url"].as_str().unwrap()).await;
    assert!(status.is_success() && text.starts_with("#EXTM3U"), "{status} {text}");
    let (status, text) = client.fetch(playback["thumbnails_url"].as_str().unwrap()).await;
    assert!(status.is_success() && text.starts_with("WEBVTT"), "{status} {text}");

    // Clipped: what can be watched, and nothing else.
    let clips = format!("/jobs/{id}/clips");
    let (status, early) = client.post(&clips, json!({ "start_s": 200, "end_s": 239 })).await;
    assert_eq!((status, &early["code"]), (StatusCode::CONFLICT, &json!("not_watchable_yet")), "{early}");
    let (status, goal) = client.post(&clips, json!({ "start_s": 1.5, "end_s": 5, "title": "Goal" })).await;
    assert_eq!(status, StatusCode::CREATED, "{goal}");
    assert_eq!((goal["offset_s"].as_f64(), goal["length_s"].as_f64()), (Some(1.5), Some(3.5)));
    let address = format!("{}{}", client.server, goal["url"].as_str().unwrap());
    assert_eq!(complaints(Path::new(&address)), "");

    // Shared: the link of the clip plays the clip alone.
    let goal_id = goal["id"].as_str().unwrap();
    let (_, share) = client.post(&format!("/clips/{goal_id}/share"), json!({})).await;
    let token = share["url"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let nobody = Client::new(&client.server, "");
    let (status, shown) = nobody.get(&format!("/shared/{token}")).await;
    assert_eq!((status, &shown["title"], &shown["length_s"]), (StatusCode::OK, &json!("Goal"), &json!(3.5)));
    assert!(nobody.fetch(shown["url"].as_str().unwrap()).await.0.is_success());
    assert_eq!(nobody.fetch(&format!("/media/{token}/watch.m3u8")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(nobody.fetch("/media/x.y/watch.m3u8").await.0, StatusCode::FORBIDDEN);

    // Finished. Who comes back gets what was missed, in order.
    drop(events);
    let resumed = [("last-event-id", seen.as_str())];
    let mut events = Events::new(client.send(Method::GET, &format!("/events?job_id={id}"), None, &resumed).await);
    wait_for(dir.path(), &mut events, "clip.created").await;
    wait_for(dir.path(), &mut events, "job.succeeded").await;
    let (_, playback) = client.get(&format!("/jobs/{id}/playback")).await;
    assert_eq!(playback["url"], playback["master_url"]);
    let address = format!("{}{}", client.server, playback["url"].as_str().unwrap());
    assert_eq!(complaints(Path::new(&address)), "");
    let (_, renditions) = client.get(&format!("/jobs/{id}/renditions")).await;
    assert!(renditions["items"].as_array().unwrap().iter().all(|r| r["segments"].as_i64() > Some(0)), "{renditions}");

    // Renamed, both; nothing is called nothing.
    let rename = async |path: &str, title: &str| {
        let answer = client.send(Method::PATCH, path, Some(json!({ "title": title })), &[]).await;
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    let (of_clip, of_match) = (format!("/clips/{goal_id}"), format!("/jobs/{id}"));
    for (path, title) in [(&of_clip, "1:0"), (&of_match, " Cup final, U17 ")] {
        let (status, renamed) = rename(path, title).await;
        assert_eq!((status, renamed["title"].as_str()), (StatusCode::OK, Some(title.trim())), "{renamed}");
        assert_eq!(rename(path, title.trim()).await.0, StatusCode::OK, "it is called so already");
        assert_eq!(client.get(path).await.1["title"].as_str(), Some(title.trim()));
        let (status, refused) = rename(path, " ").await;
        assert_eq!((status, &refused["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid")), "{refused}");
    }
    wait_for(dir.path(), &mut events, "clip.renamed").await;
    wait_for(dir.path(), &mut events, "job.renamed").await;
    let nothing = format!("/jobs/{goal_id}");
    assert_eq!(rename(&nothing, "x").await.0, StatusCode::NOT_FOUND);

    // The clip outlives the making, and ends when it is deleted.
    assert_eq!(client.get(&clips).await.1["items"].as_array().unwrap().len(), 1);
    let gone = client.send(Method::DELETE, &format!("/clips/{goal_id}"), None, &[]).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(client.get(&format!("/clips/{goal_id}")).await.0, StatusCode::NOT_FOUND);
    let (_, log) = client.get("/audit").await;
    let actions: Vec<&str> = log["items"].as_array().unwrap().iter().filter_map(|l| l["action"].as_str()).collect();
    let wanted = ["clip.deleted", "job.renamed", "clip.renamed", "clip.shared", "clip.created", "job.created"];
    assert_eq!(actions, wanted);
    let (_, usage) = client.get("/usage").await;
    assert!((usage["minutes"].as_f64().unwrap() - 4.0).abs() < 0.1, "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_scoped_rotated_and_withdrawn() {
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &[]);
    let owner = local.owner(dir.path());
    let (status, made) = owner.post("/keys", json!({ "name": "reader", "scopes": ["jobs:read", "keys"] })).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let reader = Client::new(&owner.server, made["secret"].as_str().unwrap());
    let id = made["id"].as_str().unwrap();

    assert_eq!(reader.get("/jobs").await.0, StatusCode::OK);
    let (status, refused) = reader.post("/jobs", json!({ "source": "/x" })).await;
    assert_eq!((status, &refused["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    assert!(refused["request_id"].is_string());
    let (status, _) = reader.post("/keys", json!({ "name": "mightier", "scopes": ["jobs:write"] })).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a key makes none that may more");
    assert_eq!(reader.get("/fleet").await.0, StatusCode::FORBIDDEN);
    assert_eq!(owner.get("/fleet").await.0, StatusCode::OK);
    assert_eq!(Client::new(&owner.server, "").get("/jobs").await.0, StatusCode::UNAUTHORIZED);

    let (status, rotated) = owner.post(&format!("/keys/{id}/rotate"), json!({ "grace_s": 60 })).await;
    assert_eq!(status, StatusCode::OK, "{rotated}");
    let renewed = Client::new(&owner.server, rotated["secret"].as_str().unwrap());
    assert_eq!((renewed.get("/jobs").await.0, reader.get("/jobs").await.0), (StatusCode::OK, StatusCode::OK));
    let gone = owner.send(Method::DELETE, &format!("/keys/{id}"), None, &[]).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        (renewed.get("/jobs").await.0, reader.get("/jobs").await.0),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn organisations_see_nothing_of_each_other() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 6);
    let local = Local::start(dir.path(), &[]);
    let home = local.owner(dir.path());
    let (ok, id) = run(dir.path(), &["organisation", "create", "FC Away"]);
    assert!(ok, "{}", log_of(dir.path()));
    let (ok, key) = run(dir.path(), &["key", "create", "--organisation", "FC Away"]);
    assert!(ok);
    let away = Client::new(&home.server, &key);
    assert_eq!(away.get("/me").await.1["organisation"]["id"], id.trim());

    let (_, job) = home.post("/jobs", json!({ "source": clip, "ladder": "quick" })).await;
    let id = job["id"].as_str().unwrap();
    assert_eq!(away.get("/jobs").await.1["items"], json!([]));
    for path in ["", "/why", "/playback", "/renditions", "/clips"] {
        assert_eq!(away.get(&format!("/jobs/{id}{path}")).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for (path, body) in
        [("cancel", json!({})), ("retry", json!({})), ("focus", json!({ "at_s": 1 })), ("share", json!({}))]
    {
        assert_eq!(away.post(&format!("/jobs/{id}/{path}"), body).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(away.get(&format!("/events?job_id={id}")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(away.get("/audit").await.1["items"].as_array().unwrap().len(), 2, "its own: organisation and key");
    assert_eq!(home.get(&format!("/jobs/{id}")).await.0, StatusCode::OK);
}
