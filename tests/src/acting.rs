//! Who acts, and what they ask for, where a test asks a store itself.

use std::sync::LazyLock;

use latchkey_contract::keys::RevokeKey;
use latchkey_contract::{
    Actor, Caller, CredentialHash, KeyId, Metadata, RequestId, SessionId, Timestamp, UserId,
};
use latchkey_keys::store::issue::Order;

/// Whoever acts where it does not matter who.
pub static ANYBODY: LazyLock<Caller> =
    LazyLock::new(|| Caller::of(Actor::Anonymous, RequestId::new("test")));

/// This user.
#[must_use]
pub fn user(id: i64) -> Caller {
    let actor = Actor::User { id: UserId(id), session: SessionId([1; 16]) };
    Caller::of(actor, RequestId::new("test"))
}

/// A key of `owner`'s with this hash, of which nothing else is said.
#[must_use]
pub fn order(owner: i64, hash: u8, created_at: Timestamp, expires_at: Timestamp) -> Order {
    Order {
        owner: UserId(owner),
        narrowed: None,
        hash: CredentialHash([hash; 32]),
        hint: "sk_0000…0000".to_owned(),
        name: format!("key {hash}"),
        created_at,
        expires_at,
        is_default_expiry: false,
        description: String::new(),
        metadata: Metadata::default(),
        external_id: None,
        tags: Vec::new(),
        environment: "live".to_owned(),
        scopes: None,
        allowed_ips: None,
    }
}

/// The end of a key of `owner`'s.
#[must_use]
pub fn ending(owner: UserId, key: KeyId) -> RevokeKey {
    RevokeKey::of(owner, key, true)
}
