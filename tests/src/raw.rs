//! HTTP/1.1 by hand on a TCP connection: for messages that no client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Bound on waiting for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection to an edge.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer as it came.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The status code.
    pub status: u16,
    /// The head, with its status line, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects to the edge at `url`.
    pub fn open(url: &str) -> Self {
        let address = url.strip_prefix("http://").expect("an http address");
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, read: Vec::new() }
    }

    /// Sends bytes; false where the other side has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will be sent, and goes on listening.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("half a connection to close");
    }

    /// The next answer; nothing where the connection closes first.
    pub fn answer(&mut self) -> Option<RawAnswer> {
        self.wait(ANSWER);
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.read.drain(..end).collect::<Vec<_>>())
            .to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |value| value.trim().parse().expect("a length"));
        let length = if (100..200).contains(&status) { 0 } else { length };
        while self.read.len() < length {
            if !self.fill() {
                return None;
            }
        }
        Some(RawAnswer { status, head, body: self.read.drain(..length).collect() })
    }

    /// Everything that comes until the connection closes or is quiet for `quiet`; true where it closed.
    pub fn everything(&mut self, quiet: Duration) -> (Vec<u8>, bool) {
        self.wait(quiet);
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return (std::mem::take(&mut self.read), true),
                Ok(count) => self.read.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (std::mem::take(&mut self.read), true);
                }
                Err(_) => return (std::mem::take(&mut self.read), false),
            }
        }
    }

    fn wait(&self, bound: Duration) {
        self.stream.set_read_timeout(Some(bound)).expect("a read timeout");
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let count = self.stream.read(&mut chunk).unwrap_or(0);
        self.read.extend(chunk.iter().take(count));
        count > 0
    }
}

impl RawAnswer {
    /// A header's value in lower case; the empty string where it is missing.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(known, _)| *known == name);
        found.next().map_or("", |(_, value)| value.trim())
    }

    /// Fails unless this is a problem document of `status` with a request id; gives it.
    #[track_caller]
    pub fn problem(&self, status: u16) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{}{text}", self.head);
        assert_eq!(self.header("content-type"), "application/problem+json", "{text}");
        let body: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        assert!(body["detail"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        assert!(!self.header("date").is_empty(), "{}", self.head);
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{}", self.head);
        body
    }
}

/// How many answers begin in `bytes`.
pub fn answers(bytes: &[u8]) -> usize {
    bytes.windows(9).filter(|window| *window == b"HTTP/1.1 ").count()
}

/// Sends one message on a connection of its own and takes the first answer.
pub fn exchange(url: &str, message: impl AsRef<[u8]>) -> Option<RawAnswer> {
    let mut connection = Connection::open(url);
    connection.send(message);
    connection.answer()
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
