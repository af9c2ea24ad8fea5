//! The JSON of `/auth/…`.

use latchkey_contract::identity::{Account, ChangePassword, LogIn, LoggedIn, SignUp};
use latchkey_contract::{Mark, Secret};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::json::{ReceiptBody, flag_or_none, rfc3339, text_or_empty, text_or_none};

/// `POST /auth/signup`. A field of the wrong type is read as missing, so that the answer can name
/// every faulty field at once.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"email": "ada@example.com", "username": "ada", "password": "correct horse battery staple"}))]
pub struct SignUpBody {
    /// A valid address, unique without regard to case.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, format = Email, max_length = 254)]
    pub email: Option<String>,
    /// PRECIS `UsernameCaseMapped` (RFC 8265), unique in its canonical form.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, min_length = 3, max_length = 50)]
    pub username: Option<String>,
    /// Any characters but control characters; not among the commonest passwords.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, format = Password, min_length = 8, max_length = 128)]
    pub password: Option<String>,
}

/// `POST /auth/login`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"username": "ada", "password": "correct horse battery staple"}))]
pub struct LogInBody {
    /// The username, in any spelling with the same canonical form.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required)]
    pub username: Option<String>,
    /// The password.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, format = Password)]
    pub password: Option<String>,
    /// What the token is to be narrowed to: scopes separated by spaces (RFC 6749 §3.3). Without it the token may do all that
    /// its user may.
    #[serde(default, deserialize_with = "text_or_empty")]
    #[schema(value_type = Option<String>, nullable = false, max_length = 2048, example = "orders:read latchkey:keys:read")]
    pub scope: Option<String>,
    /// Whether the session is to outlive the token, by a refresh token.
    #[serde(default = "no", deserialize_with = "flag_or_none")]
    #[schema(value_type = Option<bool>, nullable = false, example = true)]
    pub refresh: Option<bool>,
    /// What the session is called in the list of sessions.
    #[serde(default, deserialize_with = "text_or_empty")]
    #[schema(value_type = Option<String>, nullable = false, min_length = 1, max_length = 64, example = "laptop")]
    pub device: Option<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "what serde calls for a member that is left out")]
fn no() -> Option<bool> {
    Some(false)
}

/// An account.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"id": 1, "email": "ada@example.com", "username": "ada", "created_at": "2025-12-05T23:00:00Z", "is_active": true}))]
pub struct AccountBody {
    id: i64,
    email: String,
    username: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: String,
    is_active: bool,
}

/// A login.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.signature", "token_type": "bearer", "expires_in": 1800}))]
pub struct TokenBody {
    access_token: String,
    token_type: &'static str,
    /// Seconds until the token expires.
    expires_in: u64,
    /// What it may do, where something was asked for: that, as far as the user may do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<String>,
    /// By which the session goes on, where it was asked for. It is used once, for the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_token: Option<String>,
    /// Seconds until the refresh token expires, if it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_expires_in: Option<u64>,
}

/// `POST /auth/refresh`.
#[derive(ToSchema)]
#[schema(example = json!({"refresh_token": "rt_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG0aBcDe"}))]
#[expect(dead_code, reason = "it is the description of what a handler reads member by member")]
pub struct RefreshBody {
    /// The refresh token.
    refresh_token: String,
}

/// Sessions that were ended.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "Logged out successfully", "receipt": {"revision": 8, "edges_confirmed": 2, "waited_ms": 1}}))]
pub struct EndedBody {
    pub(super) message: &'static str,
    /// No edge accepts the tokens any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipt: Option<ReceiptBody>,
}

/// `POST /auth/password`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"current_password": "correct horse battery staple", "new_password": "a quiet harbour at dusk"}))]
pub struct ChangePasswordBody {
    /// The password until now.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, format = Password)]
    pub current_password: Option<String>,
    /// The password from now on: the rules of a signup hold.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, format = Password, min_length = 8, max_length = 128)]
    pub new_password: Option<String>,
}

impl From<SignUpBody> for SignUp {
    fn from(body: SignUpBody) -> Self {
        let password = body.password.map(Secret::new);
        Self { email: body.email, username: body.username, password }
    }
}

impl LogInBody {
    /// The request that it is.
    pub(crate) fn of(self, mark: Mark) -> LogIn {
        let password = self.password.map(Secret::new);
        let Self { username, scope, refresh, device, .. } = self;
        LogIn { username, password, mark: Some(mark), scope, refresh, device }
    }
}

impl From<Account> for AccountBody {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.0,
            email: account.email,
            username: account.username,
            created_at: rfc3339(account.created_at),
            is_active: account.is_active,
        }
    }
}

impl From<LoggedIn> for TokenBody {
    fn from(login: LoggedIn) -> Self {
        let access_token = login.access_token.expose().to_owned();
        let scope = login.scope.map(|scope| scope.as_text().to_owned());
        let (refresh_token, refresh_expires_in) =
            login.refresh.map(|next| (next.token.expose().to_owned(), next.expires_in)).unzip();
        Self {
            access_token,
            token_type: "bearer",
            expires_in: login.expires_in,
            scope,
            refresh_token,
            refresh_expires_in,
        }
    }
}

impl ChangePasswordBody {
    /// The request that it is, which is decided on no version yet.
    pub(crate) fn of(self, mark: Mark) -> ChangePassword {
        ChangePassword {
            version: 0,
            mark,
            current_password: self.current_password.map(Secret::new),
            new_password: self.new_password.map(Secret::new),
        }
    }
}
