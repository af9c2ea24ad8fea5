//! What the identity service answers: accounts, logins, sessions and access tokens.

mod sessions;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::{Authority, CHANGE_ATTEMPT, CHANGE_TIMEOUT, Receipt};
use crate::caller::Sender;
use crate::ids::{Mark, SessionId, Timestamp, UserId};
use crate::lease::{MemberId, MemberResult};
use crate::rpc::{ATTEMPT, Retry, Rpc, VERIFY_ATTEMPT};
use crate::scope::Scopes;
use crate::secret::{Secret, exposed, exposed_list, exposed_option};
use crate::verdict::Verdicts;

pub use sessions::{EndSession, ListSessions, SessionObject, SessionPage};

/// The identity service, on access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityAuthority {}

/// Opens an account. A field that is missing, or that is no text, is `None`; the service names it
/// together with every other faulty field.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIn {
    /// The username in any spelling that has the same canonical form.
    pub username: Option<String>,
    /// The password.
    #[serde(with = "exposed_option")]
    pub password: Option<Secret>,
    /// The session is unique by it: a doubled message gets the same token and leaves no second session.
    pub mark: Option<Mark>,
    /// What the token is to be narrowed to: scopes separated by spaces (RFC 6749 §3.3), of which `offline_access` asks for
    /// nothing. `None`: everything that the user may do.
    pub scope: Option<String>,
    /// Whether the session is to have a refresh token, and outlive its access tokens by it; `None` where what was said is
    /// neither yes nor no.
    pub refresh: Option<bool>,
    /// What the session is called in the list of its user's: 1 to [`MAX_DEVICE`] characters.
    pub device: Option<String>,
}

/// Characters of a device's name.
pub const MAX_DEVICE: usize = 64;

/// A session that was opened, or goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// A signed JWT that stands for the session.
    #[serde(with = "exposed")]
    pub access_token: Secret,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// What it may do: what was asked for, as far as the user may do that. `None` where nothing was asked for.
    pub scope: Option<Scopes>,
    /// How the session goes on; `None` where it ends with its access token.
    pub refresh: Option<NextRefresh>,
}

/// The refresh token that a session goes on by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRefresh {
    /// Its text, which is stored nowhere.
    #[serde(with = "exposed")]
    pub token: Secret,
    /// Seconds until it expires, if it is not used.
    pub expires_in: u64,
}

/// Asks for the next tokens of a session, of whoever shows its refresh token. The same token again gives the same next one
/// for a short while, as long as that was not used: an answer may have been lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// The refresh token.
    #[serde(with = "exposed")]
    pub token: Secret,
    /// What the access token is to be narrowed to, within what the session was. `None`: all of that.
    pub scope: Option<String>,
    /// A doubled message gets the same answer.
    pub mark: Mark,
}

/// What becomes of a refresh token that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refreshed {
    /// The session goes on.
    Next(LoggedIn),
    /// It was used before: two have it. Nothing was done; whoever waits for this has the session ended
    /// ([`RevokeToken`]), and nobody else.
    Reused,
}

/// Ends the session that a token is of, whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeToken {
    /// An access token or a refresh token.
    #[serde(with = "exposed")]
    pub token: Secret,
    /// Whether it is because [the token was used before](Refreshed::Reused). Otherwise it has to be one that would be accepted,
    /// or of a session that has ended.
    pub reused: bool,
}

/// Ends a session: its token is refused from the reply on. Ending an ended session is no error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogOut {
    /// The session: the one that acts.
    pub session: SessionId,
}

/// Ends the sessions that a user had when this was first asked for: their tokens are refused from the reply
/// on. A message that comes late, or twice, ends none that was opened since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOutAll {
    /// The user: the one who acts.
    pub user: UserId,
    /// [`UserState::last_session`] as the sender read it after its client had asked.
    pub through: i64,
    /// Whether the session that acts goes on.
    pub keep_current: bool,
}

/// Asks for the present state of a user: what a command carries that would undo or replace something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadUser {
    /// The user: the one who acts.
    pub user: UserId,
}

/// The same by name, for operators.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindUser {
    /// The username, in any spelling with the same canonical form.
    pub username: String,
}

/// What a user is called, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameUser {
    /// The user.
    pub user: UserId,
}

/// What a user is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserName {
    /// As the user has spelled it.
    pub username: String,
}

/// What commands on a user are decided on. Each number only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    /// The user.
    pub user: UserId,
    /// Rises with each new password and each change of activity; not where a login renews the hash.
    pub version: i64,
    /// Rises with each change of activity.
    pub active_version: i64,
    /// The number of the session that was opened last.
    pub last_session: i64,
    /// Rises with each change of the ceiling.
    pub ceiling_version: i64,
}

