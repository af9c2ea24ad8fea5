//! What the identity service answers: accounts, logins, sessions and access tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, Timestamp, UserId};
use crate::rpc::{ATTEMPT, Retry, Rpc, VERIFY_ATTEMPT};
use crate::secret::{Secret, exposed, exposed_list, exposed_option};
use crate::verdict::{UserPrincipal, Verdict};

/// Opens an account. A field that is missing, or that is no text, is `None`; the service names it
/// together with every other faulty field.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignUp {
    /// An e-mail address of at most 254 characters, unique without regard to case.
    pub email: Option<String>,
    /// 3 to 50 characters of PRECIS `UsernameCaseMapped` (RFC 8265), unique in its canonical form.
    pub username: Option<String>,
    /// 8 to 128 characters, not among the commonest.
    #[serde(with = "exposed_option")]
    pub password: Option<Secret>,
}

/// An account as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's id.
    pub id: UserId,
    /// The address as it was written.
    pub email: String,
    /// The name as it was written.
    pub username: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// Whether it may log in.
    pub is_active: bool,
}

/// Opens a session. Fields that are missing or no text are `None`.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogIn {
    /// The username in any spelling that has the same canonical form.
    pub username: Option<String>,
    /// The password.
    #[serde(with = "exposed_option")]
    pub password: Option<Secret>,
}

/// A session that was opened.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoggedIn {
    /// A signed JWT that stands for the session.
    #[serde(with = "exposed")]
    pub access_token: Secret,
    /// Seconds until it expires.
    pub expires_in: u64,
}

/// Ends a session: its token is refused from the reply on. Ending an ended session is no error.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogOut {
    /// The session, from a token that was verified.
    pub session: SessionId,
}

/// Asks who each of these access tokens stands for; the verdicts come in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyTokens {
    /// At most [`MAX_BATCH`](crate::wire::MAX_BATCH) tokens of at most [`MAX_TOKEN`] bytes.
    #[serde(with = "exposed_list")]
    pub tokens: Vec<Secret>,
}

/// Asks whether the service can do its work: it answers after its database has answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready;

/// Bytes of the longest access token that is looked at; anything above is malformed.
pub const MAX_TOKEN: usize = 4_096;

impl Rpc for SignUp {
    const SUBJECT: &'static str = "v1.identity.signup";
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Reply = Account;
}

impl Rpc for LogIn {
    const SUBJECT: &'static str = "v1.identity.login";
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Reply = LoggedIn;
}

impl Rpc for LogOut {
    const SUBJECT: &'static str = "v1.identity.logout";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = ();
}

impl Rpc for VerifyTokens {
    const SUBJECT: &'static str = "v1.identity.verify";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    type Reply = Vec<Verdict<UserPrincipal>>;
}

impl Rpc for Ready {
    const SUBJECT: &'static str = "v1.identity.ready";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = ();
}
