//! What happens around every request, in one layer: id, limits, deadline, panics, headers, problem
//! documents, one log line for a problem. What ids and answers look like is in `request_id.rs` and `answer.rs`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::net::IpAddr;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, ORIGIN};
use axum::http::{HeaderValue, Method, Request};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as HttpBody;
use latchkey_bus::{Context, Limit, RequestId};
use latchkey_contract::problem::{BAD_HOST, TOO_LARGE, TOO_MANY_HEADERS};
use latchkey_runtime::trace::Span;
use latchkey_runtime::{Clock, Entropy};
use tokio::time::Instant;
use tower::Service;

use crate::address::{self, CameBy};
use crate::admission::{Admission, Lane};
use crate::answer;
use crate::body::MAX_BODY;
use crate::fast_path::{Question, Seen, VerifyRoute};
use crate::guard;
use crate::host;
use crate::observe::{Observer, Request as Observed};
use crate::patterns::Patterns;
use crate::problem::Problem;
use crate::request_id::RequestIds;
use crate::route::{Facts, Route};
use crate::router;
use crate::state::Edge;
use crate::trailing_slash::has_slash;

/// Requests that are worked on at the same time at most.
const MAX_IN_FLIGHT: u32 = 4_096;
/// How long a request may take, all told.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Header lines of a request at most. hyper's own bound would be set out anew for each request.
const MAX_HEADERS: usize = 64;

/// The layer.
#[derive(Clone)]
pub(crate) struct Core {
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

/// What is known of a request since it arrived.
#[derive(Clone, Copy)]
pub(crate) struct Arrived {
    begun: Instant,
    /// The place of its pattern.
    route: usize,
}

/// What becomes of a request that cannot be answered at once.
pub(crate) enum Later {
    /// Its route only verifies, and somebody has to be asked. The request itself is not needed any more.
    Ask(Box<Asked>),
    /// It goes the whole way.
    Answer(Arrived),
}

/// A request of which a look has left something open, with what is told of it.
pub(crate) struct Asked {
    arrived: Arrived,
    method: Method,
    id: HeaderValue,
    span: Span,
    question: Question,
}

/// What is to be done for a request.
struct Work {
    context: Context,
    peer: IpAddr,
    route: usize,
}

/// In the extensions of a request of a page of another origin: what is known of it, and the other end of the connection.
#[derive(Clone, Copy)]
pub(crate) struct FromPage {
    pub(crate) arrived: Arrived,
    pub(crate) peer: IpAddr,
}

impl Arrived {
    fn observed<'a>(self, method: &'a Method, id: &'a HeaderValue) -> Observed<'a> {
        Observed { route: self.route, method, begun: self.begun, id }
    }
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
        let FromPage { arrived, peer } = from.unwrap_or_else(|| FromPage {
            arrived: core.arrived(&request),
            peer: IpAddr::from([0, 0, 0, 0]),
        });
        Box::pin(async move { Ok(core.answer(request, arrived, peer).await) })
    }
}

impl Core {
    /// The layer around these routes, behind so many trusted proxies.
    pub(crate) fn new(
        trusted_proxies: usize,
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
        let admission = Admission::new(&patterns, &dear.collect::<Vec<_>>(), clock);
        let verify_at = |pattern: &&str| {
            let route = routes.iter().find(|route| route.facts().path == *pattern);
            route.and_then(Route::verifies)
        };
        let verify = patterns.all().iter().map(verify_at).collect();
        let in_flight = Limit::new(MAX_IN_FLIGHT);
        Self {
            observer: Observer::new(&patterns, &in_flight),
            admission: Arc::new(admission),
            verify,
            router: router::build(routes, Arc::clone(&edge)),
            edge,
            patterns,
            in_flight,
            trusted_proxies,
            ids: Arc::new(RequestIds::new(entropy)),
        }
    }

    /// An id for what has none.
    pub(crate) fn new_id(&self) -> HeaderValue {
        self.ids.make()
    }

    /// What is known now of a request whose path has been written anew.
    pub(crate) fn arrived_as<B>(&self, request: &Request<B>, before: Arrived) -> Arrived {
        Arrived { begun: before.begun, ..self.arrived(request) }
    }

    /// Whether a page of another origin may make this request. Where not, `Origin` is a header like any other.
    pub(crate) fn is_for_pages(&self, arrived: Arrived) -> bool {
        self.verify_at(arrived.route).is_none_or(|verify| verify.is_for_pages)
    }

    /// A request of which nothing is known yet.
    fn arrived<B>(&self, request: &Request<B>) -> Arrived {
        Arrived { begun: Instant::now(), route: self.patterns.place_of(request.uri().path()) }
    }

    fn verify_at(&self, route: usize) -> Option<&VerifyRoute> {
        self.verify.get(route)?.as_ref()
    }

