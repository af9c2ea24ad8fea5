//! What happens around every request, in one layer: id, limits, deadline, panics, headers, problem
//! documents, one log line for a failure. Each further layer would cost more than all of this.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, ORIGIN};
use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use latchkey_bus::{Context, Limit, RequestId};
use latchkey_contract::problem::{BAD_HOST, TOO_LARGE, TOO_MANY_HEADERS};
use latchkey_runtime::{Clock, Entropy};
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_http::cors::Cors;

use crate::address;
use crate::admission::{Admission, Lane};
use crate::answer;
use crate::body::MAX_BODY;
use crate::config::Config;
use crate::cors;
use crate::fast_path::FastPath;
use crate::host;
use crate::idle_timeout::Swept;
use crate::lent_body;
use crate::malformed::{self, Fault, Malformed};
use crate::observe::{Observer, Request as Observed};
use crate::patterns::Patterns;
use crate::problem::Problem;
use crate::request_id::RequestIds;
use crate::route::{Facts, Route};
use crate::router;
use crate::state::Edge;
use crate::trailing_slash::without_slash;

/// Requests that are worked on at the same time at most.
const MAX_IN_FLIGHT: u32 = 4_096;
/// How long a request may take, all told.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

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
        let cors = cors::layer(config, facts());
        let in_flight = Limit::new(MAX_IN_FLIGHT);
        let plain = Core {
            observer: Observer::new(&patterns, &in_flight),
            admission: Arc::new(admission),
            router: router::build(routes, Arc::clone(&edge)),
            edge,
            patterns,
            in_flight,
            trusted_proxies: config.trusted_proxies,
            ids: Arc::new(RequestIds::new(entropy)),
        };
        let cors = cors.layer(plain.clone());
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
        answer::finish(answer.headers_mut(), id);
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
        answer::finish(response.headers_mut(), id);
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
            span.scope(|| answer::log(&problem, &response, request_id.as_str(), &method, pattern));
            // The router has counted the empty body already.
            response.headers_mut().remove(CONTENT_LENGTH);
            if method != Method::HEAD {
                let document = problem.document(request_id.as_str(), span.trace_id());
                *response.body_mut() = Body::from(document);
            }
        }
        self.observer.end(&observed, response.status(), &span);
        answer::finish(response.headers_mut(), id);
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
