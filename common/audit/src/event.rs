//! What an event says.

use latchkey_contract::lease::Revision;
use latchkey_contract::{Caller, KeyId, Refusal, SessionId, Timestamp, UserId};

/// What was done. The dotted names are stable: what reads the log goes by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An account was opened.
    UserSignedUp,
    /// A session was opened.
    UserLoggedIn,
    /// Somebody tried to log in and was refused.
    UserLoginFailed,
    /// A session was ended by whom it belongs to, or all of theirs.
    UserLoggedOut,
    /// One session was ended: by its user from another one, by whoever has a token of it, or because newer ones took its
    /// place.
    SessionEnded,
    /// A session was ended because a refresh token of it was shown again after it had been used.
    SessionRefreshReused,
    /// A password was changed, or somebody tried with a wrong one.
    UserPasswordChanged,
    /// An account was deactivated.
    UserDeactivated,
    /// An account was reactivated.
    UserReactivated,
    /// What a user may do and grant at most was set, or taken away.
    UserCeilingChanged,
    /// What every user may do and grant at most who has no ceiling of their own is another than at the start before.
    UserScopesChanged,
    /// A key was made.
    KeyCreated,
    /// What a key may do, or what is said of it, was changed.
    KeyUpdated,
    /// A key is refused until it is enabled.
    KeyDisabled,
    /// A key was enabled.
    KeyEnabled,
    /// A key was replaced by a new one.
    KeyRotated,
    /// A key was revoked, or the reason of that was raised.
    KeyRevoked,
    /// What was said of a revoked key was taken away.
    KeyPurged,
    /// A first signing key was made, or one that takes the place of a revoked one.
    SigningKeyCreated,
    /// Tokens signed with further secrets are accepted, or the key was made that signs next.
    SigningKeyRotated,
    /// Tokens signed with some secrets, or with a signing key, are not accepted any more.
    SigningKeyRevoked,
    /// How access tokens are signed is another than at the start before.
    JwtAlgorithmChanged,
    /// A signing key was taken out whose tokens have all expired.
    SigningKeyRetired,
    /// The database began a new epoch: it was restored.
    EpochBegun,
    /// A service's tables were left to this release and later ones.
    TablesFinished,
    /// The log is sealed under another key from here on.
    AuditKeyChanged,
    /// The oldest events were taken out of the log.
    AuditPruned,
    /// Somebody read the log: once for each of them and hour.
    AuditRead,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was refused, with the problem of this code.
    Failure(&'static str),
}

/// What it was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A user, or everything of theirs.
    User(UserId),
    /// One session.
    Session(SessionId),
    /// One key.
    Key(KeyId),
    /// A name that nobody has, as a keyed hash: without the service's secret it tells nothing of what was typed.
    Name([u8; 32]),
    /// A service, or everything of its.
    Service(&'static str),
    /// The chain of a service's events.
    Chain(&'static str),
    /// What this user sees of the log.
    Log(UserId),
}

/// One act, as it is written down.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// To what.
    pub target: Target,
    /// The revision that it took, where it took one.
    pub revision: Option<Revision>,
    /// What was changed: one JSON object on one line.
    pub changes: Option<&'a str>,
    /// Why it was done, where somebody said so.
    pub reason: Option<&'static str>,
    /// Who acted, and from where.
    pub by: &'a Caller,
}

impl Action {
    /// Its dotted name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserSignedUp => "user.signed_up",
            Self::UserLoggedIn => "user.logged_in",
            Self::UserLoginFailed => "user.login_failed",
            Self::UserLoggedOut => "user.logged_out",
            Self::SessionEnded => "session.ended",
            Self::SessionRefreshReused => "session.refresh_reused",
            Self::UserPasswordChanged => "user.password_changed",
            Self::UserDeactivated => "user.deactivated",
            Self::UserReactivated => "user.reactivated",
            Self::UserCeilingChanged => "user.ceiling_changed",
            Self::UserScopesChanged => "admin.user_scopes_changed",
            Self::KeyCreated => "key.created",
            Self::KeyUpdated => "key.updated",
            Self::KeyDisabled => "key.disabled",
            Self::KeyEnabled => "key.enabled",
            Self::KeyRotated => "key.rotated",
            Self::KeyRevoked => "key.revoked",
            Self::KeyPurged => "key.purged",
            Self::JwtAlgorithmChanged => "admin.jwt_algorithm_changed",
            Self::SigningKeyCreated => "signing_key.created",
            Self::SigningKeyRetired => "signing_key.retired",
            Self::SigningKeyRotated => "signing_key.rotated",
            Self::SigningKeyRevoked => "signing_key.revoked",
            Self::EpochBegun => "admin.epoch_begun",
            Self::TablesFinished => "admin.tables_finished",
            Self::AuditKeyChanged => "audit.key_changed",
            Self::AuditPruned => "audit.pruned",
            Self::AuditRead => "audit.read",
        }
    }
}

impl Outcome {
    /// Its word, and why.
    pub(crate) const fn parts(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Success => ("success", None),
            Self::Failure(code) => ("failure", Some(code)),
        }
    }
}

impl Target {
    /// Its kind, and its id in that kind.
    pub(crate) fn parts(&self) -> (&'static str, String) {
        match self {
            Self::User(user) => ("user", user.to_string()),
            Self::Session(session) => ("session", session.to_string()),
            Self::Key(key) => ("key", key.to_string()),
            Self::Name(hash) => ("name", hex::encode(hash)),
            Self::Service(service) => ("service", (*service).to_owned()),
            Self::Chain(service) => ("chain", (*service).to_owned()),
            Self::Log(user) => ("audit", user.to_string()),
        }
    }
}

impl<'a> Event<'a> {
    /// Something that was done.
    #[must_use]
    pub fn done(action: Action, target: Target, at: Timestamp, by: &'a Caller) -> Self {
        let outcome = Outcome::Success;
        Self { at, action, outcome, target, revision: None, changes: None, reason: None, by }
    }

    /// Something that was refused.
    #[must_use]
    pub fn refused(
        action: Action,
        refusal: &Refusal,
        target: Target,
        at: Timestamp,
        by: &'a Caller,
    ) -> Self {
        let outcome = Outcome::Failure(refusal.problem().code);
        Self { at, action, outcome, target, revision: None, changes: None, reason: None, by }
    }

    /// The same, which took this revision.
    #[must_use]
    pub fn took(self, revision: Revision) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// The same, which was done for this reason, where one was given.
    #[must_use]
    pub fn because(self, reason: Option<&'static str>) -> Self {
        Self { reason, ..self }
    }

    /// The same, which changed this: one JSON object on one line.
    #[must_use]
    pub fn changing(self, changes: &'a str) -> Self {
        Self { changes: Some(changes), ..self }
    }
}
