//! A web server of one resource for tests: HTTP/1.1 with ranges, and switches to misbehave. It also passes for S3,
//! whose `HEAD` and `GET` of an object, path-style, are no different.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// How the server answers.
#[derive(Clone)]
pub(super) struct Behaviour {
    /// The only path, percent-encoded, that is not answered with 404.
    pub(super) path: &'static str,
    pub(super) content: Vec<u8>,
    pub(super) etag: Option<&'static str>,
    pub(super) last_modified: Option<&'static str>,
    /// Sends ranges when asked for them, and not the whole body.
    pub(super) ranges: bool,
    /// Answers 412 to an `If-Match` of another tag.
    pub(super) preconditions: bool,
    /// Raw answers to the next requests.
    pub(super) answers: VecDeque<String>,
    /// How many of the next bodies end after half of their bytes.
    pub(super) cut: usize,
    /// How many of the next requests are never answered.
    pub(super) hang: usize,
    /// Time before an answer.
    pub(super) delay: Duration,
}

/// What a client asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// By lower-case name.
    pub(super) headers: HashMap<String, String>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    in_flight: usize,
    most_in_flight: usize,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    log: Mutex<Log>,
}

/// The server; it stops when dropped.
pub(super) struct TestServer {
    address: String,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl TestServer {
    /// Serves `content` at `/match.mp4` on a free port of the loopback interface.
    pub(super) async fn start(content: Vec<u8>) -> Self {
        let behaviour = Behaviour {
            path: "/match.mp4",
            content,
            etag: Some("\"v1\""),
            last_modified: None,
            ranges: true,
            preconditions: true,
            answers: VecDeque::new(),
            cut: 0,
            hang: 0,
            delay: Duration::ZERO,
        };
        let shared = Arc::new(Shared { behaviour: Mutex::new(behaviour), log: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting }
    }

    pub(super) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Changes how the next requests are answered.
    pub(super) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// All requests so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap().requests.clone()
    }

    /// Most requests that were under way at one time.
    pub(super) fn most_in_flight(&self) -> usize {
        self.shared.log.lock().unwrap().most_in_flight
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A whole answer without a body.
pub(super) fn answer(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n{headers}\r\n")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A client that goes away ends its connection with an error, which is no concern of the test.
        tokio::spawn(async move { serve(stream, &shared).await.ok() });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await? {
        {
            let mut log = shared.log.lock().unwrap();
            log.requests.push(request.clone());
            log.in_flight += 1;
            log.most_in_flight = log.most_in_flight.max(log.in_flight);
        }
        let (delay, hang, answer) = {
            let mut behaviour = shared.behaviour.lock().unwrap();
            let hang = behaviour.hang > 0;
            behaviour.hang -= usize::from(hang);
            (behaviour.delay, hang, if hang { Vec::new() } else { respond(&mut behaviour, &request) })
        };
        tokio::time::sleep(delay).await;
        let sent = stream.write_all(&answer).await;
        shared.log.lock().unwrap().in_flight -= 1;
        sent?;
        if hang {
            // Until the client closes the connection.
            stream.read_u8().await?;
        }
        if answer.ends_with(CUT) {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// Ends a body that was cut, for the connection to be closed behind it.
const CUT: &[u8] = b"<cut>";

async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut words = head[0].split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let headers = head[1..].iter().map(|line| line.split_once(':').unwrap());
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Some(Request { method, target, headers }))
}

fn respond(behaviour: &mut Behaviour, request: &Request) -> Vec<u8> {
    if let Some(answer) = behaviour.answers.pop_front() {
        return answer.into_bytes();
    }
    if request.target.split('?').next() != Some(behaviour.path) {
        return answer(404, "").into_bytes();
    }
    let if_match = request.headers.get("if-match").map(String::as_str);
    if behaviour.preconditions && if_match.is_some() && if_match != behaviour.etag {
        return answer(412, "").into_bytes();
    }
    let content = &behaviour.content;
    let mut headers = String::new();
    if let Some(etag) = behaviour.etag {
        headers += &format!("ETag: {etag}\r\n");
    }
    if let Some(date) = behaviour.last_modified {
        headers += &format!("Last-Modified: {date}\r\n");
    }
    let range = request.headers.get("range").filter(|_| behaviour.ranges).map(|range| asked(range));
    let (status, body) = match range {
        Some((first, _)) if first >= content.len() => {
            return answer(416, &format!("Content-Range: bytes */{}\r\n", content.len())).into_bytes();
        }
        Some((first, last)) => {
            let last = last.min(content.len() - 1);
            headers += &format!("Content-Range: bytes {first}-{last}/{}\r\n", content.len());
            (206, &content[first..=last])
        }
        None => (200, &content[..]),
    };
    let mut answer =
        format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    if request.method == "HEAD" {
        return answer;
    }
    if behaviour.cut > 0 {
        behaviour.cut -= 1;
        answer.extend_from_slice(&body[..body.len() / 2]);
        answer.extend_from_slice(CUT);
    } else {
        answer.extend_from_slice(body);
    }
    answer
}

/// Reads `bytes=first-last`.
fn asked(range: &str) -> (usize, usize) {
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    (first.parse().unwrap(), last.parse().unwrap())
}
