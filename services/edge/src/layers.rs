//! What happens around every request, in one layer: id, limits, deadline, panics, headers, problem
//! documents, one log line for a failure. Each further layer would cost more than all of this.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LINK,
    ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use latchkey_bus::{Context, Limit, RequestId};
use latchkey_contract::problem::{BAD_HOST, TOO_LARGE, TOO_MANY_HEADERS};
use latchkey_runtime::{Clock, Entropy};
use tokio::time::Instant;
use tower::Service;
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use crate::address;
use crate::admission::{Admission, Lane};
use crate::body::MAX_BODY;
use crate::config::Config;
use crate::credential::API_KEY_HEADER;
use crate::fast_path::FastPath;
use crate::host;
use crate::idle_timeout::Swept;
use crate::lent_body;
use crate::malformed::{self, Fault, Malformed};
use crate::observe::{Observer, Request as Observed};
use crate::patterns::Patterns;
use crate::problem::Problem;
use crate::route::{Facts, Route};
use crate::router;
use crate::state::Edge;
use crate::trailing_slash::without_slash;

/// Requests that are worked on at the same time at most.
const MAX_IN_FLIGHT: u32 = 4_096;
/// How long a request may take, all told.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a browser may remember that a page may call.
const CORS_MAX_AGE: Duration = Duration::from_mins(10);
/// The header with a request's id, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a request id that is taken from the client at most.
const MAX_REQUEST_ID: usize = 128;
/// What a page that is no page may do.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// In place of an id that cannot be.
const NO_ID: HeaderValue = HeaderValue::from_static("none");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Header lines of a request at most. hyper's own bound would be set out anew for each request.
const MAX_HEADERS: usize = 64;

/// Answers every request of the edge.
pub struct EdgeService {
    /// For requests without an `Origin`: everything but a browser.
    plain: Core,
    /// The same behind the check of the origin.
    cors: Cors<Core>,
    malformed: Malformed,
}

/// The layer.
#[derive(Clone)]
struct Core {
    edge: Arc<Edge>,
    router: Router,
    patterns: Patterns,
    in_flight: Limit,
    admission: Arc<Admission>,
    trusted_proxies: usize,
    ids: Arc<RequestIds>,
    observer: Observer,
}

/// Makes ids: a prefix that no other process has, and a number.
struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl EdgeService {
    /// Puts the layer around the routes.
    #[must_use]
    pub fn new(
        config: &Config,
        routes: Vec<Route>,
        edge: Arc<Edge>,
        clock: Clock,
        entropy: &Entropy,
    ) -> Self {
        let facts = || routes.iter().map(Route::facts);
        let patterns = Patterns::new(facts().map(|route| route.path.clone()));
        let dear = routes.iter().filter_map(|route| {
            let Facts { path, method, .. } = route.facts();
            Some((path.as_str(), method, route.dear()?))
        });
        let admission = Admission::new(&patterns, &dear.collect::<Vec<_>>(), clock.clone());
        let methods = methods(facts());
        let prefix = format!("{:016x}-", u64::from_be_bytes(entropy.bytes()));
        let in_flight = Limit::new(MAX_IN_FLIGHT);
        let plain = Core {
            observer: Observer::new(&patterns, &in_flight),
            admission: Arc::new(admission),
            router: router::build(routes, Arc::clone(&edge)),
            edge,
            patterns,
            in_flight,
            trusted_proxies: config.trusted_proxies,
            ids: Arc::new(RequestIds { prefix, next: AtomicU64::new(1) }),
        };
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::list(config.origins.iter().cloned()))
            .allow_methods(methods)
            .allow_headers([AUTHORIZATION, CONTENT_TYPE, API_KEY_HEADER, REQUEST_ID])
            .expose_headers([LINK, RETRY_AFTER, WWW_AUTHENTICATE, REQUEST_ID])
            .max_age(CORS_MAX_AGE);
        let cors = tower::Layer::layer(&cors, plain.clone());
        Self { plain, cors, malformed: Malformed::new(clock) }
    }

    /// Answers a request whose credential is remembered; `None` for any other, which is
    /// [`answer`](Self::answer)'s.
    pub fn answer_at_once(&self, request: &Request<Incoming>) -> Option<Response> {
        let headers = request.headers();
        let plain = request.body().is_end_stream() && !headers.contains_key(ORIGIN);
        if plain && headers.len() <= MAX_HEADERS && has_host(request) {
            self.plain.answer_at_once(request)
        } else {
            None
        }
    }

    /// Answers one request from `peer`, when its body is read or given up.
    pub async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let (mut request, rest) = lent_body::lend(request);
        without_slash(&mut request);
        let mut answer = self.answer_lent(request, peer).await;
        if let Some(rest) = rest {
            rest.end(&mut answer).await;
        }
        answer
    }

    /// What `peer` is told that sent something that is no request, byte by byte. `unread` is its beginning.
    pub(crate) fn refuse(&self, fault: Fault, peer: SocketAddr, unread: &[u8]) -> Vec<u8> {
        self.malformed.note(fault, 1, Some(peer));
        let (problem, id) = (fault.problem(), self.plain.ids.make());
        let body = problem.document(id.to_str().unwrap_or_default(), None);
        let mut answer = problem.into_response();
        finish(answer.headers_mut(), id);
        let body = if unread.starts_with(b"HEAD ") { "" } else { &body };
        malformed::bytes_of(&answer, body, &self.malformed.date_line())
    }

    /// Counts what a sweep over the connections has closed.
    pub(crate) fn note(&self, swept: Swept) {
        if swept.slow_heads > 0 {
            self.malformed.note(Fault::SlowHead, swept.slow_heads, None);
        }
    }

    /// Answers one request from `peer` whose body is read out by somebody else, or by nobody.
    pub async fn answer_lent(&self, mut request: Request<Body>, peer: IpAddr) -> Response {
        if !request.headers().contains_key(ORIGIN) || !has_host(&request) {
            return self.plain.answer(request, peer).await;
        }
        request.extensions_mut().insert(Peer(peer));
        match self.cors.clone().call(request).await {
            Ok(response) => response,
        }
    }
}

