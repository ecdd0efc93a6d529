use std::sync::Arc;
use std::time::Duration;

use fleet::internet::Reach;

use crate::source::test_server::{Behaviour, TestServer, answer};
use crate::source::{BlockOptions, Source, SourceError, SourceLocation, SourceOptions};

/// Blocks of 100 bytes and short waits.
fn options() -> SourceOptions {
    let defaults = SourceOptions::default();
    let mut network = defaults.network;
    network.first_delay = Duration::from_millis(1);
    network.idle_timeout = Duration::from_millis(200);
    SourceOptions { remote: BlockOptions { block_len: 100, cache_bytes: 1000, read_ahead: 0 }, network, ..defaults }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

async fn open(server: &TestServer) -> Result<Source, SourceError> {
    let location = SourceLocation::parse(&server.url("/match.mp4?signature=secret")).unwrap();
    Source::open(&location, options()).await
}

fn name(error: &SourceError) -> &'static str {
    match error {
        SourceError::NotFound { .. } => "not found",
        SourceError::Forbidden { .. } => "forbidden",
        SourceError::Changed { .. } => "changed",
        SourceError::RangesUnsupported { .. } => "ranges unsupported",
        SourceError::InvalidResponse { .. } => "invalid",
        SourceError::Unavailable { .. } => "unavailable",
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn opening_makes_one_get_and_keeps_its_bytes() {
    let server = TestServer::start(content(250)).await;
    let source = open(&server).await.unwrap();
    assert_eq!(source.len(), 250);
    assert_eq!(source.identity(), "http:250:\"v1\"");
    assert_eq!(source.read_at(10, 20).await.unwrap(), content(250)[10..30]);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("GET", "/match.mp4?signature=secret"));
    assert_eq!(requests[0].headers["range"], "bytes=0-99");

    assert_eq!(source.read_at(90, 1000).await.unwrap(), content(250)[90..]);
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1..].iter().all(|request| request.headers["if-match"] == "\"v1\""));
}

