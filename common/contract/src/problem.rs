//! Every way to say no, in one table: the stable code, the status, the title and the sentence for a person. What
//! the edge answers, what a service refuses on the bus, what the client's guard says and what the API's description
//! lists are rows of it.
//!
//! A detail with `{}` in it is a template: [`ProblemType::filled`] puts in what the request was about.

/// What a problem's `type` begins with; the rest is its stable code.
pub const TYPE_PREFIX: &str = "urn:problem-type:latchkey:";

/// The challenges of a 401 (RFC 9110 §11.6.1): for a token, for one that is not accepted, for a key.
pub const BEARER: &str = r#"Bearer realm="latchkey""#;
/// See [`BEARER`].
pub const BEARER_INVALID: &str = r#"Bearer realm="latchkey", error="invalid_token""#;
/// See [`BEARER`].
pub const API_KEY: &str = r#"ApiKey realm="latchkey", header="x-api-key""#;

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemType {
    /// The stable code in the `type` of a problem document.
    pub code: &'static str,
    /// The status of HTTP.
    pub status: u16,
    /// The kind of problem in a few words, the same for each row with the code.
    pub title: &'static str,
    /// What is wrong, in a sentence for a person.
    pub detail: &'static str,
    /// How a service says it on the bus.
    pub on_the_bus: Words,
}

/// What a refusal is called on the bus, for logs and other languages.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// The stable code.
    pub code: &'static str,
    /// The status in the vocabulary of HTTP.
    pub status: u16,
    /// One sentence.
    pub message: &'static str,
}

/// What a client may authenticate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// A user's access token.
    Token,
    /// An API key.
    Key,
    /// Either.
    Either,
}

impl Accepts {
    /// The challenges of a 401, where a credential was `presented` or none was.
    #[must_use]
    pub const fn challenges(self, presented: bool) -> &'static [&'static str] {
        match (self, presented) {
            (Self::Token, true) => &[BEARER_INVALID],
            (Self::Token, false) => &[BEARER],
            (Self::Key, _) => &[API_KEY],
            (Self::Either, true) => &[BEARER_INVALID, API_KEY],
            (Self::Either, false) => &[BEARER, API_KEY],
        }
    }
}

