//! Routes that do nothing but verify. Each is a value: what is required, which methods it takes, whether pages of other
//! origins may call it, and how a principal and a refusal are written. They are answered here alone: without the
//! router, whose plumbing costs more than the check, and at once where memory or the request itself says all.
//! Whoever has to be asked about is asked about by what was read and hashed for the first look.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use latchkey_bus::Context;
use latchkey_contract::Principal;
use latchkey_gate::{Gate, Requirement};

use crate::address::CameBy;
use crate::body::MAX_BODY;
use crate::credential::{Kept, Looked, Open, Presented, presented};
use crate::problem::Problem;

/// The methods of a route that is read.
pub(crate) const READS: &[Method] = &[Method::GET, Method::HEAD];

/// A route that only verifies.
#[derive(Clone, Copy)]
pub(crate) struct VerifyRoute {
    /// The methods it takes; `None`: any.
    pub(crate) methods: Option<&'static [Method]>,
    /// Whether a page of another origin may call it. Where not, `Origin` is a header like any other.
    pub(crate) is_for_pages: bool,
    /// Bytes of a body at most. It is read by nobody.
    pub(crate) max_body: usize,
    /// The least that is required of whoever calls it.
    pub(crate) who: Requirement<'static>,
    /// What this request requires: `who`, and what the request asks for besides.
    pub(crate) requirement: fn(Requirement<'static>, &Uri) -> Result<Requirement<'static>, Problem>,
    /// Where the credentials are.
    pub(crate) credentials: for<'a> fn(&Uri, &'a HeaderMap) -> Result<Presented<'a>, Problem>,
    /// The answer to whoever is let through.
    pub(crate) accept: fn(&Principal) -> Result<Response, Problem>,
    /// The answer to whoever is not.
    pub(crate) refuse: fn(Problem) -> Response,
}

/// What a look at a request comes to.
pub(crate) enum Seen {
    /// Its answer.
    Answer(Response),
    /// Somebody has to be asked.
    Open(Question),
}

/// What has to be asked for a request. It outlives the headers that it was read from.
pub(crate) struct Question {
    requirement: Requirement<'static>,
    credentials: Kept,
    client: Option<IpAddr>,
    open: Open,
}

impl VerifyRoute {
    /// A route that is read, by pages too, and requires the same of each request.
    pub(crate) const fn get(
        who: Requirement<'static>,
        accept: fn(&Principal) -> Result<Response, Problem>,
    ) -> Self {
        Self {
            methods: Some(READS),
            is_for_pages: true,
            max_body: MAX_BODY,
            who,
            requirement: |who, _| Ok(who),
            credentials: presented,
            accept,
            refuse: IntoResponse::into_response,
        }
    }

    /// What can be said without asking anyone.
    pub(crate) fn look(
        &self,
        gate: &Gate,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        came_by: CameBy,
    ) -> Seen {
        self.try_look(gate, method, uri, headers, came_by)
            .unwrap_or_else(|problem| Seen::Answer((self.refuse)(problem)))
    }

    fn try_look(
        &self,
        gate: &Gate,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        came_by: CameBy,
    ) -> Result<Seen, Problem> {
        if let Some(methods) = self.methods
            && !methods.contains(method)
        {
            return Err(Problem::method_not_allowed(methods));
        }
        let requirement = (self.requirement)(self.who, uri)?;
        let credentials = (self.credentials)(uri, headers)?;
        let client = || came_by.client(headers);
        Ok(match credentials.look(requirement, gate, client) {
            Looked::Judged(judged) => Seen::Answer((self.accept)(&*judged?)?),
            Looked::Open(open) => {
                let (credentials, client) = (credentials.kept(), client());
                Seen::Open(Question { requirement, credentials, client, open })
            }
        })
    }

    /// The answer, by the context's deadline.
    pub(crate) async fn answer(
        &self,
        gate: &Gate,
        context: &Context,
        parts: &Parts,
        came_by: CameBy,
    ) -> Response {
        match self.look(gate, &parts.method, &parts.uri, &parts.headers, came_by) {
            Seen::Open(question) => self.ask(gate, context, &question).await,
            Seen::Answer(answer) => answer,
        }
    }

    /// The answer to what a look has left open, by the context's deadline.
    pub(crate) async fn ask(
        &self,
        gate: &Gate,
        context: &Context,
        question: &Question,
    ) -> Response {
        let Question { requirement, credentials, client, open } = question;
        let asked = credentials.presented().ask(*requirement, gate, context, *client, *open).await;
        let answered = asked.and_then(|principal| (self.accept)(&principal));
        answered.unwrap_or_else(self.refuse)
    }
}

#[cfg(test)]
mod tests;
