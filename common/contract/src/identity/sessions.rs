//! What is asked about the sessions of a user.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::{CHANGE_ATTEMPT, CHANGE_TIMEOUT, Receipt};
use crate::caller::Sender;
use crate::ids::{SessionId, Timestamp, UserId};
use crate::rpc::{ATTEMPT, Retry, Rpc};

/// Asks for a page of the sessions of the user who acts that have not ended, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSessions {
    /// The user: the one who acts.
    pub user: UserId,
    /// Only sessions whose number is lower; `None` for the first page.
    pub before: Option<i64>,
}

impl ListSessions {
    /// Sessions of one page: they fit a message.
    pub const MAX: usize = 64;
}

/// A page of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPage {
    /// The sessions, the newest first.
    pub sessions: Vec<SessionObject>,
    /// What the next page's [`before`](ListSessions::before) is; `None` where there are no more.
    pub next: Option<i64>,
}

/// A session as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionObject {
    /// What it is called: 16 hexadecimal digits, which open nothing.
    pub handle: String,
    /// Which it is.
    pub id: SessionId,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was used last, as far as is known.
    pub last_seen_at: Timestamp,
    /// When it ends, whatever is done.
    pub expires_at: Timestamp,
    /// When it ends if it is not refreshed.
    pub idle_expires_at: Timestamp,
    /// What its user called it.
    pub device: Option<String>,
    /// What the client said of itself that logged in.
    pub user_agent: Option<String>,
    /// From which address that was, as far as it is written down.
    pub ip: Option<String>,
    /// How its user showed who they are.
    pub methods: Vec<String>,
    /// What it is for: `api`, or `console`.
    pub kind: String,
}

/// Ends one session of the user who acts. Ending an ended session is no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    /// The user: the one who acts.
    pub user: UserId,
    /// What the session is called: [`SessionObject::handle`].
    pub handle: String,
}

impl Rpc for ListSessions {
    const SUBJECT: &'static str = "v1.identity.sessions";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = SessionPage;
}

impl Rpc for EndSession {
    const SUBJECT: &'static str = "v1.identity.end-session";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    /// `None`: the user has no such session.
    type Reply = Option<Receipt>;
}