impl ProblemType {
    const fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: &'static str,
    ) -> Self {
        // What no service refuses has no words of its own on the bus.
        Self { code, status, title, detail, on_the_bus: Words { code, status, message: detail } }
    }

    /// The same with another sentence.
    const fn saying(&self, detail: &'static str) -> Self {
        Self::new(self.status, self.code, self.title, detail)
    }

    /// A row by which services refuse.
    const fn refused(self, status: u16, code: &'static str, message: &'static str) -> Self {
        Self { on_the_bus: Words { code, status, message }, ..self }
    }

    /// The `type` of a problem document.
    #[must_use]
    pub fn uri(&self) -> String {
        [TYPE_PREFIX, self.code].concat()
    }

    /// The detail with `what` put in.
    #[must_use]
    pub fn filled(&self, what: &str) -> String {
        self.detail.replacen("{}", what, 1)
    }
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident = $row:expr;)*) => {
        $($(#[$doc])* pub const $name: ProblemType = $row;)*

        /// All rows.
        pub const ALL: &[&ProblemType] = &[$(&$name),*];
    };
}

const fn row(
    status: u16,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
) -> ProblemType {
    ProblemType::new(status, code, title, detail)
}

table! {
    /// A host that is missing, twice, or cannot be (RFC 9112 §3.2).
    BAD_HOST = row(400, "bad-request", "Bad request",
        "The header `Host` must be there once, and name a host and no more.");
    /// Which of two credentials counts is not for us to guess.
    CREDENTIAL_TWICE = BAD_HOST.saying("A header with a credential was sent more than once.");
    /// A secret where logs keep it.
    CREDENTIAL_IN_URL = BAD_HOST.saying(
        "Credentials do not belong in a URL, where logs keep them: send them in a header.");
    /// A body that ends early.
    BROKEN_BODY = BAD_HOST.saying("The request's body could not be read.");
    /// What names no request.
    IDEMPOTENCY_MALFORMED = BAD_HOST.saying(
        "The header `Idempotency-Key` must be there once, and hold 16 to 255 visible ASCII characters.");
    /// What begins like no request.
    NO_REQUEST_LINE = BAD_HOST.saying("The first line is not that of a request.");
    /// A head that cannot be read.
    BAD_HEADER = BAD_HOST.saying(
        "A header line cannot be read, or two of them contradict each other.");
    /// A head that ends early.
    INCOMPLETE_HEAD = BAD_HOST.saying(
        "The connection was closed before the request's head ended.");
    /// TLS where there is none.
    NO_TLS = BAD_HOST.saying("This port speaks HTTP without TLS.");
    /// Another account has the address.
    EMAIL_TAKEN = row(400, "email-taken", "Email already registered", "Email already registered")
        .refused(400, "email_taken", "another account has this e-mail address");
    /// Another account has the name.
    USERNAME_TAKEN = row(400, "username-taken", "Username already taken", "Username already taken")
        .refused(400, "username_taken", "another account has this username");
    /// The password is right, and the account deactivated.
    INACTIVE_USER = row(400, "inactive-user", "Inactive user account", "Inactive user account")
        .refused(400, "inactive_user", "the account is deactivated");
    /// A credential that is not accepted; why is not told.
    NOT_ACCEPTED = row(401, "unauthenticated", "Unauthenticated",
        "The authentication credentials are not accepted: malformed, expired, revoked or unknown.");
    /// No credential where a token is needed.
    TOKEN_NEEDED = NOT_ACCEPTED.saying(
        "This needs authentication: send `Authorization: Bearer TOKEN` with a token from /auth/login.");
    /// No credential where a key is needed.
    KEY_NEEDED = NOT_ACCEPTED.saying(
        "This needs authentication: send an API key in the header `x-api-key`.");
    /// No credential where either is needed.
    CREDENTIAL_NEEDED = NOT_ACCEPTED.saying(
        "This needs authentication: send `Authorization: Bearer TOKEN`, or an API key in `x-api-key`.");
    /// No credential at a service behind the client's guard.
    GUARDED = NOT_ACCEPTED.saying(
        "This needs authentication: the header `WWW-Authenticate` says which.");
    /// The session that acts is over.
    SESSION_ENDED = NOT_ACCEPTED.saying(NOT_ACCEPTED.detail)
        .refused(401, "session_ended", "the session that acts has ended");
    /// A wrong password or an unknown name; which of the two is not told.
    WRONG_CREDENTIALS = row(401, "wrong-credentials", "Login refused",
        "Incorrect username or password")
        .refused(401, "wrong_credentials", "the username or the password is wrong");
    /// The same with a hint about the form of what was sent.
    WRONG_FORM = WRONG_CREDENTIALS.saying("Incorrect username or password: {}.");
    /// An API key where only a user may act.
    USERS_ONLY = row(403, "users-only", "Users only",
        "Only user accounts may do this: log in and send the token instead of an API key.")
        .refused(403, "users_only", "only a user may do this, and no key");
    /// A credential without the scope that is needed, or that asks for more than it has (RFC 6750 §3.1): which.
    INSUFFICIENT_SCOPE = row(403, "insufficient-scope", "Insufficient scope",
        "The credential, or the key's owner, does not hold what this needs: {}.")
        .refused(403, "insufficient_scope", "whoever acts does not hold the scopes that this needs");
    /// A key that may be used from some addresses alone, from another one, or from nobody knows where.
    IP_DENIED = row(403, "ip-denied", "Address not allowed",
        "The API key may not be used from this address, or the address is not known.")
        .refused(403, "ip_denied", "the key that acts may not be used from this address");
    /// A key of another environment, or a token, which is of none.
    WRONG_ENVIRONMENT = row(403, "wrong-environment", "Wrong environment",
        "The credential was made for another environment than this.");
    /// The same at a service behind the client's guard.
    GUARDED_USERS_ONLY = USERS_ONLY.saying(
        "Only user accounts may do this: send an access token instead of an API key.");
    /// A token where only a service may act.
    SERVICES_ONLY = row(403, "services-only", "Services only",
        "Only services may do this: send an API key instead of an access token.");
    /// Nothing is at this path.
    NO_SUCH_ROUTE = row(404, "no-such-route", "Not found",
        "There is nothing at this path: /docs lists what there is.");
    /// Metadata are bound to an issuer that is an address (RFC 8414 §2).
    NO_METADATA = row(404, "not-enabled", "Not enabled",
        "There is no metadata: PUBLIC_URL has to be set, and JWT_ISSUER to be equal to it.");
    /// No such key, or another user's.
    KEY_NOT_FOUND = row(404, "key-not-found", "Not found", "API key not found")
        .refused(404, "key_not_found", "there is no such key");
    /// No such session, or another user's.
    SESSION_NOT_FOUND = row(404, "session-not-found", "Not found", "Session not found");
    /// A request at `/oauth/…` that cannot be read (RFC 6749 §5.2): why.
    INVALID_REQUEST = row(400, "invalid-request", "Invalid request", "The request is not valid: {}.");
    /// What is shown to get a token is not accepted; why is not told.
    INVALID_GRANT = row(400, "invalid-grant", "Grant not accepted",
        "The refresh token is not accepted: malformed, expired, used, revoked or unknown.");
    /// Another way of getting a token than there is.
    UNSUPPORTED_GRANT_TYPE = row(400, "unsupported-grant-type", "Unsupported grant type",
        "This grant type is not supported: use {}.");
    /// More than there is to be had.
    INVALID_SCOPE = row(400, "invalid-scope", "Invalid scope",
        "The scope is malformed, or exceeds what was granted at the login.");
    /// A body that is not declared as a form.
    NOT_FORM = row(415, "unsupported-media-type", "Unsupported media type",
        "The request's body must be a form: send `Content-Type: application/x-www-form-urlencoded`.");
    /// The path has other methods.
    METHOD_NOT_ALLOWED = row(405, "method-not-allowed", "Method not allowed",
        "This path does not take this method: the header `Allow` names those it takes.");
    /// A state that does not allow what was asked: the key is revoked.
    CONFLICT_REVOKED = row(409, "conflict", "Conflict", "The key is revoked.")
        .refused(409, "conflict_revoked", "the key is revoked already");
    /// Its time is over.
    CONFLICT_EXPIRED = CONFLICT_REVOKED.saying("The key has expired.")
        .refused(409, "conflict_expired", "the key has expired already");
    /// It is disabled.
    CONFLICT_DISABLED = CONFLICT_REVOKED.saying("The key is disabled: enable it first.")
        .refused(409, "conflict_disabled", "the key is disabled");
    /// It was replaced.
    CONFLICT_RETIRING = CONFLICT_REVOKED.saying(
        "The key was replaced already: only the newest of its lineage can be rotated.")
        .refused(409, "conflict_retiring", "the key was replaced already");
    /// It may be in somebody else's hands.
    CONFLICT_LEAKED = CONFLICT_REVOKED.saying(
        "The key, or another of its lineage, is marked as leaked: send `\"confirm\": true` if this is meant.")
        .refused(409, "conflict_leaked", "the key's lineage is marked as leaked");
    /// Too many generations live.
    CONFLICT_LINEAGE = CONFLICT_REVOKED.saying(
        "The key's lineage has 5 living keys: revoke those that are no longer used.")
        .refused(409, "conflict_lineage_full", "the key's lineage has as many living keys as it may");
    /// Too many keys of one owner.
    CONFLICT_KEYS = CONFLICT_REVOKED.saying(
        "The owner has as many living keys as they may: revoke those that are no longer used.")
        .refused(409, "conflict_too_many_keys", "the owner has as many living keys as they may");
    /// Not ended yet.
    CONFLICT_NOT_REVOKED = CONFLICT_REVOKED.saying(
        "Only a revoked key can be purged, and only once every edge refuses it: revoke it first.")
        .refused(409, "conflict_not_revoked", "the key is not revoked yet, or not every edge knows");
    /// An update is under way.
    CONFLICT_RELEASE = CONFLICT_REVOKED.saying(
        "This is offered once no older release may use the database any more: see `migrate --finish`.")
        .refused(409, "conflict_older_release", "an older release may still use the database");
    /// The first request is not answered yet.
    CONFLICT_IN_FLIGHT = CONFLICT_REVOKED.saying(
        "The first request with this `Idempotency-Key` is still in hand: try again shortly.")
        .refused(409, "conflict_in_flight", "the first request with this idempotency key is in hand");
    /// `If-Match` names another version.
    PRECONDITION_FAILED = row(412, "precondition-failed", "Precondition failed",
        "The object was changed since: its `ETag` is another than `If-Match` names.");
    /// The body did not come in time.
    SLOW_BODY = row(408, "request-timeout", "Request timeout",
        "The request's body did not arrive in time.");
    /// The head did not come in time.
    SLOW_HEAD = SLOW_BODY.saying("The request's head did not arrive in time.");
    /// More bytes than the route takes: so many.
    TOO_LARGE = row(413, "too-large", "Payload too large",
        "The request's body is too large: at most {} bytes are accepted.");
    /// The target alone is longer than a head may be.
    TARGET_TOO_LONG = row(414, "target-too-long", "Target too long",
        "The request's target is too long.");
    /// A body in a coding.
    COMPRESSED = row(415, "unsupported-coding", "Unsupported content coding",
        "A compressed body is not taken: send it without `Content-Encoding`.");
    /// A body that is not declared as JSON.
    NOT_JSON = row(415, "unsupported-media-type", "Unsupported media type",
        "The request's body must be JSON: send `Content-Type: application/json`.");
    /// Fields that break their rules: each.
    INVALID = row(422, "invalid", "Invalid request", "The request is not valid: {}.")
        .refused(422, "invalid", "the request has fields that break their rules");
    /// An idempotency key that is used again for something else.
    IDEMPOTENCY_MISMATCH = row(422, "idempotency-mismatch", "Idempotency key used again",
        "This `Idempotency-Key` came with another request before: use a new one for each request.")
        .refused(422, "idempotency_mismatch", "the idempotency key came with another request before");
    /// A limit was hit.
    TOO_MANY_REQUESTS = row(429, "too-many-requests", "Too many requests",
        "Too many requests: try again after the time in the header `Retry-After`.")
        .refused(429, "too_many_requests", "too many requests: try again later");
    /// More header lines than any request needs: so many.
    TOO_MANY_HEADERS = row(431, "too-many-headers", "Too many headers",
        "The request has too many header lines: at most {} are accepted.");
    /// A head that is longer than it may be.
    HEAD_TOO_LARGE = row(431, "head-too-large", "Head too large",
        "The request's header lines are too many or too long.");
    /// A fault of ours that trying again will not mend.
    INTERNAL = row(500, "internal", "Internal error",
        "Something went wrong here. The request's id helps to find out what.");
    /// An operator's command names an account that there is not. No route asks for a user by name.
    USER_NOT_FOUND = INTERNAL.saying(INTERNAL.detail)
        .refused(404, "user_not_found", "there is no such user");
    /// What the request needs is not there just now.
    UNAVAILABLE = row(503, "unavailable", "Service unavailable",
        "The service is unavailable just now: try again shortly.");
    /// The same at a service behind the client's guard.
    GUARDED_UNAVAILABLE = UNAVAILABLE.saying(
        "The credentials cannot be checked just now: try again shortly.");
    /// What was decided rests on something that was changed since. Whoever sends such a thing reads anew, and as
    /// often as that it does not happen.
    STALE = UNAVAILABLE.saying(UNAVAILABLE.detail)
        .refused(409, "stale", "something newer was decided since: nothing was done");
    /// Another version of HTTP.
    VERSION_NOT_SUPPORTED = row(505, "version-not-supported", "Version not supported",
        "This version of HTTP is not spoken here: HTTP/1.1 is.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_one_code_have_one_status_and_one_title() {
        for row in ALL {
            for other in ALL.iter().filter(|other| other.code == row.code) {
                assert_eq!((row.status, row.title), (other.status, other.title), "{}", row.code);
            }
            assert!(row.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            assert!((400..600).contains(&row.status) && row.detail.matches("{}").count() <= 1);
        }
        assert_eq!(TOO_LARGE.uri(), "urn:problem-type:latchkey:too-large");
        let large = "The request's body is too large: at most 7 bytes are accepted.";
        assert_eq!(TOO_LARGE.filled("7"), large);
    }

    #[test]
    fn what_is_refused_on_the_bus_has_a_code_of_its_own() {
        let spoken: Vec<_> =
            ALL.iter().filter(|row| row.on_the_bus.message != row.detail).collect();
        assert_eq!(spoken.len(), 24);
        for (place, row) in spoken.iter().enumerate() {
            let words = &row.on_the_bus;
            assert!(spoken[..place].iter().all(|other| other.on_the_bus.code != words.code));
        }
    }
}
