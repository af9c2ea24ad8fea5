//! Every expected "no" of the services. What each is called, here and in HTTP, is in the table of [`problem`]s.

use serde::{Deserialize, Serialize};

use crate::problem::{self, ProblemType};

/// An answer that declines a request for a reason its sender can understand and act on.
///
/// It travels in the reply's payload like any other answer. What is *our* fault is a
/// [`CallError`](crate::CallError) instead and tells nothing of its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// One or more fields break their rules; every faulty field is named.
    Invalid(Vec<FieldError>),
    /// Another account has this e-mail address.
    EmailTaken,
    /// Another account has this username, or one that reads the same.
    UsernameTaken,
    /// No such user, or not that user's password. The two are not to be told apart.
    WrongCredentials,
    /// The password is right, but the account is deactivated.
    InactiveUser,
    /// No such key, or another user's.
    KeyNotFound,
    /// No account has this name. Told to operators alone.
    UserNotFound,
    /// A limit was hit; worth trying again after so many milliseconds.
    TooManyRequests {
        /// How long to wait, in milliseconds.
        retry_after_ms: u64,
    },
    /// The session that acts has ended, or its account is deactivated.
    SessionEnded,
    /// Something newer was decided since the sender read what this rests on; nothing was done.
    Stale,
    /// Whoever acts, or whoever's key it is, does not hold these scopes: each text is an alternative.
    InsufficientScope {
        /// What would have been enough.
        required: Vec<String>,
    },
    /// Only a user may do this, and no key.
    UsersOnly,
    /// What it is about is in a state that does not allow it.
    Conflict(Conflict),
    /// The same idempotency key came with another request.
    IdempotencyMismatch,
    /// The key that acts may not be used from where its client is.
    IpDenied,
}

/// A state that does not allow a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Conflict {
    /// The key is revoked.
    Revoked,
    /// The key's time is over.
    Expired,
    /// The key is disabled.
    Disabled,
    /// The key was replaced: only the newest of its lineage can be.
    Retiring,
    /// Its lineage is marked as leaked, or the reason says that it is: that has to be confirmed.
    Leaked,
    /// Its lineage has as many living keys as it may.
    LineageFull,
    /// Its owner has as many living keys as they may.
    TooManyKeys,
    /// The key is not revoked yet, or not every edge knows.
    NotRevoked,
    /// A release that does not know of this may still use the tables: `migrate --finish` says that there is none.
    OlderRelease,
    /// The first request with the same idempotency key is still in hand.
    InFlight,
}

/// One field of a request that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's name in the public API.
    pub field: String,
    /// What is wrong and what is accepted.
    pub message: String,
}

/// What a refusal looks like in JSON; its status and sentence are in the reply's headers.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// The stable code.
    pub code: &'a str,
    /// Every faulty field; the empty field name stands for the message as a whole.
    pub errors: &'a [FieldError],
    /// After how many milliseconds it is worth trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl FieldError {
    /// Names `field` and says what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl Refusal {
    /// This refusal's row in the table of problems.
    #[must_use]
    pub fn problem(&self) -> &'static ProblemType {
        match self {
            Self::Invalid(_) => &problem::INVALID,
            Self::EmailTaken => &problem::EMAIL_TAKEN,
            Self::UsernameTaken => &problem::USERNAME_TAKEN,
            Self::WrongCredentials => &problem::WRONG_CREDENTIALS,
            Self::InactiveUser => &problem::INACTIVE_USER,
            Self::KeyNotFound => &problem::KEY_NOT_FOUND,
            Self::UserNotFound => &problem::USER_NOT_FOUND,
            Self::SessionEnded => &problem::SESSION_ENDED,
            Self::Stale => &problem::STALE,
            Self::TooManyRequests { .. } => &problem::TOO_MANY_REQUESTS,
            Self::InsufficientScope { .. } => &problem::INSUFFICIENT_SCOPE,
            Self::UsersOnly => &problem::USERS_ONLY,
            Self::Conflict(conflict) => conflict.problem(),
            Self::IdempotencyMismatch => &problem::IDEMPOTENCY_MISMATCH,
            Self::IpDenied => &problem::IP_DENIED,
        }
    }

    /// The stable code of this refusal, for logs, metrics and other languages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problem().on_the_bus.code
    }

    /// The status of this refusal in the vocabulary of HTTP, for other languages.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.problem().on_the_bus.status
    }

    /// One sentence that says what is refused, for other languages.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.problem().on_the_bus.message
    }

    /// This refusal in JSON.
    #[must_use]
    pub fn document(&self) -> Document<'_> {
        let (errors, retry_after_ms) = match self {
            Self::Invalid(errors) => (errors.as_slice(), None),
            Self::TooManyRequests { retry_after_ms } => (&[][..], Some(*retry_after_ms)),
            Self::EmailTaken
            | Self::UsernameTaken
            | Self::WrongCredentials
            | Self::InactiveUser
            | Self::KeyNotFound
            | Self::UserNotFound
            | Self::SessionEnded
            | Self::Stale
            | Self::InsufficientScope { .. }
            | Self::UsersOnly
            | Self::Conflict(_)
            | Self::IdempotencyMismatch
            | Self::IpDenied => (&[][..], None),
        };
        Document { code: self.code(), errors, retry_after_ms }
    }
}

impl Conflict {
    /// The state, as problem documents name it.
    #[must_use]
    pub fn state(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Retiring => "retiring",
            Self::Leaked => "leaked",
            Self::LineageFull => "lineage_full",
            Self::TooManyKeys => "too_many_keys",
            Self::NotRevoked => "not_revoked",
            Self::OlderRelease => "older_release",
            Self::InFlight => "in_flight",
        }
    }

    fn problem(self) -> &'static ProblemType {
        match self {
            Self::Revoked => &problem::CONFLICT_REVOKED,
            Self::Expired => &problem::CONFLICT_EXPIRED,
            Self::Disabled => &problem::CONFLICT_DISABLED,
            Self::Retiring => &problem::CONFLICT_RETIRING,
            Self::Leaked => &problem::CONFLICT_LEAKED,
            Self::LineageFull => &problem::CONFLICT_LINEAGE,
            Self::TooManyKeys => &problem::CONFLICT_KEYS,
            Self::NotRevoked => &problem::CONFLICT_NOT_REVOKED,
            Self::OlderRelease => &problem::CONFLICT_RELEASE,
            Self::InFlight => &problem::CONFLICT_IN_FLIGHT,
        }
    }
}