    fn came_by(&self, peer: IpAddr) -> CameBy {
        CameBy { peer, proxies: self.trusted_proxies }
    }

    /// Answers a request that can be answered without asking anyone, or says how it goes on with any other.
    pub(crate) fn answer_at_once<B: HttpBody>(
        &self,
        request: &Request<B>,
        peer: IpAddr,
    ) -> ControlFlow<Response, Later> {
        let arrived = self.arrived(request);
        let Some(verify) = self.verify_at(arrived.route) else {
            return Continue(Later::Answer(arrived));
        };
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let is_plain = request.body().is_end_stream()
            && !(verify.is_for_pages && headers.contains_key(ORIGIN))
            && headers.len() <= MAX_HEADERS
            && !has_slash(uri.path())
            && has_host(request);
        if !is_plain {
            return Continue(Later::Answer(arrived));
        }
        let came_by = self.came_by(peer);
        let look = || verify.look(&self.edge.gate, method, uri, headers, came_by);
        let seen = guard::at_once(look, Seen::Answer);
        let id = self.ids.of(headers);
        let observed = arrived.observed(method, &id);
        let span = self.observer.begin(&observed, headers);
        match seen {
            Seen::Answer(answer) => {
                let mut answer = self.complete(answer, &observed, span);
                answer::finish(answer.headers_mut(), id);
                Break(answer)
            }
            Seen::Open(question) => {
                let method = method.clone();
                Continue(Later::Ask(Box::new(Asked { arrived, method, id, span, question })))
            }
        }
    }

    /// The answer to what a look has left open. There is less around it than around any other, as for one that is there
    /// at once: what is not plain has not come here.
    pub(crate) async fn ask(&self, asked: &mut Asked) -> Response {
        let response = if asked.span.is_recording() {
            Box::pin(asked.span.run(self.asked(asked))).await
        } else {
            self.asked(asked).await
        };
        let Asked { arrived, method, id, span, .. } = asked;
        let span = mem::replace(span, Span::none());
        let mut answer = self.complete(response, &arrived.observed(method, id), span);
        answer::finish(answer.headers_mut(), id.clone());
        answer
    }

    async fn asked(&self, asked: &Asked) -> Response {
        let Asked { arrived: Arrived { begun, route }, id, question, .. } = asked;
        let response = match (self.in_flight.try_enter(), self.verify_at(*route)) {
            (Some(_permit), Some(verify)) => {
                let context = Context::until(request_id(id), *begun + REQUEST_TIMEOUT);
                guard::in_time(verify.ask(&self.edge.gate, &context, question)).await
            }
            _ => Problem::overloaded().into_response(),
        };
        if turns_away(&response) {
            self.admission.hold().await;
        }
        response
    }

    /// Answers any request, from `peer`.
    pub(crate) async fn answer(
        &self,
        request: Request<Body>,
        arrived: Arrived,
        peer: IpAddr,
    ) -> Response {
        let Arrived { begun, route } = arrived;
        let id = self.ids.of(request.headers());
        let method = request.method().clone();
        let observed = arrived.observed(&method, &id);
        let span = self.observer.begin(&observed, request.headers());
        let context = Context::until(request_id(&id), begun + REQUEST_TIMEOUT);
        let lane = self.admission.lane(route, &method);
        let work = Work { context, peer, route };
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
        let is_shed = response.extensions().get::<Problem>().is_some_and(Problem::is_shed);
        match place {
            Some(place) if is_shed => place.leave_later().await,
            Some(place) => place.leave(response.status().is_success()),
            None => {}
        }
        if turns_away(&response) {
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
        let Work { context, peer, route } = work;
        let verify = self.verify_at(route);
        let max_body = verify.map_or(MAX_BODY, |verify| verify.max_body);
        if request.body().size_hint().lower() > max_body as u64 {
            return Problem::about(&TOO_LARGE, &max_body.to_string()).into_response();
        }
        let answered = match verify {
            Some(verify) => {
                let (parts, _body) = request.into_parts();
                // The gate keeps the deadline: a timer less.
                let came_by = self.came_by(peer);
                guard::in_time(verify.answer(&self.edge.gate, &context, &parts, came_by)).await
            }
            None => guard::in_time(self.route(request, context, peer)).await,
        };
        drop(permit);
        answered
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

/// Whether an answer tells its client to come back: it is held back if there were many before it.
fn turns_away(response: &Response) -> bool {
    response.extensions().get::<Problem>().is_some_and(Problem::turns_away)
}

fn request_id(id: &HeaderValue) -> RequestId {
    RequestId::new(id.to_str().unwrap_or_default())
}

/// Whether a request says once and well whom it is for.
pub(crate) fn has_host<B>(request: &Request<B>) -> bool {
    host::is_good(request.version(), request.headers())
}
