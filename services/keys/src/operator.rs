//! What an operator does by command: `key lookup -`.

use std::io::{self, Read};
use std::time::Duration;

use clap::Subcommand;
use latchkey_authority::operator::{NAME, context};
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::identity::NameUser;
use latchkey_contract::keys::{FindKeys, FoundKey, KnownBy};
use latchkey_contract::{CredentialHash, UserId};
use latchkey_runtime::{Entropy, Exit, StartError};
use serde::{Deserialize, Serialize};

/// Bytes on standard input at most: a key and its hint are much shorter.
const MAX_INPUT: u64 = 4_096;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What can be asked about keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Say whose key this is, also where it has ended: its text, or the hint that lists show of it, is read from standard
    /// input and shown nowhere. It ends with 1 where there is no such key
    Lookup {
        /// Standard input: no key belongs into a command line
        #[arg(value_name = "-", value_parser = ["-"])]
        input: String,
    },
}

/// What is known of a key that is looked for, as it is handed to whoever asks for it: never its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// SHA-256 of its text, in hexadecimal digits.
    Hash(String),
    /// What lists show of it.
    Hint(String),
}

impl KeyCommand {
    /// What it asks for.
    ///
    /// # Errors
    /// [`StartError`] where standard input is neither a key nor a hint.
    pub fn read(self) -> Result<Wanted, StartError> {
        let Self::Lookup { input: _stdin } = self;
        Wanted::read(io::stdin().lock())
    }
}

impl Wanted {
    /// Reads a text or a hint; three dots stand for the one sign.
    fn read(input: impl Read) -> Result<Self, StartError> {
        let unusable = |why: &str| {
            let message = format!("standard input {why}: it is to be one key, or the hint of one");
            StartError::new(Exit::Data, message)
        };
        let mut text = String::new();
        let read = input.take(MAX_INPUT).read_to_string(&mut text);
        read.map_err(|error| unusable(&format!("cannot be read ({})", error.kind())))?;
        let text = text.trim();
        if text.is_empty() {
            return Err(unusable("is empty"));
        }
        if text.contains(char::is_whitespace) {
            return Err(unusable("holds more than one word"));
        }
        if text.contains('…') || text.contains("...") {
            return Ok(Self::Hint(text.replace("...", "…")));
        }
        Ok(Self::Hash(hex::encode(CredentialHash::of(text).0)))
    }

    fn known(&self) -> Option<KnownBy> {
        Some(match self {
            Self::Hint(hint) => KnownBy::Hint(hint.clone()),
            Self::Hash(digits) => {
                let mut hash = [0; 32];
                hex::decode_to_slice(digits, &mut hash).ok()?;
                KnownBy::Hash(CredentialHash(hash))
            }
        })
    }
}

/// Asks the key service whose the keys are, and the identity service what those are called; a line for each key.
///
/// # Errors
/// [`StartError`] where there is no such key (then it ends with 1), and where the key service does not answer.
pub async fn ask(bus: &Bus, wanted: &Wanted, entropy: &Entropy) -> Result<String, StartError> {
    let id = format!("{NAME}-{:016x}", u64::from_be_bytes(entropy.bytes()));
    let context = context(bus, &RequestId::new(&id), PATIENCE);
    let none = || StartError::new(Exit::Unfit, "there is no such key");
    let by = wanted.known().ok_or_else(none)?;
    let found = bus.call(&context, &FindKeys { by }).await.map_err(|error| {
        StartError::new(Exit::Unavailable, format!("nobody can say whose key it is: {error}"))
    })?;
    if found.is_empty() {
        return Err(none());
    }
    let mut lines = Vec::with_capacity(found.len());
    for key in found {
        let name = name_of(bus, &context, key.owner).await;
        lines.push(line(&key, name.as_deref()));
    }
    Ok(lines.join("\n"))
}

/// What an owner is called, where that is known: identity may be away, or know them no more.
async fn name_of(bus: &Bus, context: &Context, user: UserId) -> Option<String> {
    bus.call(context, &NameUser { user }).await.ok().map(|named| named.username)
}

/// Names are written with their signs of control escaped.
fn line(key: &FoundKey, owner: Option<&str>) -> String {
    let FoundKey { id, name, state, owner: user } = key;
    let called = owner.map(|name| format!(" {name:?}")).unwrap_or_default();
    format!("Key {id} {name:?} is {}. Owner: user {user}{called}.", state.name())
}

#[cfg(test)]
mod tests {
    use latchkey_contract::KeyId;
    use latchkey_contract::keys::KeyState;

    use super::*;

    #[test]
    fn a_text_or_a_hint_is_read_and_nothing_else() {
        let read = |text: &str| Wanted::read(text.as_bytes()).map_err(|error| error.message);
        assert_eq!(read(" sk_EXFE...q7Zk\n"), Ok(Wanted::Hint("sk_EXFE…q7Zk".to_owned())));
        let Ok(Wanted::Hash(digits)) = read("sk_secret\n") else { panic!("a text") };
        let known = Wanted::Hash(digits).known();
        assert_eq!(known, Some(KnownBy::Hash(CredentialHash::of("sk_secret"))));
        for wrong in ["", " \n", "sk_secret sk_other", "sk_secret\nsk_other"] {
            let said = read(wrong).unwrap_err();
            assert!(said.starts_with("standard input") && !said.contains("sk_"), "{said}");
        }
        assert_eq!(Wanted::Hash("xyz".to_owned()).known(), None);
    }

    #[test]
    fn a_line_says_whose_key_it_is_and_runs_nothing_on_a_terminal() {
        let (id, owner) = (KeyId(7), UserId(1));
        let key = FoundKey { id, name: "c\u{1b}i".to_owned(), state: KeyState::Revoked, owner };
        let said = line(&key, Some("ada"));
        assert_eq!(said, "Key 7 \"c\\u{1b}i\" is revoked. Owner: user 1 \"ada\".");
        assert!(line(&key, None).ends_with("Owner: user 1."));
    }
}
