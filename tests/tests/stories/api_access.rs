//! Who may do what: every route of the served document, with every scope, from within and from outside the organisation.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stories::client::{Answer, Client};
use stories::fleet_processes::{Fleet, small_ladder};
use stories::interface::{Interface, SOURCE, TENANT_SCOPES, key};
use stories::made_clip;
use stories::services::Postgres;
use uuid::Uuid;

/// A word in everything that our organisation names: it must never be in an answer to another.
const MARK: &str = "kingfisher";

/// An operation of the document.
#[derive(Clone, Debug)]
struct Operation {
    method: String,
    path: String,
    /// Whether it needs no key.
    open: bool,
}

/// All operations of the document, those that only look first, those that delete last.
fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if ["get", "post", "put", "patch", "delete"].contains(&method.as_str()) {
                let open = operation["security"].as_array().is_some_and(|s| s.iter().any(|one| one == &json!({})));
                all.push(Operation { method: method.clone(), path: path.clone(), open });
            }
        }
    }
    all.sort_by_key(|o| (o.method == "delete", o.method != "get", o.path.matches('/').count()));
    all
}

/// The scope that an operation needs, decided here and not read from the implementation. `None`: any key.
fn scope_of(operation: &Operation) -> Option<&'static str> {
    let read = operation.method == "get";
    let parts: Vec<&str> = operation.path.trim_start_matches("/v1/").split('/').collect();
    Some(match (parts[0], parts.last().copied().unwrap_or_default()) {
        ("me" | "ladders", _) => return None,
        ("jobs", "share") => "clips:write",
        ("jobs", "clips") if !read => "clips:write",
        ("jobs" | "clips" | "events", _) if read => "jobs:read",
        ("jobs", _) => "jobs:write",
        ("clips", _) => "clips:write",
        ("uploads", _) => "uploads:write",
        ("webhooks", _) => "webhooks",
        ("keys" | "audit", _) => "keys",
        ("usage", _) => "usage:read",
        ("quote", _) => "jobs:write",
        ("fleet" | "workers" | "redrive" | "organisations", _) => "ops",
        _ => panic!("{operation:?}: say here which scope a new resource needs"),
    })
}

/// A body that an operation takes.
fn body(operation: &Operation) -> Value {
    match operation.path.trim_start_matches("/v1/") {
        "keys" | "organisations/{id}/keys" => json!({ "name": MARK, "scopes": ["keys"] }),
        "organisations" => json!({ "name": format!("club {}", Uuid::now_v7()) }),
        "organisations/{id}" => json!({ "weight": 1 }),
        "jobs" => json!({ "source": SOURCE, "title": MARK }),
        "quote" => json!({ "duration_s": 5400 }),
        "jobs/{id}/focus" => json!({ "at_s": 1 }),
        "jobs/{id}/clips" => json!({ "start_s": 0, "end_s": 2, "title": MARK }),
        "jobs/{id}" | "clips/{id}" => json!({ "title": format!("{MARK} {}", Uuid::now_v7()) }),
        "uploads" => json!({ "filename": format!("{MARK}.mp4"), "size_bytes": 6_000_000 }),
        "uploads/{id}/parts" => json!({ "parts": [{ "number": 1 }] }),
        "webhooks" => json!({ "url": format!("https://example.org/{MARK}"), "events": ["job.failed"] }),
        "webhooks/{id}" => json!({ "description": MARK }),
        _ => json!({}),
    }
}

/// What is sent with POST and changes nothing: a price is asked for, addresses of parts are signed.
const NO_CHANGE: [&str; 2] = ["/v1/quote", "/v1/uploads/{id}/parts"];

/// How many changes the audit log holds.
async fn recorded(fleet: &Fleet) -> i64 {
    sqlx::query_scalar("select count(*) from touchline.audit").fetch_one(fleet.store.pool()).await.unwrap()
}

/// What our organisation has, one of each.
struct Ours {
    organisation: Uuid,
    ids: BTreeMap<&'static str, String>,
}