/// The methods that a page of another origin may use: those that routes have.
fn methods<'a>(routes: impl Iterator<Item = &'a Facts>) -> Vec<Method> {
    let all: Vec<&Method> = routes.map(|route| &route.method).collect();
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    known.into_iter().filter(|method| all.contains(&method)).collect()
}

fn has_host<B>(request: &Request<B>) -> bool {
    host::is_good(request.version(), request.headers())
}

/// The other end of the connection.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

impl Service<Request<Body>> for Core {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let core = self.clone();
        let peer = request.extensions().get().map_or(IpAddr::from([0, 0, 0, 0]), |Peer(ip)| *ip);
        Box::pin(async move { Ok(core.answer(request, peer).await) })
    }
}

impl Core {
    fn answer_at_once(&self, request: &Request<Incoming>) -> Option<Response> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let (begun, fast_path) = (Instant::now(), FastPath::of(method, uri)?);
        let answer = fast_path.at_once(&self.edge.gate, uri, headers)?;
        let (mut response, id) = (answer.into_response(), self.ids.of(headers));
        let route = self.patterns.place_of(request.uri().path());
        let observed = Observed { route, method, begun, id: &id };
        let span = self.observer.begin(&observed, headers);
        self.observer.end(&observed, response.status(), &span);
        finish(response.headers_mut(), id);
        Some(response)
    }

    async fn answer(&self, request: Request<Body>, peer: IpAddr) -> Response {
        let (begun, id) = (Instant::now(), self.ids.of(request.headers()));
        let request_id = RequestId::new(id.to_str().unwrap_or_default());
        let method = request.method().clone();
        let route = self.patterns.place_of(request.uri().path());
        let observed = Observed { route, method: &method, begun, id: &id };
        let span = self.observer.begin(&observed, request.headers());
        let context = Context::until(request_id.clone(), begun + REQUEST_TIMEOUT);
        let lane = self.admission.lane(route, &method);
        let guarded = self.admitted(request, context, peer, lane);
        let response = if span.is_recording() {
            // In a box: the many that are not traced need no room for it.
            Box::pin(span.run(guarded)).await
        } else {
            guarded.await
        };
        let (mut response, problem) = take_problem(response);
        let is_failure = problem.as_ref().is_some_and(Problem::is_failure);
        let span = if is_failure { self.observer.traced(&observed, span) } else { span };
        if let Some(problem) = problem {
            let pattern = self.observer.pattern(route);
            span.scope(|| log(&problem, &response, &request_id, &method, pattern));
            // The router has counted the empty body already.
            response.headers_mut().remove(CONTENT_LENGTH);
            if method != Method::HEAD {
                let document = problem.document(request_id.as_str(), span.trace_id());
                *response.body_mut() = Body::from(document);
            }
        }
        self.observer.end(&observed, response.status(), &span);
        finish(response.headers_mut(), id);
        response
    }

    /// The routes' answer, or that there is no room for the request.
    async fn admitted(
        &self,
        request: Request<Body>,
        context: Context,
        peer: IpAddr,
        lane: Option<Lane>,
    ) -> Response {
        let mut place = None;
        if let Some(lane) = lane {
            place = self.admission.enter(lane).await;
            if place.is_none() {
                return Problem::overloaded().into_response();
            }
        }
        let response = self.guarded(request, context, peer).await;
        let problem = response.extensions().get::<Problem>();
        let is_shed = problem.is_some_and(Problem::is_shed);
        let turns_away = problem.is_some_and(Problem::turns_away);
        match place {
            Some(place) if is_shed => place.leave_later().await,
            Some(place) => place.leave(response.status().is_success()),
            None => {}
        }
        if turns_away {
            self.admission.hold().await;
        }
        response
    }

    /// The routes' answer, or the problem of having none.
    async fn guarded(&self, request: Request<Body>, context: Context, peer: IpAddr) -> Response {
        let Some(permit) = self.in_flight.try_enter() else {
            return Problem::overloaded().into_response();
        };
        if request.headers().len() > MAX_HEADERS {
            return Problem::about(&TOO_MANY_HEADERS, &MAX_HEADERS.to_string()).into_response();
        }
        if !has_host(&request) {
            return Problem::of(&BAD_HOST).into_response();
        }
        if request.body().size_hint().lower() > MAX_BODY as u64 {
            return Problem::about(&TOO_LARGE, &MAX_BODY.to_string()).into_response();
        }
        let answered = match FastPath::of(request.method(), request.uri()) {
            Some(fast_path) => {
                let (parts, _body) = request.into_parts();
                let (gate, uri, headers) = (&self.edge.gate, &parts.uri, &parts.headers);
                // The gate keeps the deadline: a timer less.
                let work = fast_path.ask(gate, &context, uri, headers);
                AssertUnwindSafe(work).catch_unwind().await.map(IntoResponse::into_response)
            }
            None => AssertUnwindSafe(self.route(request, context, peer)).catch_unwind().await,
        };
        drop(permit);
        answered.unwrap_or_else(|_panic| Problem::internal().into_response())
    }

    /// The router's answer.
    async fn route(&self, mut request: Request<Body>, context: Context, peer: IpAddr) -> Response {
        let (client, known) = address::find(peer, request.headers(), self.trusted_proxies);
        let extensions = request.extensions_mut();
        extensions.insert(context);
        extensions.insert(client);
        extensions.insert(known);
        match within(REQUEST_TIMEOUT, self.router.clone().call(request)).await {
            Some(Ok(response)) => response,
            None => Problem::unavailable("the request took too long").into_response(),
        }
    }
}

