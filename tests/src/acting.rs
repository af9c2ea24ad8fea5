//! Who acts, and what they ask for, where a test asks a store itself.

use std::sync::LazyLock;

use latchkey_contract::keys::{
    ExpiresIn, Grace, KeyTarget, RevocationReason, RevokeKey, RotateKey,
};
use latchkey_contract::{
    Actor, Caller, CredentialHash, KeyId, Metadata, RequestId, Secret, SessionId, Timestamp, UserId,
};
use latchkey_identity::fingerprint::Fingerprint;
use latchkey_identity::store::session_open::NewSession;
use latchkey_keys::store::issue::Order;
use latchkey_keys::store::rotate::Rotation;

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

/// The replacement of a key with a grace, of which nothing else is said.
#[must_use]
pub fn replacing(target: KeyTarget) -> RotateKey {
    RotateKey {
        target,
        grace: Grace::Default,
        expires_in: ExpiresIn::Default,
        reason: RevocationReason::Superseded,
        confirm: false,
        is_self: false,
        seed: Secret::new("s".repeat(32)),
        idempotency: None,
        wait: true,
    }
}

/// The same when it was checked: by a key with this hash.
#[must_use]
pub fn rotation(request: &RotateKey, hash: u8, retires_at: Option<Timestamp>) -> Rotation<'_> {
    Rotation {
        request,
        hash: CredentialHash([hash; 32]),
        hint: "sk_0000…0000".to_owned(),
        retires_at,
        expires_at: None,
        max_life: 365 * Timestamp::DAY,
        per_owner: None,
        claim: None,
    }
}

/// A session of a day that has one token, of which nothing else is said.
#[must_use]
pub fn session(user: UserId, number: u8, created_at: Timestamp, signer: Fingerprint) -> NewSession {
    NewSession {
        id: SessionId([number; 16]),
        user,
        created_at,
        expires_at: created_at.plus(Timestamp::DAY),
        token: CredentialHash([number; 32]),
        refresh: None,
        handle: None,
        device: None,
        signer,
        mark: None,
        scope: None,
    }
}
