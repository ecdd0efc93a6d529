//! "This minute first" can be watched first.

use std::path::Path;
use std::time::{Duration, Instant};

use fleet::hls::{MediaPlaylist, Playlist, PlaylistType, parse};
use reqwest::StatusCode;
use serde_json::json;
use stories::client::Client;
use stories::gate::Gate;
use stories::local_fleet::{Local, log_of};
use stories::{complaints, made_clip, with_copied_sound};
use tempfile::tempdir;

/// The media playlists that a multivariant one names.
async fn media(client: &Client, url: &str) -> Vec<(String, MediaPlaylist)> {
    let (status, text) = client.fetch(url).await;
    assert_eq!(status, StatusCode::OK, "{url}: {text}");
    let Ok(Playlist::Multivariant(master)) = parse(&text) else { panic!("{url}: {text}") };
    let sounds = master.renditions.iter().filter_map(|rendition| rendition.uri.clone());
    let names: Vec<String> = master.variants.iter().map(|variant| variant.uri.clone()).chain(sounds).collect();
    assert!(names.len() >= 2, "pictures and sound: {text}");
    let mut found = Vec::new();
    for name in names {
        let address = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
        let (status, text) = client.fetch(&address).await;
        assert_eq!(status, StatusCode::OK, "{address}: {text}");
        let Ok(Playlist::Media(playlist)) = parse(&text) else { panic!("{address}: {text}") };
        found.push((name, playlist));
    }
    found
}

fn names(playlist: &MediaPlaylist) -> Vec<String> {
    playlist.segments.iter().map(|segment| segment.uri.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_that_was_put_first_plays_before_what_precedes_it_and_grows_to_the_end() {
    // In the middle of a chunk, as most are.
    const MINUTE: f64 = 500.0;
    let dir = tempdir().unwrap();
    let source = with_copied_sound(&made_clip(dir.path(), 600));
    // Each chunk waits until what was to be seen before it has been seen.
    let gate = Gate::shut(dir.path());
    let local = Local::start_with_faults(dir.path(), &["--slots", "1"], &gate.rule());
    let client = local.owner(dir.path());
    let body = json!({ "source": source, "title": "Final", "ladder": "sports", "encoder": "x264" });
    let (_, job) = client.post("/jobs", body).await;
    let job = format!("/jobs/{}", job["id"].as_str().unwrap());
    // Before there is a plan nothing can be put first.
    let focus = async || client.post(&format!("{job}/focus"), json!({ "at_s": MINUTE })).await.0 == StatusCode::OK;
    gate.step_until("a minute can be put first", focus).await;
    let playback = async || {
        let (status, playback) = client.get(&format!("{job}/playback?from_s={MINUTE}")).await;
        assert_eq!((status, &playback["complete"]), (StatusCode::OK, &json!(false)), "{playback}");
        playback
    };
    gate.step_until("the minute is there", async || playback().await["starts_at_ms"].as_i64() > Some(0)).await;
    let first = playback().await;
    let starts = first["starts_at_ms"].as_f64().unwrap() / 1000.0;
    // A clip can be made of it, and of nothing that is not there.
    let clip =
        async |from: f64, to: f64| client.post(&format!("{job}/clips"), json!({ "start_s": from, "end_s": to })).await;
    let (status, made) = clip(starts + 1.0, starts + 5.0).await;
    assert_eq!((status, &made["offset_s"]), (StatusCode::CREATED, &json!(1.0)), "{made}");
    let (_, row) = client.get(&job).await;
    assert!(row["watchable_ms"].as_f64() < Some(starts * 1000.0), "it was made early: {row}");

    // The segment of that second, though the match is watchable to nowhere near it.
    assert!(starts <= MINUTE && MINUTE < starts + 6.0, "{first}");
    assert!(first["watchable_ms"].as_f64() > Some(starts * 1000.0));
    assert_eq!(first["presentation_offset_ms"], 200);
    let (_, row) = client.get(&job).await;
    assert!(row["watchable_ms"].as_f64().unwrap() / 1000.0 < MINUTE, "{row}");
    let url = first["url"].as_str().unwrap().to_owned();
    let early = media(&client, &url).await;
    for (name, playlist) in &early {
        assert_eq!((playlist.playlist_type, playlist.ended), (Some(PlaylistType::Event), false), "{name}");
        assert!(names(playlist)[0].contains(&format!("seg_{:05}_", (starts / 6.0).round())), "{name}: {playlist:?}");
    }

    let (_, audit) = client.get("/audit").await;
    let noted = audit["items"].as_array().unwrap().iter().find(|change| change["action"] == "job.focused");
    assert_eq!(noted.map(|change| &change["detail"]), Some(&json!({ "at_s": MINUTE })), "{audit}");

    let made = format!("{}{}", client.server, made["url"].as_str().unwrap());
    assert_eq!(complaints(Path::new(&made)), "");
    for (from, to) in [(MINUTE - 20.0, starts + 5.0), (starts + 1.0, 601.0)] {
        let (status, problem) = clip(from, to).await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("not_watchable_yet")), "{problem}");
    }

    // It only grows, and ends with the match: as soon as that is there, while what precedes it is still being made.
    let has_ended = async || media(&client, &url).await.iter().all(|(_, playlist)| playlist.ended);
    gate.step_until("the match is there from that minute on", has_ended).await;
    let (_, row) = client.get(&job).await;
    assert_eq!(row["state"], "running", "the last minutes were there long before the match was: {row}");
    gate.open();
    let end = Instant::now() + Duration::from_secs(180);
    while client.get(&job).await.1["state"] != "succeeded" {
        assert!(Instant::now() < end, "{}", log_of(dir.path()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let late = media(&client, &url).await;
    for ((name, before), (_, after)) in early.iter().zip(&late) {
        assert!(after.ended && names(after).starts_with(&names(before)), "{name}: {before:?} {after:?}");
        assert_eq!(before.target_duration, after.target_duration, "{name}");
        let seconds: f64 = after.segments.iter().map(|segment| segment.duration).sum();
        assert!((seconds - (600.0 - starts)).abs() < 0.2, "{name}: {seconds} s from {starts}");
    }
    assert_eq!(complaints(Path::new(&format!("{}{url}", client.server))), "");
    // What is asked for now is the match, which is complete.
    let (_, whole) = client.get(&format!("{job}/playback?from_s={MINUTE}")).await;
    assert_eq!((&whole["starts_at_ms"], &whole["url"]), (&json!(0), &whole["master_url"]));
    assert_eq!(client.get(&format!("{job}/playback?from_s=-1")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}
