//! A small HTTP server for tests that can misbehave in every way a test asks for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it arrived. Header names are in lower case.
#[derive(Clone, Debug)]
pub struct TestRequest {
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl TestRequest {
    /// First and last byte of the range that was asked for.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum TestReply {
    /// An answer with a body; the length is added.
    Send(u16, Vec<(String, String)>, Vec<u8>),
    /// Exactly these bytes, then the end.
    Raw(Vec<u8>),
    /// A head, then zeros until the client goes away.
    Endless(String),
    /// These bytes one by one, with a pause in between.
    Drip(Vec<u8>, Duration),
    /// Nothing for a while.
    Hang(Duration),
}

impl TestReply {
    pub fn status(status: u16) -> Self {
        Self::Send(status, Vec::new(), Vec::new())
    }

    pub fn body(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Send(200, Vec::new(), bytes.into())
    }

    /// An error of the hub.
    pub fn error(status: u16, code: &str) -> Self {
        Self::status(status).with("X-Error-Code", code)
    }

    pub fn redirect(target: &str) -> Self {
        Self::status(302).with("Location", target)
    }

    pub fn with(self, name: &str, value: &str) -> Self {
        match self {
            Self::Send(status, mut headers, body) => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Send(status, headers, body)
            }
            other => other,
        }
    }

    /// A file, or the range of it that was asked for.
    pub fn file(request: &TestRequest, bytes: &[u8]) -> Self {
        match request.range() {
            None => Self::body(bytes),
            Some((first, _)) if first >= bytes.len() => Self::status(416),
            Some((first, last)) => {
                let last = last.min(bytes.len() - 1);
                let range = format!("bytes {first}-{last}/{}", bytes.len());
                Self::Send(206, Vec::new(), bytes[first..=last].to_vec())
                    .with("Content-Range", &range)
            }
        }
    }
}

/// A running server. It lives until the test process ends.
pub struct TestServer {
    pub address: String,
    pub requests: Arc<Mutex<Vec<TestRequest>>>,
    /// Bytes of bodies that were handed to the network.
    pub sent: Arc<AtomicU64>,
}

impl TestServer {
    /// Starts a server that answers with `reply`.
    pub fn start(reply: impl Fn(&TestRequest) -> TestReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Self { address, requests: Arc::default(), sent: Arc::default() };
        let (requests, sent) = (server.requests.clone(), server.sent.clone());
        let reply = Arc::new(reply);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply, requests, sent) = (reply.clone(), requests.clone(), sent.clone());
                std::thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        requests.lock().expect("no panic while locked").push(request.clone());
                        // A client that goes away is none of the server's business.
                        let _ = answer(&stream, reply(&request), &sent);
                    }
                });
            }
        });
        server
    }

    /// Paths of all requests so far.
    pub fn paths(&self) -> Vec<String> {
        self.all().into_iter().map(|r| r.path).collect()
    }

    /// All requests so far.
    pub fn all(&self) -> Vec<TestRequest> {
        self.requests.lock().expect("no panic while locked").clone()
    }
}

fn read(stream: &TcpStream) -> Option<TestRequest> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(TestRequest { path, headers })
}

fn answer(mut stream: &TcpStream, reply: TestReply, sent: &AtomicU64) -> std::io::Result<()> {
    match reply {
        TestReply::Send(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        }
        TestReply::Raw(bytes) => stream.write_all(&bytes)?,
        TestReply::Endless(head) => {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(&[0; 8192])?;
                sent.fetch_add(8192, Ordering::Relaxed);
            }
        }
        TestReply::Drip(bytes, pause) => {
            for byte in bytes {
                stream.write_all(&[byte])?;
                std::thread::sleep(pause);
            }
        }
        TestReply::Hang(time) => std::thread::sleep(time),
    }
    Ok(())
}
