//! What stores do badly, played by a small server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::super::meta_for;
use super::super::uploads::{Completion, Part, PartTarget, Uploads};
use super::*;

/// What a client asked for; headers by lower-case name.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    headers: HashMap<String, String>,
}

/// The answer to the request of this number; `None` closes the connection instead.
type Script = Arc<dyn Fn(usize, &Request) -> Option<String> + Send + Sync>;

struct Server {
    store: S3Store,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    async fn start(script: impl Fn(usize, &Request) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .force_path_style(true);
        let options = S3Options {
            tries: 3,
            first_delay: Duration::from_millis(1),
            request_timeout: Duration::from_secs(5),
            ..S3Options::default()
        };
        let requests = Arc::default();
        tokio::spawn(accept(listener, Arc::new(script), Arc::clone(&requests)));
        Self { store: S3Store::new(config, "b", "p", options), requests }
    }

    /// Method and path with query of all requests so far.
    fn lines(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|r| r.line.clone()).collect()
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        self.requests.lock().unwrap()[request].headers.get(name).cloned()
    }

    async fn put(&self, condition: PutCondition) -> Result<ETag, ObjectError> {
        self.store.put("k.m3u8", Bytes::from_static(b"own"), meta_for("k.m3u8"), condition).await
    }
}

async fn accept(listener: TcpListener, script: Script, requests: Arc<Mutex<Vec<Request>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (script, requests) = (Arc::clone(&script), Arc::clone(&requests));
        // A client that goes away ends its connection with an error, which is no concern of the test.
        tokio::spawn(async move { serve(stream, &script, &requests).await.ok() });
    }
}

async fn serve(stream: TcpStream, script: &Script, requests: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let pairs = head[1..].iter().filter_map(|line| line.split_once(": "));
        let headers: HashMap<_, _> = pairs.map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
        if headers.contains_key("expect") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
        tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await?;
        let line = head[0].trim_end_matches(" HTTP/1.1").replace("/b/p/", "");
        let request = Request { line, headers };
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let Some(answer) = script(number, &request) else { return stream.shutdown().await };
        stream.write_all(answer.as_bytes()).await?;
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a script gives")]
fn answer(status: u16, headers: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status} S\r\nETag: \"e\"\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()))
}