impl Ours {
    /// The path of an operation with our ids in it.
    fn path(&self, operation: &Operation) -> String {
        let parts: Vec<&str> = operation.path.split('/').collect();
        let filled = parts.iter().enumerate().map(|(i, part)| {
            if !part.starts_with('{') {
                return *part;
            }
            let resource = parts[i - 1];
            self.ids
                .get(resource)
                .map(String::as_str)
                .unwrap_or_else(|| panic!("{operation:?}: make one of {resource}"))
        });
        filled.collect::<Vec<_>>().join("/")
    }
}

async fn ours(fleet: &Fleet, interface: &Interface) -> Ours {
    let organisation = fleet.store.ensure_organisation(MARK, 1).await.unwrap();
    let client = interface.client(&key(&fleet.store, organisation, &TENANT_SCOPES).await);
    let make = async |path: &str, body: Value| -> Value {
        let (status, made) = client.post(path, body).await;
        assert!(status.is_success(), "{path}: {status} {made}");
        made
    };
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let mut ids = BTreeMap::new();
    ids.insert("organisations", organisation.to_string());
    ids.insert("keys", id(&make("/keys", json!({ "name": MARK, "scopes": ["keys"] })).await));
    let clip = made_clip(fleet.dir.path(), 12).display().to_string();
    let job = fleet.submit_for(organisation, &clip, &small_ladder()).await;
    sqlx::query("update touchline.jobs set title = $2 where id = $1")
        .bind(job)
        .bind(MARK)
        .execute(fleet.store.pool())
        .await
        .unwrap();
    fleet.succeeded(job, Duration::from_secs(180)).await;
    let clip = json!({ "start_s": 1, "end_s": 5, "title": MARK });
    ids.insert("clips", id(&make(&format!("/jobs/{job}/clips"), clip).await));
    ids.insert("jobs", job.to_string());
    let webhook =
        json!({ "url": format!("https://example.org/{MARK}"), "events": ["job.cancelled"], "description": MARK });
    let webhook = id(&make("/webhooks", webhook).await);
    ids.insert("deliveries", id(&make(&format!("/webhooks/{webhook}/test"), json!({})).await));
    ids.insert("webhooks", webhook);
    ids.insert("shared", "no-token".to_owned());
    ids.insert("workers", Uuid::now_v7().to_string());
    let upload = json!({ "filename": format!("{MARK}.mp4"), "size_bytes": 6_000_000 });
    ids.insert("uploads", id(&make("/uploads", upload).await));
    Ours { organisation, ids }
}

async fn ask(client: &Client, operation: &Operation, path: &str) -> Answer {
    let method = Method::from_bytes(operation.method.to_ascii_uppercase().as_bytes()).unwrap();
    let request = client.request(method, path.strip_prefix("/v1").unwrap());
    Answer::to(if operation.method == "get" { request } else { request.json(&body(operation)) }).await
}

/// What an organisation's rows hold, but for what is noted when a key is used or a delivery tried.
async fn snapshot(fleet: &Fleet, organisation: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "select 'job ' || (j.id, j.state, j.title, j.focus_segment)::text from touchline.jobs j where organisation_id = $1
         union all select 'key ' || (k.id, k.hash, k.scopes, k.revoked_at)::text from touchline.api_keys k
            where organisation_id = $1
         union all select 'webhook ' || (w.id, w.url, w.description, w.events, w.enabled, w.secret)::text
            from touchline.webhooks w where organisation_id = $1
         union all select 'delivery ' || d.id from touchline.webhook_deliveries d where organisation_id = $1
         union all select 'clip ' || c::text from touchline.clips c where organisation_id = $1
         union all select 'upload ' || (u.id, u.state)::text from touchline.uploads u where organisation_id = $1
         union all select 'audit ' || (a.id, a.action)::text from touchline.audit a where organisation_id = $1
         union all select 'organisation ' || (o.name, o.tier, o.weight)::text from touchline.organisations o where id = $1
         order by 1",
    )
    .bind(organisation)
    .fetch_all(fleet.store.pool())
    .await
    .unwrap()
}

