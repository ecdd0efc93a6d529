//! The promises of docs/SPECIFICATION.md, checked over the database and the output store of a fleet that came to rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use fleet::hls::{Playlist, PlaylistType, parse};
use fleet::keys;
use fleet::objects::ObjectStore;
use fleet::state::JobState;
use fleet::store::Store;
use sqlx::Row;
use uuid::Uuid;

/// Largest object that is read.
const LIMIT: u64 = 64 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Jobs that were looked at.
    pub jobs: usize,
    /// Broken promises, a sentence each.
    pub violations: Vec<String>,
    /// Seconds of pictures that workers made in all, and those of them that were committed.
    pub made_s: f64,
    /// See `made_s`.
    pub committed_s: f64,
}

impl Verdict {
    /// Fails when a promise is broken.
    ///
    /// # Panics
    /// It is.
    pub fn assert_kept(&self) {
        assert!(
            self.violations.is_empty(),
            "{} broken promise(s):\n{}",
            self.violations.len(),
            self.violations.join("\n")
        );
    }
}

/// Checks all jobs.
///
/// # Panics
/// Database or store do not answer.
pub async fn check(store: &Store, objects: &dyn ObjectStore) -> Verdict {
    let mut verdict = Verdict::default();
    let rows = sqlx::query(
        "select id, organisation_id, generation, state, failure_code from touchline.jobs order by created_at",
    )
    .fetch_all(store.pool())
    .await
    .expect("jobs");
    for row in rows {
        let id: Uuid = row.get("id");
        let state = JobState::from_word(row.get("state")).expect("a state of this version");
        let prefix = keys::job_prefix(row.get("organisation_id"), id, row.get("generation"));
        verdict.jobs += 1;
        let mut broken = |text: String| verdict.violations.push(format!("job {id}: {text}"));
        // 1: an accepted job ends.
        if !state.is_final() {
            broken(format!("is {state}, not ended"));
        }
        if state == JobState::Failed && row.get::<Option<String>, _>("failure_code").is_none() {
            broken("failed without a code".to_owned());
        }
        let master = objects.get(&format!("{prefix}{}", keys::MASTER), LIMIT).await.ok();
        if (state == JobState::Succeeded) != master.is_some() && state != JobState::Cancelled {
            broken(format!("is {state}, master.m3u8 is {}", if master.is_some() { "there" } else { "missing" }));
        }
        for text in published(store, objects, id, &prefix, master.map(|(bytes, _)| bytes), state).await {
            broken(text);
        }
        for text in events(store, id, state).await {
            broken(text);
        }
    }
    // 9: nothing is left at work.
    let row = sqlx::query(
        "select (select count(*) from touchline.chunks c join touchline.jobs j on j.id = c.job_id
                 where j.state in ('succeeded', 'failed', 'cancelled') and c.state in ('waiting', 'queued', 'running')) as open,
            (select coalesce(sum(a.made), 0)::float8 from touchline.attempts a
                join touchline.chunks c using (job_id, chunk) where c.kind = 'video') as made,
            (select coalesce(sum(s.count), 0)::float8 from touchline.segments s
                join touchline.renditions r on r.job_id = s.job_id and r.name = s.rendition
                where r.kind = 'video' and r.name = (select min(name) from touchline.renditions q
                    where q.job_id = r.job_id and q.kind = 'video')) as committed",
    )
    .fetch_one(store.pool())
    .await
    .expect("counts");
    let open: i64 = row.get("open");
    if open > 0 {
        verdict.violations.push(format!("{open} chunk(s) of ended jobs are not ended"));
    }
    (verdict.made_s, verdict.committed_s) = (row.get::<f64, _>("made") / 25.0, row.get::<f64, _>("committed") / 25.0);
    verdict
}

