//! Every expected "no" of the services, with a stable code. The edge turns each into a status, once.

use serde::{Deserialize, Serialize};

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
    /// The stable code of this refusal, for logs, metrics and other languages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::EmailTaken => "email_taken",
            Self::UsernameTaken => "username_taken",
            Self::WrongCredentials => "wrong_credentials",
            Self::InactiveUser => "inactive_user",
            Self::KeyNotFound => "key_not_found",
            Self::UserNotFound => "user_not_found",
            Self::SessionEnded => "session_ended",
            Self::Stale => "stale",
            Self::TooManyRequests { .. } => "too_many_requests",
        }
    }

    /// The status of this refusal in the vocabulary of HTTP, for other languages.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 422,
            Self::EmailTaken | Self::UsernameTaken | Self::InactiveUser => 400,
            Self::WrongCredentials | Self::SessionEnded => 401,
            Self::Stale => 409,
            Self::KeyNotFound | Self::UserNotFound => 404,
            Self::TooManyRequests { .. } => 429,
        }
    }

    /// One sentence that says what is refused, for other languages.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "the request has fields that break their rules",
            Self::EmailTaken => "another account has this e-mail address",
            Self::UsernameTaken => "another account has this username",
            Self::WrongCredentials => "the username or the password is wrong",
            Self::InactiveUser => "the account is deactivated",
            Self::KeyNotFound => "there is no such key",
            Self::UserNotFound => "there is no such user",
            Self::SessionEnded => "the session that acts has ended",
            Self::Stale => "something newer was decided since: nothing was done",
            Self::TooManyRequests { .. } => "too many requests: try again later",
        }
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
            | Self::Stale => (&[][..], None),
        };
        Document { code: self.code(), errors, retry_after_ms }
    }
}
