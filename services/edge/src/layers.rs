//! The edge as a service. Around every request there is one layer (`around.rs`): each further one would cost more than all
//! of that. The only other one, CORS, is for requests of pages of other origins alone; it is here, with what is lent of a
//! request to the routes and what is no request.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::ORIGIN;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use latchkey_runtime::{Clock, Entropy};
use tower::{Layer, Service};
use tower_http::cors::Cors;

use crate::answer;
use crate::around::{Arrived, Asked, Core, FromPage, Later, has_host};
use crate::config::Config;
use crate::cors;
use crate::idle_timeout::Swept;
use crate::lent_body;
use crate::malformed::{self, Fault, Malformed};
use crate::route::Route;
use crate::state::Edge;
use crate::trailing_slash::without_slash;

/// Answers every request of the edge.
pub struct EdgeService {
    /// For requests without an `Origin`: everything but a browser.
    plain: Core,
    /// The same behind the check of the origin.
    cors: Cors<Core>,
    malformed: Malformed,
}

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
        let cors = cors::layer(config, routes.iter().map(Route::facts));
        let plain = Core::new(config.trusted_proxies, routes, edge, clock.clone(), entropy);
        let cors = cors.layer(plain.clone());
        Self { plain, cors, malformed: Malformed::new(clock) }
    }

    /// Answers a request that can be answered without asking anyone. With what is known of any other
    /// [`answer`](Self::answer) goes on.
    pub(crate) fn answer_at_once(
        &self,
        request: &Request<Incoming>,
        peer: IpAddr,
    ) -> ControlFlow<Response, Later> {
        self.plain.answer_at_once(request, peer)
    }

    /// Answers a request of which a look has left something open.
    pub(crate) async fn ask(&self, asked: &mut Asked) -> Response {
        self.plain.ask(asked).await
    }

    /// Answers one request from `peer`, when its body is read or given up.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        arrived: Arrived,
        peer: IpAddr,
    ) -> Response {
        let (request, rest) = lent_body::lend(request);
        let mut answer = self.answer_arrived(request, arrived, peer).await;
        if let Some(rest) = rest {
            rest.end(&mut answer).await;
        }
        answer
    }

    /// What a client is told that sent something that is no request, byte by byte. `unread` is its beginning.
    pub(crate) fn refuse(&self, fault: Fault, unread: &[u8]) -> Vec<u8> {
        self.malformed.note(fault, 1);
        let (problem, id) = (fault.problem(), self.plain.new_id());
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
        match self.plain.answer_at_once(&request, peer) {
            ControlFlow::Break(answer) => answer,
            ControlFlow::Continue(Later::Ask(mut asked)) => self.plain.ask(&mut asked).await,
            ControlFlow::Continue(Later::Answer(arrived)) => {
                self.answer_arrived(request, arrived, peer).await
            }
        }
    }

    async fn answer_arrived(
        &self,
        mut request: Request<Body>,
        mut arrived: Arrived,
        peer: IpAddr,
    ) -> Response {
        if without_slash(&mut request) {
            arrived = self.plain.arrived_as(&request, arrived);
        }
        let is_for_pages = self.plain.is_for_pages(arrived);
        let is_of_page = is_for_pages && request.headers().contains_key(ORIGIN);
        if !is_of_page || !has_host(&request) {
            return self.plain.answer(request, arrived, peer).await;
        }
        request.extensions_mut().insert(FromPage { arrived, peer });
        match self.cors.clone().call(request).await {
            Ok(response) => response,
        }
    }
}
