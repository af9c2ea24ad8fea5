//! What `/protected/…` answers: a greeting to whoever called. It borrows from the principal, which is
//! remembered and shared.

use std::fmt;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Detail, KeyDetail, Principal, UserDetail};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::problem::Problem;

/// `GET /protected/user`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "Hello ada!", "user_id": 1, "email": "ada@example.com", "auth_type": "JWT Bearer Token"}))]
pub struct UserBody<'a> {
    #[schema(value_type = String)]
    message: Hello<'a>,
    user_id: i64,
    email: &'a str,
    auth_type: &'static str,
}

/// `GET /protected/service`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "Hello service ci!", "service_name": "ci", "api_key_id": 1, "user_id": 1, "auth_type": "API Key"}))]
pub struct ServiceBody<'a> {
    #[schema(value_type = String)]
    message: Hello<'a>,
    service_name: &'a str,
    api_key_id: i64,
    user_id: i64,
    auth_type: &'static str,
}

/// `GET /protected/any`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "Hello service ci!", "auth_type": "API Key", "details": {"type": "service", "user_id": 1, "service_name": "ci", "api_key_id": 1, "scopes": ["orders:read"], "environment": "live"}}))]
pub struct AnyBody<'a> {
    #[schema(value_type = String)]
    message: Hello<'a>,
    auth_type: &'static str,
    details: Details<'a>,
}

/// Who called.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Details<'a> {
    /// A user, by access token.
    User {
        /// The user's id.
        user_id: i64,
        /// The user's name.
        username: &'a str,
        /// The user's address.
        email: &'a str,
        /// What the token may do.
        #[schema(value_type = Vec<String>)]
        scopes: &'a Scopes,
        /// A token is for no environment.
        environment: Option<&'a str>,
    },
    /// A service, by API key.
    Service {
        /// The id of the key's owner.
        user_id: i64,
        /// The key's name.
        service_name: &'a str,
        /// The key's id.
        api_key_id: i64,
        /// What the key may do.
        #[schema(value_type = Vec<String>)]
        scopes: &'a Scopes,
        /// What the key was made for.
        environment: Option<&'a str>,
    },
}

/// `Hello …!`, written where it is needed.
struct Hello<'a> {
    greeted: &'static str,
    name: &'a str,
}

/// One of these bodies as bytes of JSON.
pub(crate) struct Greeting(Bytes);

const BY_TOKEN: &str = "JWT Bearer Token";
const BY_KEY: &str = "API Key";
/// Room for most greetings.
const USUAL_LENGTH: usize = 256;

impl Greeting {
    /// `GET /protected/user`.
    ///
    /// # Errors
    /// None is expected of any of these: their shapes can be written, and each is called for its own kind.
    pub(crate) fn to_user(user: &Principal) -> Result<Self, Problem> {
        Self::of(&UserBody::from(user.user().ok_or_else(Problem::internal)?))
    }

    /// `GET /protected/service`.
    pub(crate) fn to_service(service: &Principal) -> Result<Self, Problem> {
        Self::of(&ServiceBody::from(service.key().ok_or_else(Problem::internal)?))
    }

    /// `GET /protected/any`.
    pub(crate) fn to_anybody(anybody: &Principal) -> Result<Self, Problem> {
        Self::of(&AnyBody::from(anybody))
    }

    fn of(body: &impl Serialize) -> Result<Self, Problem> {
        let mut bytes = Vec::with_capacity(USUAL_LENGTH);
        match serde_json::to_writer(&mut bytes, body) {
            Ok(()) => Ok(Self(bytes.into())),
            Err(_cannot_be_written) => Err(Problem::internal()),
        }
    }
}

impl IntoResponse for Greeting {
    fn into_response(self) -> Response {
        /// With the four headers that every answer gets.
        const HEADERS: usize = 6;
        let mut response = Response::new(self.0.into());
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl fmt::Display for Hello<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hello {}{}!", self.greeted, self.name)
    }
}

impl Serialize for Hello<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'a> From<&'a UserDetail> for UserBody<'a> {
    fn from(user: &'a UserDetail) -> Self {
        Self {
            message: Hello { greeted: "", name: &user.username },
            user_id: user.id.0,
            email: &user.email,
            auth_type: BY_TOKEN,
        }
    }
}

impl<'a> From<&'a KeyDetail> for ServiceBody<'a> {
    fn from(key: &'a KeyDetail) -> Self {
        Self {
            message: Hello { greeted: "service ", name: &key.name },
            service_name: &key.name,
            api_key_id: key.id.0,
            user_id: key.owner.user().0,
            auth_type: BY_KEY,
        }
    }
}

impl<'a> From<&'a Principal> for AnyBody<'a> {
    fn from(anybody: &'a Principal) -> Self {
        let (scopes, environment) = (&anybody.grants.scopes, anybody.grants.environment.as_deref());
        match &anybody.detail {
            Detail::User(user) => {
                let (username, email) = (&*user.username, &*user.email);
                Self {
                    message: Hello { greeted: "user ", name: username },
                    auth_type: BY_TOKEN,
                    details: Details::User {
                        user_id: user.id.0,
                        username,
                        email,
                        scopes,
                        environment,
                    },
                }
            }
            Detail::Key(key) => {
                let (user_id, service_name) = (key.owner.user().0, &*key.name);
                Self {
                    message: Hello { greeted: "service ", name: service_name },
                    auth_type: BY_KEY,
                    details: Details::Service {
                        user_id,
                        service_name,
                        api_key_id: key.id.0,
                        scopes,
                        environment,
                    },
                }
            }
        }
    }
}
