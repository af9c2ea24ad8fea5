//! What becomes of a body that nobody wanted. A client that is refused while it sends has to read the answer:
//! where the connection is closed on bytes that were not read, its system throws the answer away, and a proxy
//! makes a 502 of it. So bodies are lent to the routes; what they leave is read and thrown away before the
//! answer, within bounds, and where that is too much, the connection ends in a way that takes it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::body::{BODY_TIMEOUT, MAX_BODY};

/// In an answer's extensions: the connection ends with it, and the client may still be sending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread;

/// A body that goes back to its [`Rest`] when it is dropped.
struct Lent {
    /// Taken when it goes back, or has ended.
    body: Option<Incoming>,
    is_begun: bool,
    home: Arc<Mutex<Home>>,
}

/// What is left of a body.
#[derive(Default)]
enum Home {
    /// Somebody has it, or it has ended.
    #[default]
    Nothing,
    /// Nobody has begun to read it.
    Whole(Incoming),
    /// Somebody has.
    Part(Incoming),
}

/// Where a request's body comes back to.
pub(crate) struct Rest {
    home: Arc<Mutex<Home>>,
    is_waiting: bool,
}

/// Lends the request's body. A request without one has no rest.
pub(crate) fn lend(request: Request<Incoming>) -> (Request<Body>, Option<Rest>) {
    if request.body().is_end_stream() {
        return (request.map(|_empty| Body::empty()), None);
    }
    // Whoever waits to be asked for the body sends none with a refusal.
    let is_waiting = request.headers().contains_key(EXPECT);
    let home = Arc::default();
    let rest = Rest { home: Arc::clone(&home), is_waiting };
    (request.map(|body| Body::new(Lent { body: Some(body), is_begun: false, home })), Some(rest))
}

impl Rest {
    /// Reads what was left of the body and throws it away, or has the connection end with `answer`.
    pub(crate) async fn end(self, answer: &mut Response) {
        #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
        let home = std::mem::take(&mut *self.home.lock().unwrap_or_else(PoisonError::into_inner));
        let is_over = match home {
            Home::Nothing => true,
            Home::Whole(_) if self.is_waiting => false,
            // It had its time.
            Home::Part(_) if answer.status() == StatusCode::REQUEST_TIMEOUT => false,
            Home::Whole(body) | Home::Part(body) => {
                tokio::time::timeout(BODY_TIMEOUT, discard(body)).await.unwrap_or(false)
            }
        };
        if !is_over {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            answer.extensions_mut().insert(Unread);
        }
    }
}

/// Whether the body ended within what any route takes.
async fn discard(mut body: Incoming) -> bool {
    let most = MAX_BODY as u64;
    let mut seen = 0;
    // One that was announced as longer is not begun.
    while body.size_hint().lower() <= most && seen <= most {
        match body.frame().await {
            Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
            // After a broken one hyper closes: there is nothing more to come.
            Some(Err(_)) | None => return true,
        }
    }
    false
}

impl Drop for Lent {
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let home = if self.is_begun { Home::Part(body) } else { Home::Whole(body) };
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = home;
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_begun = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Err(_)) | None)) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
