//! What is asked of either service about the events of its audit log.

use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::caller::Sender;
use crate::identity::IdentityAuthority;
use crate::ids::{Timestamp, UserId};
use crate::keys::KeysAuthority;
use crate::rpc::{ATTEMPT, Retry, Rpc};

/// Characters of a text that a filter names at most.
pub const MAX_FILTER: usize = 200;

/// A service that has a log.
pub trait Logs: Authority {
    /// Of [`ListEvents`].
    const SUBJECT: &'static str;
}

impl Logs for IdentityAuthority {
    const SUBJECT: &'static str = "v1.identity.audit";
}

impl Logs for KeysAuthority {
    const SUBJECT: &'static str = "v1.keys.audit";
}

/// A page of the events that a user sees: what they did, and what was done to them, their keys and by these. To ask for it is
/// an event itself, one for each user and hour.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ListEvents<A: Authority> {
    /// The user: the one who acts.
    pub owner: UserId,
    /// Only events like these.
    pub filter: EventFilter,
    /// Only events behind this id, in the order that is asked for; `None` for the first page.
    pub after: Option<i64>,
    /// 1 to [`MAX_BATCH`](crate::wire::MAX_BATCH) of them.
    pub limit: u32,
    /// Whether they come by rising id; otherwise by falling.
    pub oldest_first: bool,
    authority: PhantomData<fn() -> A>,
}

/// Which events. What is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// What the action begins with.
    pub action: Option<String>,
    /// Whether it was done, or refused.
    pub is_success: Option<bool>,
    /// Who acted: their kind, and their id or name.
    pub actor: Option<EventTarget>,
    /// What it was done to.
    pub target: Option<EventTarget>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// From which address, as it is written down.
    pub ip: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
}

/// A page of events. It may hold fewer than asked for, also none, where there are more: those that are looked at for one
/// page are bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events, in the order that was asked for.
    pub events: Vec<AuditEvent>,
    /// The id behind which the next page is; `None` where there are no more.
    pub next: Option<i64>,
}

/// An event of one service's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its id there.
    pub id: i64,
    /// Its place in the chain; `None` while it is not sealed.
    pub seq: Option<i64>,
    /// When.
    pub at: Timestamp,
    /// What was done: a dotted name.
    pub action: String,
    /// How it ended: `success` or `failure`.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// What kind of actor it was.
    pub actor_type: String,
    /// Which of them.
    pub actor_id: Option<i64>,
    /// Their name, where they have no id.
    pub actor_name: Option<String>,
    /// To what.
    pub target: Option<EventTarget>,
    /// In which organisation.
    pub org_id: Option<i64>,
    /// From which address.
    pub ip: Option<String>,
    /// By which program.
    pub user_agent: Option<String>,
    /// By which request.
    pub request_id: String,
    /// The revision that it took.
    pub revision: Option<i64>,
    /// What it changed: a JSON object.
    pub changes: Option<String>,
    /// Its link, in hexadecimal; `None` while it is not sealed.
    pub hash: Option<String>,
}

/// What an event is about, or whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTarget {
    /// Its kind.
    pub kind: String,
    /// Its id in that kind.
    pub id: String,
}

impl<A: Authority> ListEvents<A> {
    /// The first page of all that `owner` sees, the newest first.
    #[must_use]
    pub fn of(owner: UserId, limit: u32) -> Self {
        let (filter, authority) = (EventFilter::default(), PhantomData);
        Self { owner, filter, after: None, limit, oldest_first: false, authority }
    }
}

impl EventTarget {
    /// Whether its id is a number: those of sessions and names are texts, whatever digits they have.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        let number = self.id.parse().ok().filter(|number: &i64| number.to_string() == self.id);
        number.filter(|_| !["session", "name"].contains(&self.kind.as_str()))
    }
}

impl<A: Logs> Rpc for ListEvents<A> {
    const SUBJECT: &'static str = A::SUBJECT;
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = EventPage;
}

#[cfg(test)]
mod tests;
