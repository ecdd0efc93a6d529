//! The served `OpenAPI` document against the running interface: requests are made up from it, and every answer is held
//! against it.

use std::process::Command;

use serde_json::json;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::interface::{Interface, TENANT_SCOPES, key};
use stories::services::{Postgres, installed};

/// Requests for each operation and phase: enough to meet every limit, few enough for each run of the tests.
const EXAMPLES: &str = "20";

#[tokio::test(flavor = "multi_thread")]
async fn made_up_requests_meet_no_defect_and_every_answer_is_as_the_document_says() {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let interface = Interface::of(&mut fleet, 100_000);
    let _dispatcher = fleet.dispatcher();
    interface.ready(&fleet).await;
    let organisation = fleet.store.ensure_organisation("club", 1).await.unwrap();
    fleet.submit_for(organisation, "/none.mp4", &small_ladder()).await;
    let scopes: Vec<&str> = TENANT_SCOPES.iter().copied().chain(["ops"]).collect();
    let key = key(&fleet.store, organisation, &scopes).await;
    let webhook = json!({ "url": "https://example.org/hook", "events": ["job.failed"] });
    assert_eq!(interface.client(&key).post("/webhooks", webhook).await.0, 201);

    let program = installed("schemathesis").join("bin/schemathesis");
    let output = Command::new(program)
        .args(["run", &format!("{}/v1/openapi.json", interface.url)])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        // Its stream does not end.
        .args(["--exclude-path", "/v1/events"])
        // One worker: Python 3.11 miscounts its recursion when two threads parse (python/cpython#106905).
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", "7", "--workers", "1"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_headers_conformance,response_schema_conformance,missing_required_header"])
        .args(["--request-timeout", "20", "--no-color"])
        .env("HYPOTHESIS_STORAGE_DIRECTORY", fleet.dir.path().join("hypothesis"))
        .current_dir(fleet.dir.path())
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&output.stderr), fleet.logs());
    println!("{}", said.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
}
