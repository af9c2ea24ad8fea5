//! What an operator does by command: `user deactivate NAME` and `user reactivate NAME`.

use clap::Subcommand;
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::identity::{ActiveSet, SetActive};
use latchkey_contract::{CallError, Refusal, Rpc};
use latchkey_runtime::{Exit, StartError};

/// Who asks, on the bus and in logs.
pub const NAME: &str = "operator";

/// What can be done to a user.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// Refuse the user's tokens, keys and logins; it returns when no edge accepts any of them
    Deactivate {
        /// The username
        name: String,
    },
    /// Accept the user's keys and logins again; tokens from before stay refused
    Reactivate {
        /// The username
        name: String,
    },
}

impl UserCommand {
    /// The request that this command is.
    #[must_use]
    pub fn request(self) -> SetActive {
        match self {
            Self::Deactivate { name } => SetActive { username: name, active: false },
            Self::Reactivate { name } => SetActive { username: name, active: true },
        }
    }
}

/// Asks the identity service, and gives one line that says what was done.
///
/// # Errors
/// [`StartError`] where there is no such user, or the service gives no answer: then it may or may not
/// have been done, and doing it again does no harm.
pub async fn ask(bus: &Bus, request: &SetActive) -> Result<String, StartError> {
    let context = Context::new(RequestId::new(NAME), SetActive::TIMEOUT);
    let answered = bus.call(&context, request).await;
    answered.map(|set| said(request, &set)).map_err(|error| refused(request, &error))
}

fn said(request: &SetActive, set: &ActiveSet) -> String {
    let done = if request.active { "reactivated" } else { "deactivated" };
    let ActiveSet { user, tokens, keys } = set;
    format!(
        "User {user} is {done}. Tokens: revision {}, {} edges confirmed, {} ms. Keys: revision {}, {} edges \
         confirmed, {} ms.",
        tokens.revision.0,
        tokens.edges_confirmed,
        tokens.waited_ms,
        keys.revision.0,
        keys.edges_confirmed,
        keys.waited_ms
    )
}

fn refused(request: &SetActive, error: &CallError) -> StartError {
    match error {
        CallError::Refused(Refusal::UserNotFound) => {
            StartError::new(Exit::Data, format!("there is no user {:?}", request.username))
        }
        other => StartError::new(
            Exit::Unavailable,
            format!("it may or may not have been done, try again: {other}"),
        ),
    }
}