/// `None` where `work` takes longer than `most`. A timer is made only for what is not done at once.
async fn within<F: Future>(max: Duration, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(max, work).await.ok(),
    }
}

fn take_problem(mut response: Response) -> (Response, Option<Problem>) {
    let problem = response.extensions_mut().remove::<Problem>();
    (response, problem)
}

fn log(problem: &Problem, response: &Response, id: &RequestId, method: &Method, route: &str) {
    let (status, code) = (response.status().as_u16(), problem.code());
    if problem.is_shed() {
        tracing::debug!(status, code, request_id = %id, %method, route, "a request was turned away");
    } else if problem.is_failure() {
        let cause = problem.cause();
        tracing::error!(status, code, request_id = %id, %method, route, cause, "a request failed");
    } else if let Some(cause) = problem.cause() {
        tracing::info!(status, code, request_id = %id, %method, route, cause, "not ready");
    } else {
        tracing::info!(status, code, request_id = %id, %method, route, "a request was refused");
    }
}

fn finish(headers: &mut HeaderMap, request_id: HeaderValue) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.insert(REQUEST_ID, request_id);
}

impl RequestIds {
    /// The prefix and the number in hexadecimal. By hand: each request has one.
    fn make(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = Vec::with_capacity(self.prefix.len() + size_of::<u64>() * 2);
        text.extend_from_slice(self.prefix.as_bytes());
        let nibbles = number.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = nibbles.skip_while(|nibble| *nibble == 0);
        text.extend(digits.map(|nibble| DIGITS[usize::from(nibble)]));
        // All of these are characters that a header takes.
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(NO_ID)
    }

    /// The client's own id, if it is sane, or a new one.
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |value: &&HeaderValue| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
            (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(plain)
        };
        headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| self.make())
    }
}
