//! What an operator does by command: `user deactivate NAME`, `user reactivate NAME`, `user ceiling NAME SCOPES`.

use std::time::Duration;

use clap::Subcommand;
pub use latchkey_authority::operator::{NAME, context};
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{FindUser, SetActive, SetCeiling};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{CallError, Mark, Refusal, Scopes, UserId};
use latchkey_runtime::{Entropy, Exit, StartError};
use serde::{Deserialize, Serialize};

use crate::role_scopes;

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
    /// Set what the user may do and grant to keys at most, in place of what all users may; it returns when no edge lets a token or
    /// a key of theirs do more
    Ceiling {
        /// The username
        name: String,
        /// Scopes separated by spaces; '' lets the user do and grant nothing
        #[arg(required_unless_present = "clear", conflicts_with = "clear", value_parser = ceiling)]
        scopes: Option<Scopes>,
        /// Take the ceiling away: that of all users holds again
        #[arg(long)]
        clear: bool,
    },
}

/// A command, as it is handed to whoever carries it out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountCommand {
    /// The username, in any spelling with the same canonical form.
    pub username: String,
    /// What becomes of the user.
    #[serde(flatten)]
    pub change: AccountChange,
}

/// What becomes of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountChange {
    /// Whether the user may act.
    Active(bool),
    /// What they may do at most; `None`: what all users may.
    Ceiling(Option<Scopes>),
}

/// What was confirmed of a command.
struct Done {
    user: UserId,
    tokens: Receipt,
    keys: Option<Receipt>,
}

impl From<UserCommand> for AccountCommand {
    fn from(command: UserCommand) -> Self {
        let (username, change) = match command {
            UserCommand::Deactivate { name } => (name, AccountChange::Active(false)),
            UserCommand::Reactivate { name } => (name, AccountChange::Active(true)),
            UserCommand::Ceiling { name, scopes, .. } => (name, AccountChange::Ceiling(scopes)),
        };
        Self { username, change }
    }
}

/// Asks the identity service, and gives one line that says what was done.
///
/// A deactivation that is overtaken is decided anew. Anything else is not: somebody may just have
/// deactivated or held the user for good reason, and whoever decides otherwise has to know of it.
///
/// # Errors
/// [`StartError`] where there is no such user, where something newer came, where an older release is still there that
/// would not understand it, where the service gives no answer (then it may or may not have been done, and doing it again
/// does no harm), and where the key service has not confirmed: it is told until it has.
pub async fn set(
    bus: &Bus,
    command: &AccountCommand,
    entropy: &Entropy,
) -> Result<String, StartError> {
    let mark = Mark(entropy.bytes());
    let id = format!("{NAME}-{:016x}", u64::from_be_bytes(entropy.bytes()));
    let context = context(bus, &RequestId::new(&id), PATIENCE);
    let is_one_way = matches!(command.change, AccountChange::Active(false));
    for _ in 0..MAX_DECISIONS {
        match decide(bus, &context, command, mark).await {
            Err(CallError::Refused(Refusal::Stale)) if !is_one_way => return Err(overtaken()),
            Err(CallError::Refused(Refusal::Stale)) => {}
            answered => {
                return answered
                    .map_err(|error| refused(command, &error))
                    .and_then(|done| said(&command.change, &done));
            }
        }
    }
    Err(overtaken())
}

async fn decide(
    bus: &Bus,
    context: &Context,
    command: &AccountCommand,
    mark: Mark,
) -> Result<Done, CallError> {
    let state = bus.call(context, &FindUser { username: command.username.clone() }).await?;
    let user = state.user;
    match &command.change {
        AccountChange::Active(active) => {
            let version = state.active_version;
            let request = SetActive { user, active: *active, version, mark };
            let set = bus.call(context, &request).await?;
            Ok(Done { user, tokens: set.tokens, keys: set.keys })
        }
        AccountChange::Ceiling(ceiling) => {
            let version = state.ceiling_version;
            let request = SetCeiling { user, ceiling: ceiling.clone(), version, mark };
            let set = bus.call(context, &request).await?;
            Ok(Done { user, tokens: set.tokens, keys: set.keys })
        }
    }
}

fn said(change: &AccountChange, done: &Done) -> Result<String, StartError> {
    let Done { user, tokens, keys } = done;
    let done = match change {
        AccountChange::Active(true) => "is reactivated".to_owned(),
        AccountChange::Active(false) => "is deactivated".to_owned(),
        AccountChange::Ceiling(None) => "has no ceiling of their own".to_owned(),
        AccountChange::Ceiling(Some(scopes)) => format!("has the ceiling {:?}", scopes.as_text()),
    };
    let tokens = shown(tokens);
    match keys {
        Some(keys) => Ok(format!("User {user} {done}. Tokens: {tokens}. Keys: {}.", shown(keys))),
        None => Err(StartError::new(
            Exit::Unavailable,
            format!(
                "user {user} {done}. Tokens: {tokens}. Keys: not confirmed yet; the key service is told until it has confirmed. Run \
                 the command again to wait for it."
            ),
        )),
    }
}

/// A receipt, as commands print it.
pub(crate) fn shown(receipt: &Receipt) -> String {
    let Receipt { revision, edges_confirmed, waited_ms } = receipt;
    format!("revision {}, {edges_confirmed} edges confirmed, {waited_ms} ms", revision.0)
}

fn overtaken() -> StartError {
    StartError::new(
        Exit::Data,
        "overtaken: somebody else changed this user meanwhile, and that holds. Look, and run it again if it is still \
         meant.",
    )
}

fn refused(command: &AccountCommand, error: &CallError) -> StartError {
    match error {
        CallError::Refused(Refusal::UserNotFound) => {
            StartError::new(Exit::Data, format!("there is no user {:?}", command.username))
        }
        CallError::Refused(Refusal::Conflict(Conflict::OlderRelease)) => StartError::new(
            Exit::Data,
            "nothing was done: an older release, which knows nothing of ceilings, may use identity's tables. Exchange \
             every replica, run `latchkey-identity migrate --finish`, and then this again",
        ),
        other => StartError::new(
            Exit::Unavailable,
            format!("it may or may not have been done, try again: {other}"),
        ),
    }
}

fn ceiling(text: &str) -> Result<Scopes, String> {
    let scopes = Scopes::of(text.split_ascii_whitespace()).map_err(|error| error.to_string())?;
    role_scopes::check(&scopes).map_err(|error| error.to_string())?;
    Ok(scopes)
}
