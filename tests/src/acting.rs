//! Who acts, where a test asks a store itself.

use std::sync::LazyLock;

use latchkey_contract::{Actor, Caller, RequestId};

/// Whoever acts where it does not matter who.
pub static ANYBODY: LazyLock<Caller> =
    LazyLock::new(|| Caller::of(Actor::Anonymous, RequestId::new("test")));