/// 2: a published playlist names nothing that is missing, partial or foreign. 5: no frame is lost or there twice.
async fn published(
    store: &Store,
    objects: &dyn ObjectStore,
    job: Uuid,
    prefix: &str,
    master: Option<bytes::Bytes>,
    state: JobState,
) -> Vec<String> {
    let mut broken = Vec::new();
    let mut committed: HashMap<String, (i64, i64, i64)> = HashMap::new();
    let rows =
        sqlx::query("select s.rendition, s.uri, s.bytes, s.first, s.count from touchline.segments s where job_id = $1")
            .bind(job)
            .fetch_all(store.pool())
            .await
            .expect("segments");
    for row in rows {
        let key = format!("{prefix}{}/{}", row.get::<String, _>("rendition"), row.get::<String, _>("uri"));
        committed.insert(key, (row.get("bytes"), row.get("first"), row.get("count")));
    }
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = objects.list(prefix, after.as_deref()).await.expect("a list");
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        sizes.extend(page.into_iter().map(|o| (o.key, o.size)));
    }
    let playlists: Vec<String> =
        sizes.keys().filter(|k| k.ends_with(".m3u8") && k[prefix.len()..].contains('/')).cloned().collect();
    let named: HashSet<String> = master
        .as_ref()
        .and_then(|text| match parse(&String::from_utf8_lossy(text)) {
            Ok(Playlist::Multivariant(m)) => Some(
                m.variants
                    .iter()
                    .map(|v| v.uri.clone())
                    .chain(m.renditions.iter().filter_map(|r| r.uri.clone()))
                    .map(|uri| format!("{prefix}{uri}"))
                    .collect(),
            ),
            _ => None,
        })
        .unwrap_or_default();
    if master.is_some() && named.is_empty() {
        broken.push("master.m3u8 names nothing".to_owned());
    }
    for uri in named.iter().filter(|uri| !sizes.contains_key(*uri)) {
        broken.push(format!("master.m3u8 names {uri}, which is missing"));
    }
    for key in playlists {
        let (text, _) = objects.get(&key, LIMIT).await.expect("a playlist that was listed");
        let Ok(Playlist::Media(playlist)) = parse(&String::from_utf8_lossy(&text)) else {
            broken.push(format!("{key} is no media playlist"));
            continue;
        };
        let folder = Path::new(&key).parent().map(|p| p.display().to_string()).unwrap_or_default();
        let mut next = 0;
        for segment in &playlist.segments {
            let uri = format!("{folder}/{}", segment.uri);
            let Some((bytes, first, count)) = committed.get(&uri) else {
                broken.push(format!("{key} names {uri}, which nobody committed"));
                continue;
            };
            if sizes.get(&uri).is_none_or(|size| i64::try_from(*size) != Ok(*bytes)) {
                broken.push(format!("{key} names {uri}: {bytes} bytes committed, {:?} stored", sizes.get(&uri)));
            }
            if !playlist.iframes_only {
                if *first != next && *first != 0 {
                    broken.push(format!("{key}: {uri} begins at {first}, {next} was expected"));
                }
                next = first + count;
            }
            if let Some(map) = &segment.map
                && !sizes.contains_key(&format!("{folder}/{}", map.uri))
            {
                broken.push(format!("{key} names {}, which is missing", map.uri));
            }
        }
        if state == JobState::Succeeded && playlist.playlist_type == Some(PlaylistType::Event) && !playlist.ended {
            broken.push(format!("{key} grows for ever"));
        }
        if named.contains(&key) && !playlist.ended {
            broken.push(format!("{key} is published and not complete"));
        }
    }
    if state == JobState::Succeeded {
        let rows = sqlx::query(
            "select r.name, coalesce(sum(s.count), 0)::bigint as frames, j.end_frames
             from touchline.jobs j join touchline.renditions r on r.job_id = j.id and r.kind = 'video'
             left join touchline.segments s on s.job_id = j.id and s.rendition = r.name
             where j.id = $1 group by 1, 3",
        )
        .bind(job)
        .fetch_all(store.pool())
        .await
        .expect("frames");
        for row in rows {
            let (frames, end): (i64, Option<i64>) = (row.get("frames"), row.get("end_frames"));
            if Some(frames) != end {
                broken.push(format!("{}: {frames} frames, {end:?} were expected", row.get::<String, _>("name")));
            }
        }
    }
    broken
}

/// One end, one event of it.
async fn events(store: &Store, job: Uuid, state: JobState) -> Vec<String> {
    let row = sqlx::query(
        "select count(*) filter (where type = 'job.succeeded') as succeeded,
            count(*) filter (where type = 'job.playable') as playable,
            (select count(*) from touchline.usage where job_id = $1) as usage,
            (select generation::bigint from touchline.jobs where id = $1) as plans
         from touchline.events where job_id = $1",
    )
    .bind(job)
    .fetch_one(store.pool())
    .await
    .expect("events");
    let wanted = i64::from(state == JobState::Succeeded);
    let (succeeded, usage, playable): (i64, i64, i64) = (row.get("succeeded"), row.get("usage"), row.get("playable"));
    let mut broken = Vec::new();
    if succeeded != wanted || usage != wanted {
        broken.push(format!("is {state} with {succeeded} event(s) of success and {usage} usage row(s)"));
    }
    // A plan that replaces another has a beginning of its own.
    let plans: i64 = row.get("plans");
    if playable > plans {
        broken.push(format!("{playable} events say that it can be watched, of {plans} plan(s)"));
    }
    broken
}
