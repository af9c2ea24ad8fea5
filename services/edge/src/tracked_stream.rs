//! A connection's bytes on their way to hyper and back: notes what happens, and keeps to itself the bare
//! answers that hyper gives to what it cannot parse, so that [`connection`](crate::connection) can say more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::idle_timeout::Activity;

/// The end of a head that holds nothing after its date. An answer with a body does not end like this.
const DATE_AT_END: &[u8] = b"GMT\r\n\r\n";
/// Bytes of a date line and the empty line after it (RFC 9110 §5.6.7).
const DATE_LINE: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n".len();
/// The status lines, without their version, of hyper's own answers.
const AUTOMATIC: [&[u8]; 3] = [
    b" 400 Bad Request\r\n",
    b" 414 URI Too Long\r\n",
    b" 431 Request Header Fields Too Large\r\n",
];
const VERSIONS: [&[u8]; 2] = [b"HTTP/1.1", b"HTTP/1.0"];

/// A connection.
pub(crate) struct TrackedStream {
    stream: TcpStream,
    activity: Activity,
    refused: bool,
}

impl TrackedStream {
    /// Notes in `activity` what happens on `stream`.
    pub(crate) fn new(stream: TcpStream, activity: Activity) -> Self {
        Self { stream, activity, refused: false }
    }

    /// The connection, and whether hyper has refused what came last: nothing was written of that.
    pub(crate) fn into_inner(self) -> (TcpStream, bool) {
        (self.stream, self.refused)
    }
}

/// Where hyper's own answer to a malformed request begins, if that is how `bytes` end. Answers of ours have
/// more headers.
fn automatic_answer(bytes: &[u8]) -> Option<usize> {
    if !bytes.ends_with(DATE_AT_END) {
        return None;
    }
    let (head, _) = bytes.split_at_checked(bytes.len().checked_sub(DATE_LINE)?)?;
    let head = head.strip_suffix(b"content-length: 0\r\n")?;
    let head = head.strip_suffix(b"connection: close\r\n").unwrap_or(head);
    let head = AUTOMATIC.iter().find_map(|line| head.strip_suffix(*line))?;
    VERSIONS.iter().find_map(|version| head.strip_suffix(*version)).map(<[u8]>::len)
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..) {
            self.activity.read(bytes);
        }
        read
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let own = match automatic_answer(bytes) {
            Some(0) => {
                self.refused = true;
                return Poll::Ready(Ok(bytes.len()));
            }
            // What comes before it goes out alone; the rest is tried again.
            Some(start) => bytes.split_at(start).0,
            None => bytes,
        };
        let written = Pin::new(&mut self.stream).poll_write(context, own);
        self.activity.wrote(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper was told to write single pieces.
        let first = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
        self.poll_write(context, first)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Nothing: the connection's own task ends it, when it has said and heard the last.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "date: Thu, 26 Nov 2026 19:42:46 GMT\r\n\r\n";

    #[test]
    fn only_an_answer_of_hypers_own_is_taken_for_one() {
        let own =
            format!("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n{DATE}");
        let old =
            format!("HTTP/1.0 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n{DATE}");
        for text in [&own, &old] {
            assert_eq!(automatic_answer(text.as_bytes()), Some(0), "{text}");
            let after = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{text}");
            assert_eq!(automatic_answer(after.as_bytes()), Some(after.len() - text.len()));
        }
        for other in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\ncontent-length: 0\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "",
        ] {
            assert_eq!(automatic_answer(format!("{other}{DATE}").as_bytes()), None, "{other}");
        }
        assert_eq!(automatic_answer(b"GMT\r\n\r\n"), None);
        assert_eq!(automatic_answer(format!("{own}{{}}").as_bytes()), None);
    }
}