/// A problem with its code, and the same request id in body and header.
fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}");
    assert_eq!(answer.json()["request_id"].as_str(), Some(answer.header("x-request-id")), "{what}");
    assert!(!answer.text.contains(MARK), "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_closed_to_who_lacks_the_scope_and_to_other_organisations() {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let interface = Interface::of(&mut fleet, 10_000);
    let _dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("local", &[]);
    interface.ready(&fleet).await;
    let nobody = interface.client("");
    let document = Answer::to(nobody.request(Method::GET, "/openapi.json")).await.json();
    let operations = operations(&document);
    assert!(operations.len() > 30, "the document lists the routes: {}", operations.len());
    let ours = ours(&fleet, &interface).await;
    let theirs = fleet.store.ensure_organisation("theirs", 1).await.unwrap();
    let foreign_key = key(&fleet.store, theirs, &TENANT_SCOPES).await;
    let foreign = interface.client(&foreign_key);
    let mut single = BTreeMap::new();
    for scope in TENANT_SCOPES.iter().chain(["ops"].iter()) {
        single.insert(*scope, interface.client(&key(&fleet.store, ours.organisation, &[scope]).await));
    }
    let withdrawn = key(&fleet.store, ours.organisation, &TENANT_SCOPES).await;
    sqlx::query("update touchline.api_keys set revoked_at = now() where prefix = $1")
        .bind(&withdrawn[..15])
        .execute(fleet.store.pool())
        .await
        .unwrap();
    let expired = key(&fleet.store, ours.organisation, &TENANT_SCOPES).await;
    sqlx::query("update touchline.api_keys set expires_at = now() where prefix = $1")
        .bind(&expired[..15])
        .execute(fleet.store.pool())
        .await
        .unwrap();
    let wrong_secret = format!("{}_{}", &foreign_key[..15], "a".repeat(43));
    let strangers = ["", &withdrawn, &expired, &wrong_secret, "tl_", "not a key", "eyJhbGciOiJub25lIn0.e30."];
    let strangers = strangers.map(|key| interface.client(key));

    let before = snapshot(&fleet, ours.organisation).await;
    for operation in operations.iter().filter(|o| !o.open) {
        let what = format!("{} {}", operation.method, operation.path);
        let path = ours.path(operation);
        for stranger in &strangers {
            assert_refused(&ask(stranger, operation, &path).await, 401, "unauthorized", &what);
        }
        let needed = scope_of(operation);
        for (scope, client) in &single {
            if needed.is_some_and(|needed| needed != *scope) {
                let answer = ask(client, operation, &path).await;
                assert_refused(&answer, 403, "forbidden", &format!("{what} with {scope}"));
            }
        }
        let answer = ask(&foreign, operation, &path).await;
        if needed == Some("ops") {
            assert_refused(&answer, 403, "forbidden", &format!("{what} from another organisation"));
        } else if operation.path.contains('{') {
            assert_refused(&answer, 404, "not_found", &format!("{what} of another organisation"));
        } else {
            assert!((200..300).contains(&answer.status), "{what}: {answer:?}");
            for (resource, id) in &ours.ids {
                assert!(
                    !answer.text.contains(id.as_str()),
                    "{what} tells another organisation's {resource}: {answer:?}"
                );
            }
            // What they make themselves bears the word too, but all that looks comes before that.
            assert!(operation.method != "get" || !answer.text.contains(MARK), "{what}: {answer:?}");
        }
    }
    assert_eq!(snapshot(&fleet, ours.organisation).await, before, "nobody changed anything");

    // With the scope and from within, every door opens; what deletes comes last.
    for operation in operations.iter().filter(|o| !o.open) {
        let what = format!("{} {}", operation.method, operation.path);
        let client = &single[scope_of(operation).unwrap_or("jobs:read")];
        let before = recorded(&fleet).await;
        let answer = ask(client, operation, &ours.path(operation)).await;
        // The job has ended, the upload lacks its parts, and there is no such worker: beyond the door, that is the answer.
        let ended = answer.status == 409
            && ["cancel", "retry", "focus", "complete"].iter().any(|verb| operation.path.ends_with(verb));
        let nobody = answer.status == 404 && operation.path.contains("workers");
        let is_done = (200..300).contains(&answer.status);
        assert!(is_done || ended || nobody, "{what}: {answer:?}");
        let is_change = is_done && operation.method != "get" && !NO_CHANGE.contains(&operation.path.as_str());
        assert_eq!(recorded(&fleet).await > before, is_change, "{what}: what changes something is in the audit log");
    }
}