/// Sets a new password of the user who acts, and ends every session of theirs but the one by which they do. That must be
/// good when the change is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePassword {
    /// [`UserState::version`] as the sender read it after its client had asked: a message that comes after
    /// something newer is refused.
    pub version: i64,
    /// A doubled message is known by it.
    pub mark: Mark,
    /// The password until now.
    #[serde(with = "exposed_option")]
    pub current_password: Option<Secret>,
    /// The password from now on; the rules of a signup hold.
    #[serde(with = "exposed_option")]
    pub new_password: Option<Secret>,
}

/// Deactivates a user, so that their tokens and keys are refused from the reply on, or reactivates them:
/// their keys are accepted again, and they may log in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetActive {
    /// The user, as [`FindUser`] found them.
    pub user: UserId,
    /// Whether the user may act.
    pub active: bool,
    /// [`UserState::active_version`] as the sender read it: a message that comes after something newer is
    /// refused.
    pub version: i64,
    /// A doubled or repeated message is known by it.
    pub mark: Mark,
}

/// What became of a user's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveSet {
    /// The user.
    pub user: UserId,
    /// The receipt of the tokens' change.
    pub tokens: Receipt,
    /// The receipt of the keys' change. `None`: it is decided and on disk, but the key service has not confirmed
    /// it yet; it is told until it has.
    pub keys: Option<Receipt>,
}

/// Sets what a user may do and grant to keys at most, in place of what all users may, or takes that away again. From the
/// reply on their tokens and keys may do no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetCeiling {
    /// The user, as [`FindUser`] found them.
    pub user: UserId,
    /// The ceiling; `None` for that of all users, which is another thing than no scope at all.
    pub ceiling: Option<Scopes>,
    /// [`UserState::ceiling_version`] as the sender read it: a message that comes after something newer is refused.
    pub version: i64,
    /// A doubled or repeated message is known by it.
    pub mark: Mark,
}

/// What became of a user's ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeilingSet {
    /// The user.
    pub user: UserId,
    /// The receipt of the tokens' change.
    pub tokens: Receipt,
    /// The receipt of the keys' change. `None` as in [`ActiveSet`].
    pub keys: Option<Receipt>,
}

/// Asks who each of these access tokens stands for; the verdicts come in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyTokens {
    /// At most [`MAX_BATCH`](crate::wire::MAX_BATCH) tokens of at most [`MAX_TOKEN`] bytes.
    #[serde(with = "exposed_list")]
    pub tokens: Vec<Secret>,
    /// Who asks, where the answer is to be remembered. Whoever is no member is told so, and nothing else.
    pub member: Option<MemberId>,
}

/// Asks whether the service can do its work: it answers after its database has answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready;

/// Bytes of the longest access token that is looked at; anything above is malformed.
pub const MAX_TOKEN: usize = 4_096;

impl Rpc for SignUp {
    const SUBJECT: &'static str = "v1.identity.signup";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Account;
}

impl Rpc for LogIn {
    const SUBJECT: &'static str = "v1.identity.login";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = LoggedIn;
}

impl Rpc for Refresh {
    const SUBJECT: &'static str = "v1.identity.refresh";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Refreshed;
}

impl Rpc for RevokeToken {
    const SUBJECT: &'static str = "v1.identity.revoke";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Option<Receipt>;
}

impl Rpc for LogOut {
    const SUBJECT: &'static str = "v1.identity.logout";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Option<Receipt>;
}

impl Rpc for LogOutAll {
    const SUBJECT: &'static str = "v1.identity.logout-all";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Receipt;
}

impl Rpc for ChangePassword {
    const SUBJECT: &'static str = "v1.identity.password";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Receipt;
}

impl Rpc for SetActive {
    const SUBJECT: &'static str = "v1.identity.operator.set-active";
    const TIMEOUT: Duration = Duration::from_secs(20);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = ActiveSet;
}

impl Rpc for SetCeiling {
    const SUBJECT: &'static str = "v1.identity.operator.set-ceiling";
    const TIMEOUT: Duration = Duration::from_secs(20);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = CeilingSet;
}

impl Rpc for ReadUser {
    const SUBJECT: &'static str = "v1.identity.user";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = UserState;
}

impl Rpc for NameUser {
    const SUBJECT: &'static str = "v1.identity.operator.name";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = UserName;
}

impl Rpc for FindUser {
    const SUBJECT: &'static str = "v1.identity.operator.user";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = UserState;
}

impl Authority for IdentityAuthority {
    type Question = Secret;
    type Verify = VerifyTokens;
    const NAME: &'static str = "identity";
    const JOIN: &'static str = "v1.identity.join";
    const RENEW: &'static str = "v1.identity.renew";
    const LEAVE: &'static str = "v1.identity.leave";
    const INVALIDATIONS: &'static str = "v1.identity.invalidate";

    fn verify(tokens: Vec<Secret>, member: Option<MemberId>) -> VerifyTokens {
        VerifyTokens { tokens, member }
    }
}

impl Rpc for VerifyTokens {
    const SUBJECT: &'static str = "v1.identity.verify";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    type Reply = MemberResult<Verdicts<IdentityAuthority>>;
}

impl Rpc for Ready {
    const SUBJECT: &'static str = "v1.identity.ready";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = ();
}