fn refusal(status: u16, code: &str) -> Option<String> {
    answer(status, "", &format!("<Error><Code>{code}</Code><Message>m</Message></Error>"))
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_known_by_its_bytes() {
    for (there, won) in [("own", true), ("not", false)] {
        let server = Server::start(move |number, _| match number {
            0 => None,
            1 => refusal(412, "PreconditionFailed"),
            _ => answer(200, "", there),
        })
        .await;
        let outcome = server.put(PutCondition::IfAbsent).await;
        assert_eq!(outcome.is_ok(), won, "{outcome:?}");
        assert_eq!(
            server.lines(),
            ["PUT k.m3u8?x-id=PutObject"; 2].into_iter().chain(["GET k.m3u8?x-id=GetObject"]).collect::<Vec<_>>()
        );
        assert_eq!(server.header(1, "if-none-match").as_deref(), Some("*"));
    }
    let server = Server::start(|_, _| refusal(412, "PreconditionFailed")).await;
    let outcome = server.put(PutCondition::IfAbsent).await;
    assert!(matches!(outcome, Err(ObjectError::PreconditionFailed { .. })), "{outcome:?}");
    assert_eq!(server.lines().len(), 1, "a first answer is believed");
}

#[tokio::test]
async fn a_conflict_is_tried_again_until_the_store_says_who_won() {
    let server = Server::start(|number, _| match number {
        0 => refusal(409, "ConditionalRequestConflict"),
        _ => answer(200, "", ""),
    })
    .await;
    server.put(PutCondition::IfAbsent).await.unwrap();
    let server = Server::start(|_, _| refusal(404, "NoSuchKey")).await;
    let outcome = server.put(PutCondition::IfMatch(ETag("\"e\"".into()))).await;
    assert!(matches!(outcome, Err(ObjectError::PreconditionFailed { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_store_without_conditions_gets_a_look_before_each_write() {
    let server = Server::start(|number, request| {
        if request.headers.contains_key("if-none-match") || request.headers.contains_key("if-match") {
            return refusal(501, "NotImplemented");
        }
        if request.line.starts_with("HEAD") && number < 3 { answer(404, "", "") } else { answer(200, "", "") }
    })
    .await;
    server.put(PutCondition::IfAbsent).await.unwrap();
    let methods = |server: &Server| server.lines().iter().map(|l| l[..4].to_owned()).collect::<Vec<_>>();
    assert_eq!(methods(&server), ["PUT ", "HEAD", "PUT "]);
    let outcome = server.put(PutCondition::IfAbsent).await;
    assert!(matches!(outcome, Err(ObjectError::PreconditionFailed { .. })), "{outcome:?}");
    server.put(PutCondition::IfMatch(ETag("\"e\"".into()))).await.unwrap();
    assert_eq!(methods(&server)[3..], ["HEAD", "HEAD", "PUT "], "the store is not asked again whether it knows them");
}

#[tokio::test]
async fn only_what_may_pass_is_tried_again_and_not_for_ever() {
    let server = Server::start(|number, _| match number {
        0 => refusal(503, "SlowDown"),
        1 => None,
        _ => answer(200, "", "text"),
    })
    .await;
    assert_eq!(server.store.get("k", 9).await.unwrap().0, "text");

    let server = Server::start(|_, _| refusal(500, "InternalError")).await;
    assert!(matches!(server.store.get("k", 9).await, Err(ObjectError::Unavailable { .. })));
    assert_eq!(server.lines().len(), 3);

    let server = Server::start(|_, _| refusal(403, "AccessDenied")).await;
    assert!(matches!(server.store.get("k", 9).await, Err(ObjectError::Forbidden { .. })));
    assert_eq!(server.lines().len(), 1);

    let server = Server::start(|_, _| answer(301, "x-amz-bucket-region: eu-west-1\r\n", "")).await;
    let error = server.store.get("k", 9).await.unwrap_err();
    assert!(error.to_string().contains("eu-west-1"), "{error}");

    let server = Server::start(|_, _| answer(200, "", "the whole of it")).await;
    let outcome = server.store.get_range("k", 4, 5).await;
    assert!(matches!(outcome, Err(ObjectError::Invalid { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_store_that_takes_no_batches_deletes_singly() {
    let server = Server::start(|_, request| match request.line.starts_with("POST") {
        true => refusal(400, "MissingContentMD5"),
        false => answer(204, "", ""),
    })
    .await;
    let keys: Vec<String> = (0..20).map(|i| format!("k{i}")).collect();
    server.store.delete(&keys).await.unwrap();
    server.store.delete(&keys).await.unwrap();
    let posts = server.lines().iter().filter(|l| l.starts_with("POST")).count();
    assert_eq!((posts, server.lines().len()), (1, 41));
    server.store.delete(&[]).await.unwrap();
    assert!(server.store.delete(&["a".into(), "../b".into()]).await.is_err());
    assert_eq!(server.lines().len(), 41, "nothing is deleted when one key is none");
}

#[tokio::test]
async fn keys_that_a_store_does_not_delete_are_named() {
    let errors = |errors: &[(&str, &str)]| {
        let one = |(key, code): &(&str, &str)| format!("<Error><Key>p/{key}</Key><Code>{code}</Code></Error>");
        format!("<DeleteResult>{}</DeleteResult>", errors.iter().map(one).collect::<String>())
    };
    let text = errors(&[("a", "SlowDown"), ("b", "AccessDenied"), ("c", "NoSuchKey")]);
    let server = Server::start(move |_, _| answer(200, "", &text)).await;
    let error = server.store.delete(&["a".into(), "b".into(), "c".into()]).await.unwrap_err();
    assert!(matches!(&error, ObjectError::Forbidden { key } if key == "b"), "{error:?}");
    let text = errors(&[("a", "SlowDown")]);
    let server =
        Server::start(move |number, _| answer(200, "", if number == 0 { &text } else { "<DeleteResult/>" })).await;
    server.store.delete(&["a".into()]).await.unwrap();
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_failed_upload_in_parts_is_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(65 << 20).unwrap();
    let upload = |last: u16| {
        let path = path.clone();
        async move {
            let server = Server::start(move |_, request| {
                let started = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
                let done = "<CompleteMultipartUploadResult><ETag>\"e-5\"</ETag></CompleteMultipartUploadResult>";
                match &request.line {
                    line if line.starts_with("POST") && line.contains("uploads") => answer(200, "", started),
                    line if line.starts_with("POST") => answer(200, "", done),
                    line if line.contains("partNumber=5") => answer(last, "", ""),
                    line if line.starts_with("DELETE") => answer(204, "", ""),
                    _ => answer(200, "", ""),
                }
            })
            .await;
            let outcome = server.store.put_file("k.mp4", &path, meta_for("k.mp4")).await;
            (outcome, server.lines())
        }
    };
    let (outcome, lines) = upload(200).await;
    assert_eq!(outcome.unwrap(), ETag("\"e-5\"".to_owned()));
    assert_eq!(lines.len(), 7, "{lines:?}");
    let (outcome, lines) = upload(403).await;
    assert!(matches!(outcome, Err(ObjectError::Forbidden { .. })), "{outcome:?}");
    assert!(lines.last().unwrap().starts_with("DELETE"), "{lines:?}");
}

const BEGUN: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";

#[tokio::test]
async fn a_store_that_takes_no_checksums_takes_uploads_without() {
    let server = Server::start(|_, request| match request.headers.contains_key("x-amz-checksum-algorithm") {
        true => refusal(501, "NotImplemented"),
        false => answer(200, "", BEGUN),
    })
    .await;
    let upload = server.store.begin("k.mp4", 10, "video/mp4", true).await.unwrap();
    assert!(!upload.checksums);
    let (part, hour) = (Part { number: 1, sha256: None }, Duration::from_secs(3600));
    let PartTarget::Address { url, .. } = server.store.target(&upload, &part, hour).await.unwrap() else {
        panic!("a bucket has addresses");
    };
    assert!(url.contains("uploadId=u") && url.contains("SignedHeaders=content-length%3Bhost"), "{url}");
    assert_eq!(server.lines().len(), 2, "signing asks nobody");
}

#[tokio::test]
async fn an_upload_that_was_completed_unheard_is_complete() {
    let parts =
        "<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>\"e\"</ETag><Size>10</Size></Part></ListPartsResult>";
    for (size, is_done) in [(10, true), (9, false)] {
        let server = Server::start(move |number, request| match (number, request.line.split(' ').next()) {
            (0, _) => answer(200, "", BEGUN),
            (1, _) => answer(200, "", parts),
            // The first answer to completing it is lost.
            (2, _) => None,
            (_, Some("POST")) => refusal(404, "NoSuchUpload"),
            _ => Some(format!("HTTP/1.1 200 S\r\nETag: \"e\"\r\nContent-Length: {size}\r\n\r\n")),
        })
        .await;
        let upload = server.store.begin("k.mp4", 10, "video/mp4", false).await.unwrap();
        let outcome = server.store.complete(&upload).await;
        assert_eq!(matches!(&outcome, Ok(Completion::Done(facts)) if facts.size == 10), is_done, "{outcome:?}");
    }
}
