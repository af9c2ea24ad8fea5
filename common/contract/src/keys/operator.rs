//! What an operator asks about keys, whoever they belong to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commands::{KnownBy, READ, TIMEOUT};
use super::object::KeyState;
use crate::caller::Sender;
use crate::ids::{KeyId, UserId};
use crate::rpc::{Retry, Rpc};

/// Says whose the keys are that a text or a hint is of, also of those that have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindKeys {
    /// What is known of them.
    pub by: KnownBy,
}

/// A key that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundKey {
    /// The key.
    pub id: KeyId,
    /// What its owner calls it; nothing of one that was purged.
    pub name: String,
    /// Whether it is accepted, and why not.
    pub state: KeyState,
    /// Whose it is.
    pub owner: UserId,
}

impl FindKeys {
    /// Keys that one answer names at most: those of one hint are few by chance.
    pub const MAX: usize = 100;
}

impl Rpc for FindKeys {
    const SUBJECT: &'static str = "v1.keys.operator.lookup";
    const TIMEOUT: Duration = TIMEOUT;
    const RETRY: Retry = READ;
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = Vec<FoundKey>;
}
