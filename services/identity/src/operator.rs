//! What an operator does by command: `user deactivate NAME` and `user reactivate NAME`.

use std::time::Duration;

use clap::Subcommand;
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{ActiveSet, FindUser, SetActive};
use latchkey_contract::{Actor, CallError, Caller, Mark, Refusal};
use latchkey_runtime::{Entropy, Exit, StartError};
use serde::{Deserialize, Serialize};

/// Who asks, on the bus and in logs.
pub const NAME: &str = "operator";
/// Times that a deactivation is decided anew where something newer came, at most.
const MAX_DECISIONS: usize = 5;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(25);

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

/// A command, as it is handed to whoever carries it out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountCommand {
    /// The username, in any spelling with the same canonical form.
    pub username: String,
    /// Whether the user may act.
    pub active: bool,
}

impl From<UserCommand> for AccountCommand {
    fn from(command: UserCommand) -> Self {
        match command {
            UserCommand::Deactivate { name } => Self { username: name, active: false },
            UserCommand::Reactivate { name } => Self { username: name, active: true },
        }
    }
}

/// Asks the identity service, and gives one line that says what was done.
///
/// A deactivation that is overtaken is decided anew. A reactivation is not: somebody may just have
/// deactivated the user for good reason, and whoever reactivates has to know of it.
///
/// # Errors
/// [`StartError`] where there is no such user, where something newer came, where the service gives no answer (then it
/// may or may not have been done, and doing it again does no harm), and where the key service has not
/// confirmed: it is told until it has.
pub async fn set(
    bus: &Bus,
    command: &AccountCommand,
    entropy: &Entropy,
) -> Result<String, StartError> {
    let mark = Mark(entropy.bytes());
    let id = format!("{NAME}-{:016x}", u64::from_be_bytes(entropy.bytes()));
    let context = context(bus, &RequestId::new(&id), PATIENCE);
    for _ in 0..MAX_DECISIONS {
        match decide(bus, &context, command, mark).await {
            Err(CallError::Refused(Refusal::Stale)) if command.active => return Err(overtaken()),
            Err(CallError::Refused(Refusal::Stale)) => {}
            answered => {
                return answered
                    .map_err(|error| refused(command, &error))
                    .and_then(|set| said(command, &set));
            }
        }
    }
    Err(overtaken())
}

/// What an operator's command says of who acts: the user that it is on the bus. Parts of it have `timeout` in all.
#[must_use]
pub fn context(bus: &Bus, request_id: &RequestId, timeout: Duration) -> Context {
    let actor = Actor::Operator { name: bus.user().into() };
    Context::new(request_id.clone(), timeout).acting(Caller::of(actor, request_id.clone()))
}

async fn decide(
    bus: &Bus,
    context: &Context,
    command: &AccountCommand,
    mark: Mark,
) -> Result<ActiveSet, CallError> {
    let state = bus.call(context, &FindUser { username: command.username.clone() }).await?;
    let AccountCommand { active, .. } = *command;
    let request = SetActive { user: state.user, active, version: state.active_version, mark };
    bus.call(context, &request).await
}

fn said(command: &AccountCommand, set: &ActiveSet) -> Result<String, StartError> {
    let done = if command.active { "reactivated" } else { "deactivated" };
    let ActiveSet { user, tokens, keys } = set;
    let tokens = shown(tokens);
    match keys {
        Some(keys) => {
            Ok(format!("User {user} is {done}. Tokens: {tokens}. Keys: {}.", shown(keys)))
        }
        None => Err(StartError::new(
            Exit::Unavailable,
            format!(
                "user {user} is {done}. Tokens: {tokens}. Keys: not confirmed yet; the key service is told until it \
                 has confirmed. Run the command again to wait for it."
            ),
        )),
    }
}

fn shown(receipt: &Receipt) -> String {
    let Receipt { revision, edges_confirmed, waited_ms } = receipt;
    format!("revision {}, {edges_confirmed} edges confirmed, {waited_ms} ms", revision.0)
}

fn overtaken() -> StartError {
    StartError::new(
        Exit::Data,
        "overtaken: somebody else activated or deactivated this user meanwhile, and that holds. Look, and run it \
         again if it is still meant.",
    )
}

fn refused(command: &AccountCommand, error: &CallError) -> StartError {
    match error {
        CallError::Refused(Refusal::UserNotFound) => {
            StartError::new(Exit::Data, format!("there is no user {:?}", command.username))
        }
        other => StartError::new(
            Exit::Unavailable,
            format!("it may or may not have been done, try again: {other}"),
        ),
    }
}
