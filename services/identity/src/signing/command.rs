//! What an operator does to signing keys by command: `signing-key list`, `signing-key revoke KID`.

use std::time::Duration;

use clap::Subcommand;
use latchkey_bus::{Bus, RequestId};
use latchkey_contract::Timestamp;
use latchkey_contract::signing::{ListSigningKeys, RevokeSigningKey, SigningKey};
use latchkey_runtime::{Entropy, Exit, StartError};
use serde::{Deserialize, Serialize};

use crate::operator::{self, NAME, shown};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(25);

/// What can be done to signing keys.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "signing_key")]
pub enum SigningKeyCommand {
    /// List the keys that sign access tokens, and from when until when each does
    List,
    /// Have another key sign from now on, and refuse whatever this one has signed; it returns when no edge accepts any of it.
    /// The sessions end whose last access token it signed. Where that is cut short the key stays revoked, and the command
    /// given again ends the rest
    Revoke {
        /// The key's name, as `signing-key list` says it
        kid: String,
    },
}

/// Asks the identity service, and gives what is to be printed.
///
/// # Errors
/// [`StartError`] where there is no such key, or the service gives no answer (then it may or may not have been done, and
/// doing it again does no harm).
pub async fn carry_out(
    bus: &Bus,
    command: &SigningKeyCommand,
    entropy: &Entropy,
) -> Result<String, StartError> {
    let id = format!("{NAME}-{:016x}", u64::from_be_bytes(entropy.bytes()));
    let context = operator::context(bus, &RequestId::new(&id), PATIENCE);
    let unsure = |error| {
        let message = format!("it may or may not have been done, try again: {error}");
        StartError::new(Exit::Unavailable, message)
    };
    match command {
        SigningKeyCommand::List => {
            let keys = bus.call(&context, &ListSigningKeys).await.map_err(unsure)?;
            Ok(listed(&keys))
        }
        SigningKeyCommand::Revoke { kid } => {
            let request = RevokeSigningKey { kid: kid.clone() };
            match bus.call(&context, &request).await.map_err(unsure)? {
                Some(receipt) => Ok(format!("Signing key {kid} is revoked: {}.", shown(&receipt))),
                None => {
                    Err(StartError::new(Exit::Data, format!("there is no signing key {kid:?}")))
                }
            }
        }
    }
}

fn listed(keys: &[SigningKey]) -> String {
    if keys.is_empty() {
        return "There is no signing key: tokens are signed with SECRET_KEY.".to_owned();
    }
    let line = |key: &SigningKey| {
        let SigningKey { kid, algorithm, .. } = key;
        let state = match (key.revoked_at, key.signs, key.accepted_until) {
            (Some(at), _, _) => format!("revoked at {}", seconds(at)),
            (None, true, _) => format!("signs until {}", seconds(key.signs_until)),
            (None, false, Some(until)) => format!("accepted until {}", seconds(until)),
            (None, false, None) => format!("signs from {}", seconds(key.signs_from)),
        };
        format!("{kid} {algorithm} made at {}, {state}", seconds(key.created_at))
    };
    keys.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A moment as `date -d @SECONDS` takes it.
fn seconds(at: Timestamp) -> String {
    format!("@{}", at.seconds())
}
