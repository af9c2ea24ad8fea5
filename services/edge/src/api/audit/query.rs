//! Which events are asked for.

use std::net::IpAddr;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use latchkey_contract::audit::{EventFilter, EventTarget, MAX_FILTER};
use latchkey_contract::{FieldError, Timestamp};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::IntoParams;

use super::cursor::{Cursor, Order};
use crate::body::positive;
use crate::problem::Problem;

/// Events of a page where the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Events of a page at most.
const MAX_LIMIT: usize = 1_000;

/// Which events to list.
#[derive(Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// How many events at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// Only events behind those of a page: as its `Link` says it.
    #[param(example = "d412-3f")]
    after: Option<String>,
    /// `desc`: the newest first; `asc`: the oldest first.
    #[param(pattern = "^(asc|desc)$", example = "desc")]
    order: Option<String>,
    /// What the action begins with.
    #[param(example = "key.")]
    action: Option<String>,
    /// Whether it was done.
    #[param(pattern = "^(success|failure)$", example = "failure")]
    outcome: Option<String>,
    /// Who did it: the kind, and the id or name.
    #[param(example = "user:1")]
    actor: Option<String>,
    /// What it was done to: the kind, and the id.
    #[param(example = "key:7")]
    target: Option<String>,
    /// Not before this time of RFC 3339.
    #[param(format = DateTime, example = "2026-12-05T23:00:00Z")]
    since: Option<String>,
    /// Before this time of RFC 3339.
    #[param(format = DateTime, example = "2026-12-05T23:00:00Z")]
    until: Option<String>,
    /// From which address.
    #[param(example = "203.0.113.7")]
    ip: Option<String>,
    /// By which request.
    #[param(example = "4f6c1c1e9a1b2d3c-1")]
    request_id: Option<String>,
}

/// The same, read.
pub(super) struct Asked {
    pub(super) limit: usize,
    pub(super) order: Order,
    /// Where the page begins; `None`: at the beginning.
    pub(super) from: Option<Cursor>,
    pub(super) filter: EventFilter,
    query: AuditQuery,
}

impl Asked {
    /// The same with the page behind this one.
    pub(super) fn link(&self, next: Cursor) -> String {
        let AuditQuery { order, action, outcome, actor, target, since, until, ip, .. } =
            &self.query;
        let texts = [
            ("order", order),
            ("action", action),
            ("outcome", outcome),
            ("actor", actor),
            ("target", target),
            ("since", since),
            ("until", until),
            ("ip", ip),
            ("request_id", &self.query.request_id),
        ];
        let mut link = format!("?limit={}", self.limit);
        for (name, text) in texts {
            if let Some(text) = text {
                link.extend(["&", name, "=", &escaped(text)]);
            }
        }
        link.extend(["&after=", &next.to_string()]);
        link
    }
}

/// As it stands in a query (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.extend(format!("%{byte:02X}").chars());
        }
        escaped
    })
}

pub(super) fn read(query: Result<Query<AuditQuery>, QueryRejection>) -> Result<Asked, Problem> {
    let Query(query) = query.map_err(|_other| {
        let message = "may hold `limit`, `after`, `order`, `action`, `outcome`, `actor`, `target`, `since`, \
            `until`, `ip` and `request_id`, each once, and nothing else";
        Problem::invalid(vec![FieldError::new("query", message)])
    })?;
    let mut faults = Vec::new();
    let order = Field("order", &query.order, &mut faults).read("must be asc or desc", order);
    let order = order.unwrap_or_default();
    let limit = Field("limit", &query.limit, &mut faults)
        .read("must be a whole number from 1 to 1000", limit)
        .unwrap_or(DEFAULT_LIMIT);
    let from = Field("after", &query.after, &mut faults)
        .read("must be what `Link` says, with the same order", |text| Cursor::parse(text, order));
    let moment = |at: &str| {
        let at = OffsetDateTime::parse(at, &Rfc3339).ok()?.unix_timestamp_nanos();
        i64::try_from(at.div_euclid(1_000_000)).ok().map(Timestamp)
    };
    let at = "must be a time of RFC 3339 such as 2026-12-05T23:00:00Z, with a `+` written as %2B";
    let whom = "must be a kind, a colon and an id, such as key:7 or user:1";
    let filter = EventFilter {
        action: Field("action", &query.action, &mut faults)
            .read("must be the beginning of an action such as key. or user.logged_in", action),
        is_success: Field("outcome", &query.outcome, &mut faults)
            .read("must be success or failure", outcome),
        actor: Field("actor", &query.actor, &mut faults).read(whom, target),
        target: Field("target", &query.target, &mut faults).read(whom, target),
        since: Field("since", &query.since, &mut faults).read(at, moment),
        until: Field("until", &query.until, &mut faults).read(at, moment),
        ip: Field("ip", &query.ip, &mut faults).read("must be an IP address", address),
        request_id: Field("request_id", &query.request_id, &mut faults)
            .read("must have 1 to 200 characters", text),
    };
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    Ok(Asked { limit, order, from, filter, query })
}

/// A parameter: its name, its text, and where its fault goes.
struct Field<'a>(&'static str, &'a Option<String>, &'a mut Vec<FieldError>);

impl Field<'_> {
    /// What its text means, if it is there; `rule` is said of one that means nothing.
    fn read<T>(self, rule: &str, meaning: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let Self(name, text, faults) = self;
        let text = text.as_deref()?;
        let read = meaning(text);
        if read.is_none() {
            faults.push(FieldError::new(name, rule));
        }
        read
    }
}

fn order(text: &str) -> Option<Order> {
    match text {
        "asc" => Some(Order::Rising),
        "desc" => Some(Order::Falling),
        _ => None,
    }
}

fn limit(text: &str) -> Option<usize> {
    let limit = positive(text).and_then(|number| usize::try_from(number).ok());
    limit.filter(|limit| *limit <= MAX_LIMIT)
}

fn outcome(text: &str) -> Option<bool> {
    match text {
        "success" => Some(true),
        "failure" => Some(false),
        _ => None,
    }
}

fn text(text: &str) -> Option<String> {
    (1..=MAX_FILTER).contains(&text.chars().count()).then(|| text.to_owned())
}

fn action(start: &str) -> Option<String> {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || b"._".contains(&byte);
    text(start).filter(|start| start.bytes().all(is_fit))
}

fn target(whom: &str) -> Option<EventTarget> {
    let (kind, id) = text(whom)?.split_once(':').map(|(kind, id)| (text(kind), text(id)))?;
    Some(EventTarget { kind: kind?, id: id? })
}

/// An address, or a network as it is written down where no more is kept.
fn address(ip: &str) -> Option<String> {
    let address = ip.split_once('/').map_or(ip, |(address, _)| address);
    address.parse::<IpAddr>().ok().and_then(|_| text(ip))
}
