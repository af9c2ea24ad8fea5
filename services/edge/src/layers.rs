//! What happens around every request, in one layer: id, limits, deadline, panics, headers, problem
//! documents, one log line for a problem. Each further layer would cost more than all of this: the only other one, CORS,
//! is for requests of pages of other origins alone. What ids and answers look like is in `request_id.rs` and `answer.rs`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::ops::ControlFlow::{self, Break, Continue};
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
use latchkey_runtime::trace::Span;
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
use crate::fast_path::{Question, Seen, VerifyRoute};
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
    /// The routes that only verify, in the order of the patterns.
    verify: Arc<[Option<VerifyRoute>]>,
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
            Some((path.as_str(), method.as_ref()?, route.dear()?))
        });
        let admission = Admission::new(&patterns, &dear.collect::<Vec<_>>(), clock.clone());
        let cors = cors::layer(config, facts());
        let verify_at = |pattern: &&str| {
            let route = routes.iter().find(|route| route.facts().path == *pattern);
            route.and_then(Route::verifies)
        };
        let verify = patterns.all().iter().map(verify_at).collect();
        let in_flight = Limit::new(MAX_IN_FLIGHT);
        let plain = Core {
            observer: Observer::new(&patterns, &in_flight),
            admission: Arc::new(admission),
            verify,
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

    /// Answers a request that can be answered without asking anyone. With what is known of any other
    /// [`answer`](Self::answer) goes on.
    pub(crate) fn answer_at_once(
        &self,
        request: &Request<Incoming>,
    ) -> ControlFlow<Response, Arrived> {
        self.plain.answer_at_once(request)
    }

    /// Answers one request from `peer`, when its body is read or given up.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        mut arrived: Arrived,
        peer: IpAddr,
    ) -> Response {
        let (mut request, rest) = lent_body::lend(request);
        if without_slash(&mut request) {
            arrived.route = self.plain.patterns.place_of(request.uri().path());
        }
        let mut answer = self.answer_arrived(request, arrived, peer).await;
        if let Some(rest) = rest {
            rest.end(&mut answer).await;
        }
        answer
    }

    /// What a client is told that sent something that is no request, byte by byte. `unread` is its beginning.
    pub(crate) fn refuse(&self, fault: Fault, unread: &[u8]) -> Vec<u8> {
        self.malformed.note(fault, 1);
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
            self.malformed.note(Fault::SlowHead, swept.slow_heads);
        }
    }

    /// Answers one request from `peer` whose body is read out by somebody else, or by nobody.
    pub async fn answer_lent(&self, request: Request<Body>, peer: IpAddr) -> Response {
        let arrived = self.plain.arrived(&request);
        self.answer_arrived(request, arrived, peer).await
    }

    async fn answer_arrived(
        &self,
        mut request: Request<Body>,
        arrived: Arrived,
        peer: IpAddr,
    ) -> Response {
        let is_for_pages = self.plain.verify_at(&arrived).is_none_or(|it| it.is_for_pages);
        let is_of_page = is_for_pages && request.headers().contains_key(ORIGIN);
        if !is_of_page || !has_host(&request) {
            return self.plain.answer(request, arrived, peer).await;
        }
        let Arrived { begun, route, .. } = arrived;
        request.extensions_mut().insert(FromPage { begun, route, peer });
        match self.cors.clone().call(request).await {
            Ok(response) => response,
        }
    }
}

fn has_host<B>(request: &Request<B>) -> bool {
    host::is_good(request.version(), request.headers())
}

/// What is known of a request since it arrived.
pub(crate) struct Arrived {
    begun: Instant,
    /// The place of its pattern.
    route: usize,
    /// What a look has left open, if there was one.
    question: Option<Question>,
}

/// What is to be done for a request.
struct Work {
    context: Context,
    peer: IpAddr,
    /// Its route, if that only verifies.
    verify: Option<VerifyRoute>,
    question: Option<Question>,
}

/// In the extensions of a request of a page of another origin: what is known of it, and the other end of the connection.
#[derive(Clone, Copy)]
struct FromPage {
    begun: Instant,
    route: usize,
    peer: IpAddr,
}

impl Service<Request<Body>> for Core {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let core = self.clone();
        let from = request.extensions().get::<FromPage>().copied();
        let (arrived, peer) = match from {
            Some(FromPage { begun, route, peer }) => {
                (Arrived { begun, route, question: None }, peer)
            }
            None => (core.arrived(&request), IpAddr::from([0, 0, 0, 0])),
        };
        Box::pin(async move { Ok(core.answer(request, arrived, peer).await) })
    }
}

impl Core {
    /// A request of which nothing is known yet.
    fn arrived<B>(&self, request: &Request<B>) -> Arrived {
        let (begun, route) = (Instant::now(), self.patterns.place_of(request.uri().path()));
        Arrived { begun, route, question: None }
    }