#[tokio::test]
async fn an_empty_resource_has_length_zero() {
    for ranges in [true, false] {
        let server = TestServer::start(Vec::new()).await;
        server.set(|behaviour| behaviour.ranges = ranges);
        let source = open(&server).await.unwrap();
        assert_eq!(source.len(), 0);
        assert!(source.read_at(0, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_server_without_ranges_serves_only_what_fits_one_block() {
    let server = TestServer::start(content(100)).await;
    server.set(|behaviour| behaviour.ranges = false);
    let source = open(&server).await.unwrap();
    assert_eq!(source.read_at(0, 1000).await.unwrap(), content(100));

    server.set(|behaviour| behaviour.content = content(101));
    assert_eq!(name(&open(&server).await.unwrap_err()), "ranges unsupported");
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let server = TestServer::start(content(250)).await;
    type Trouble = (&'static str, fn(&mut Behaviour), usize);
    let troubles: [Trouble; 5] = [
        ("busy", |behaviour| behaviour.answers.extend([answer(503, ""), answer(500, ""), answer(429, "")]), 3),
        ("cut", |behaviour| behaviour.cut = 2, 2),
        ("silent", |behaviour| behaviour.hang = 1, 1),
        ("garbled", |behaviour| behaviour.answers.push_back("HTTP/1.1 nonsense\r\n\r\n".to_owned()), 1),
        ("none", |_| (), 0),
    ];
    for (trouble, cause, failures) in troubles {
        let source = open(&server).await.unwrap();
        let before = server.requests().len();
        server.set(cause);
        assert_eq!(source.read_at(120, 50).await.unwrap(), content(250)[120..170], "{trouble}");
        assert_eq!(server.requests().len() - before, failures + 1, "{trouble}");
    }
    server.set(|behaviour| behaviour.answers.extend([answer(503, ""), answer(503, "")]));
    assert_eq!(open(&server).await.unwrap().len(), 250);
}

#[tokio::test]
async fn retries_end_and_a_later_read_starts_anew() {
    let server = TestServer::start(content(250)).await;
    let source = open(&server).await.unwrap();
    server.set(|behaviour| behaviour.answers.extend(vec![answer(503, ""); 5]));
    let error = source.read_at(100, 1).await.unwrap_err();
    assert_eq!(name(&error), "unavailable");
    assert!(error.retryable());
    assert_eq!(server.requests().len(), 6);
    assert_eq!(source.read_at(100, 1).await.unwrap(), content(250)[100..101]);
}

#[tokio::test]
async fn what_will_not_pass_is_asked_once() {
    let part = |range: &str| format!("HTTP/1.1 206 Status\r\nETag: \"v1\"\r\nContent-Range: {range}\r\n");
    let cases = [
        (answer(403, ""), "forbidden"),
        (answer(404, ""), "not found"),
        (answer(412, ""), "changed"),
        (answer(416, "Content-Range: bytes */50\r\n"), "changed"),
        (answer(204, ""), "invalid"),
        (answer(206, "ETag: \"v2\"\r\nContent-Range: bytes 100-199/250\r\n"), "changed"),
        (answer(206, "Content-Range: bytes 100-199/250\r\n"), "changed"),
        (answer(206, "ETag: \"v1\"\r\nContent-Range: bytes 100-199/251\r\n"), "changed"),
        (answer(206, "ETag: \"v1\"\r\nContent-Range: bytes 0-99/250\r\n"), "invalid"),
        (answer(206, "ETag: \"v1\"\r\nContent-Encoding: gzip\r\n"), "invalid"),
        (answer(200, "ETag: \"v1\"\r\n"), "ranges unsupported"),
        (format!("{}Content-Length: 101\r\n\r\n{}", part("bytes 100-199/250"), "x".repeat(101)), "invalid"),
    ];
    for (canned, expected) in cases {
        let server = TestServer::start(content(250)).await;
        let source = open(&server).await.unwrap();
        server.set(|behaviour| behaviour.answers.push_back(canned.clone()));
        let error = source.read_at(100, 100).await.unwrap_err();
        assert_eq!(name(&error), expected, "{canned}");
        assert_eq!(server.requests().len(), 2, "{canned}");
        assert!(!error.retryable(), "{canned}");
        assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_replaced_resource_is_noticed_with_and_without_preconditions() {
    type Change = fn(&mut Behaviour);
    let cases: [(Change, Change); 4] = [
        (|_| (), |behaviour| behaviour.etag = Some("\"v2\"")),
        (|behaviour| behaviour.preconditions = false, |behaviour| behaviour.etag = Some("\"v2\"")),
        (|behaviour| behaviour.etag = Some("W/\"v1\""), |behaviour| behaviour.etag = Some("W/\"v2\"")),
        (
            |behaviour| {
                behaviour.etag = None;
                behaviour.last_modified = Some("Sat, 21 Nov 2026 01:27:00 GMT");
            },
            |behaviour| behaviour.last_modified = Some("Sat, 21 Nov 2026 01:28:00 GMT"),
        ),
    ];
    for (number, (before, after)) in cases.into_iter().enumerate() {
        let server = TestServer::start(content(250)).await;
        server.set(before);
        let source = open(&server).await.unwrap();
        assert_eq!(source.read_at(100, 1).await.unwrap().len(), 1, "{number}");
        server.set(after);
        assert_eq!(name(&source.read_at(200, 1).await.unwrap_err()), "changed", "{number}");
        assert_ne!(open(&server).await.unwrap().identity(), source.identity(), "{number}");
    }
}

#[tokio::test]
async fn redirects_are_followed_five_times_without_telling_where_from() {
    for (redirects, works) in [(5, true), (6, false)] {
        let server = TestServer::start(content(250)).await;
        let redirect = answer(302, "Location: /match.mp4?other=secret\r\n");
        server.set(|behaviour| behaviour.answers.extend(vec![redirect; redirects]));
        match open(&server).await {
            Ok(source) => assert!(works && source.len() == 250),
            Err(error) => assert!(!works && name(&error) == "invalid" && !format!("{error:?}").contains("secret")),
        }
        assert!(server.requests().iter().all(|request| !request.headers.contains_key("referer")));
    }
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_its_error_names_no_secret() {
    let server = TestServer::start(content(1)).await;
    let url = server.url("/match.mp4?signature=secret");
    drop(server);
    let mut options = options();
    options.network.tries = 2;
    // The listener closes when its task has been dropped, which takes a turn of the runtime.
    tokio::task::yield_now().await;
    let error = Source::open(&SourceLocation::parse(&url).unwrap(), options).await.unwrap_err();
    assert_eq!(name(&error), "unavailable");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn what_a_stranger_names_is_reached_on_the_public_internet_alone() {
    let server = TestServer::start(content(250)).await;
    let reach = |allow: &[&str]| {
        let allow: Vec<String> = allow.iter().map(|&network| network.to_owned()).collect();
        Some(Arc::new(Reach::with(&allow).unwrap()))
    };
    let open = async |url: String, reach| {
        let options = SourceOptions { reach, ..options() };
        Source::open(&SourceLocation::parse(&url).unwrap(), options).await
    };
    let is_refused = |outcome: &Result<Source, SourceError>| matches!(outcome, Err(SourceError::BadLocation { reason, .. }) if reason.contains("public Internet"));
    let address = server.url("/match.mp4");
    let name = address.replace("127.0.0.1", "localhost");
    for url in [&address, &name] {
        let outcome = open(url.clone(), reach(&[])).await;
        assert!(is_refused(&outcome), "{url}: {outcome:?}");
    }
    assert!(server.requests().is_empty(), "nothing was sent");
    for url in [&address, &name] {
        assert_eq!(open(url.clone(), reach(&["127.0.0.1/32"])).await.unwrap().len(), 250, "{url}");
    }
    let elsewhere = address.replace("127.0.0.1", "127.0.0.2");
    server.set(|behaviour| behaviour.answers.push_back(answer(302, &format!("Location: {elsewhere}\r\n"))));
    let outcome = open(address.clone(), reach(&["127.0.0.1/32"])).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    server.set(|behaviour| behaviour.answers.push_back(answer(302, "Location: /match.mp4\r\n")));
    assert_eq!(open(address, reach(&["127.0.0.1/32"])).await.unwrap().len(), 250, "a redirect within it is followed");
}
