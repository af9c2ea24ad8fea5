//! Two logs as one list: by time, and each log in the order of its own ids.

use std::collections::VecDeque;

use latchkey_contract::audit::{AuditEvent, EventPage};

use super::cursor::{Cursor, Order};

/// Whose log an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Logged {
    Identity,
    Keys,
}

/// What is left of one log.
pub(super) struct Stream {
    of: Logged,
    order: Order,
    /// Events that came and are not listed yet.
    events: VecDeque<AuditEvent>,
    /// Behind which event the next ones are; `None`: behind none, at the beginning.
    behind: Option<i64>,
    /// Whether there are none.
    is_ended: bool,
}

/// A page.
pub(super) struct Merged {
    pub(super) events: Vec<(Logged, AuditEvent)>,
    /// Where the next one begins; `None` where there are no more events.
    pub(super) next: Option<Cursor>,
}

impl Logged {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Keys => "keys",
        }
    }
}

impl Stream {
    pub(super) fn new(of: Logged, behind: Option<i64>, order: Order) -> Self {
        Self { of, order, events: VecDeque::new(), behind, is_ended: false }
    }

    /// Whether nobody knows which event is next.
    pub(super) fn is_dry(&self) -> bool {
        self.events.is_empty() && !self.is_ended
    }

    /// Behind which event the next ones are that have not come.
    pub(super) fn ahead(&self) -> Option<i64> {
        self.behind
    }

    /// Adds what came of a dry one.
    pub(super) fn take(&mut self, page: EventPage) {
        let EventPage { events, next } = page;
        // Of a log that has ended nothing is left, whatever is written meanwhile: it would be newer than what was listed.
        let last = match self.order {
            Order::Falling => Some(0),
            Order::Rising => events.last().map(|event| event.id).or(self.behind),
        };
        self.is_ended = next.is_none();
        self.behind = next.or(last);
        self.events = events.into();
    }

    /// Behind which event a further page begins.
    fn position(&self) -> i64 {
        match (self.events.front(), self.order) {
            (Some(event), Order::Falling) => event.id.saturating_add(1),
            (Some(event), Order::Rising) => event.id.saturating_sub(1),
            (None, Order::Falling) => self.behind.unwrap_or(i64::MAX),
            (None, Order::Rising) => self.behind.unwrap_or(0),
        }
    }

    fn has_more(&self) -> bool {
        !self.events.is_empty() || !self.is_ended
    }
}

impl Merged {
    /// What was listed of the two logs.
    pub(super) fn new(events: Vec<(Logged, AuditEvent)>, identity: &Stream, keys: &Stream) -> Self {
        let has_more = identity.has_more() || keys.has_more();
        let (order, identity, keys) = (identity.order, identity.position(), keys.position());
        Self { events, next: has_more.then_some(Cursor { order, identity, keys }) }
    }
}

/// Lists events until there are `limit`, or until nobody knows which is next.
pub(super) fn merge(
    merged: &mut Vec<(Logged, AuditEvent)>,
    limit: usize,
    one: &mut Stream,
    other: &mut Stream,
) {
    while merged.len() < limit && !one.is_dry() && !other.is_dry() {
        let next = match (one.events.front(), other.events.front()) {
            (None, None) => return,
            (Some(_), None) => &mut *one,
            (None, Some(_)) => &mut *other,
            (Some(first), Some(second)) => {
                let is_older = (first.at, one.of) < (second.at, other.of);
                if is_older == one.order.is_oldest_first() { &mut *one } else { &mut *other }
            }
        };
        let of = next.of;
        merged.extend(next.events.pop_front().map(|event| (of, event)));
    }
}

#[cfg(test)]
mod tests;