    fn verify_at(&self, arrived: &Arrived) -> Option<&VerifyRoute> {
        self.verify.get(arrived.route)?.as_ref()
    }

    fn answer_at_once(&self, request: &Request<Incoming>) -> ControlFlow<Response, Arrived> {
        let mut arrived = self.arrived(request);
        let Some(verify) = self.verify_at(&arrived) else { return Continue(arrived) };
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let is_plain = request.body().is_end_stream()
            && !(verify.is_for_pages && headers.contains_key(ORIGIN))
            && headers.len() <= MAX_HEADERS
            && has_host(request);
        if !is_plain {
            return Continue(arrived);
        }
        match verify.look(&self.edge.gate, method, uri, headers) {
            Seen::Answer(answer) => {
                let Arrived { begun, route, .. } = arrived;
                let id = self.ids.of(headers);
                let observed = Observed { route, method, begun, id: &id };
                let span = self.observer.begin(&observed, headers);
                let mut answer = self.complete(answer, &observed, span);
                answer::finish(answer.headers_mut(), id);
                Break(answer)
            }
            Seen::Open(question) => {
                arrived.question = Some(question);
                Continue(arrived)
            }
        }
    }

    async fn answer(&self, request: Request<Body>, arrived: Arrived, peer: IpAddr) -> Response {
        let Arrived { begun, route, question } = arrived;
        let id = self.ids.of(request.headers());
        let request_id = RequestId::new(id.to_str().unwrap_or_default());
        let method = request.method().clone();
        let observed = Observed { route, method: &method, begun, id: &id };
        let span = self.observer.begin(&observed, request.headers());
        let context = Context::until(request_id, begun + REQUEST_TIMEOUT);
        let lane = self.admission.lane(route, &method);
        let work = Work { context, peer, verify: self.verify[route], question };
        let guarded = self.admitted(request, work, lane);
        let response = if span.is_recording() {
            // In a box: the many that are not traced need no room for it.
            Box::pin(span.run(guarded)).await
        } else {
            guarded.await
        };
        let mut answer = self.complete(response, &observed, span);
        answer::finish(answer.headers_mut(), id);
        answer
    }

    /// An answer as it is told and observed.
    fn complete(&self, mut answer: Response, observed: &Observed<'_>, span: Span) -> Response {
        let problem = answer.extensions_mut().remove::<Problem>();
        let is_failure = problem.as_ref().is_some_and(Problem::is_failure);
        let span = if is_failure { self.observer.traced(observed, span) } else { span };
        if let Some(problem) = problem {
            let id = observed.id.to_str().unwrap_or_default();
            let pattern = self.observer.pattern(observed.route);
            span.scope(|| answer::log(&problem, &answer, id, observed.method, pattern));
            // The router has counted the empty body already.
            answer.headers_mut().remove(CONTENT_LENGTH);
            if *observed.method != Method::HEAD {
                *answer.body_mut() = Body::from(problem.document(id, span.trace_id()));
            }
        }
        self.observer.end(observed, answer.status(), &span);
        answer
    }

    /// The routes' answer, or that there is no room for the request.
    async fn admitted(&self, request: Request<Body>, work: Work, lane: Option<Lane>) -> Response {
        let mut place = None;
        if let Some(lane) = lane {
            place = self.admission.enter(lane).await;
            if place.is_none() {
                return Problem::overloaded().into_response();
            }
        }
        let response = self.guarded(request, work).await;
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
    async fn guarded(&self, request: Request<Body>, work: Work) -> Response {
        let Some(permit) = self.in_flight.try_enter() else {
            return Problem::overloaded().into_response();
        };
        if request.headers().len() > MAX_HEADERS {
            return Problem::about(&TOO_MANY_HEADERS, &MAX_HEADERS.to_string()).into_response();
        }
        if !has_host(&request) {
            return Problem::of(&BAD_HOST).into_response();
        }
        let Work { context, peer, verify, question } = work;
        let max_body = verify.map_or(MAX_BODY, |verify| verify.max_body);
        if request.body().size_hint().lower() > max_body as u64 {
            return Problem::about(&TOO_LARGE, &max_body.to_string()).into_response();
        }
        let answered = match verify {
            Some(verify) => {
                let (parts, _body) = request.into_parts();
                // The gate keeps the deadline: a timer less.
                let work = verify.answer(&self.edge.gate, &context, &parts, question);
                AssertUnwindSafe(work).catch_unwind().await
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

/// `None` where `work` takes longer than `max`. A timer is made only for what is not done at once.
async fn within<F: Future>(max: Duration, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(max, work).await.ok(),
    }
}
