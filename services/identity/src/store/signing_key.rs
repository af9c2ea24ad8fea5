//! The rows of `signing_keys`, and the setting that says whether tokens are signed with them. Each is named in
//! `identity_signers`, too, where verifications and logins look.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::{Change, append_invalidation, invalidate_everything};
use latchkey_contract::lease::Tag;
use latchkey_contract::{Caller, Timestamp};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

use super::session_open::IS_NAMED;
use super::{AUDIT, AUTHORITY, lock};
use crate::fingerprint::Fingerprint;
use crate::signing::algorithm::KeyAlgorithm;
use crate::signing::key::PublicKey;
use crate::signing::plan::{ACCEPTED_BEYOND, Slot};

/// More than there are: two or three of an algorithm, and one or two of the algorithm before.
pub const MAX_KEYS: i64 = 64;

pub(super) const ALGORITHM: &str = "SELECT jwt_algorithm FROM identity_settings WHERE id = 1";
pub(super) const SET_ALGORITHM: &str =
    "UPDATE identity_settings SET jwt_algorithm = $1 WHERE id = 1";
pub(super) const ACCEPTED: &str = "SELECT kid, algorithm, slot, public, sealed, created_at, \
    signs_from, signs_until, accepted_until, longest_life, revoked_at, CASE WHEN sealed_by IN \
    (SELECT fingerprint FROM identity_signers WHERE withdrawn_at IS NULL) \
    THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS openers FROM signing_keys \
    WHERE revoked_at IS NULL ORDER BY created_at DESC, kid LIMIT $1";
pub(super) const EACH: &str = "SELECT kid, algorithm, slot, public, sealed, created_at, \
    signs_from, signs_until, accepted_until, longest_life, revoked_at, CASE WHEN sealed_by IN \
    (SELECT fingerprint FROM identity_signers WHERE withdrawn_at IS NULL) \
    THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS openers FROM signing_keys \
    ORDER BY created_at DESC, kid LIMIT $1";
pub(super) const LAST_SLOT: &str =
    "SELECT slot FROM signing_keys WHERE algorithm = $1 ORDER BY slot DESC LIMIT 1";
/// One INSERT decides who fills a slot.
pub(super) const INSERT: &str = "INSERT INTO signing_keys (kid, thumbprint, algorithm, slot, \
    public, sealed, created_at, signs_from, signs_until, longest_life, sealed_by) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING kid";
pub(super) const NAME: &str = "INSERT INTO identity_signers \
    (fingerprint, named_position, named_at, kid) VALUES ($1, 0, $2, $3)";
pub(super) const FOLLOW: &str = "UPDATE signing_keys \
    SET signs_until = $3, accepted_until = $3 + longest_life + $4 \
    WHERE algorithm = $1 AND slot = $2 RETURNING kid";
pub(super) const PROMOTE: &str = "UPDATE signing_keys SET signs_from = $3 \
    WHERE algorithm = $1 AND slot = $2 AND signs_from > $3";
/// Keys of an algorithm that signs no more are followed by none.
pub(super) const LEAVE: &str = "UPDATE signing_keys \
    SET signs_until = $2, accepted_until = $2 + longest_life + $3 \
    WHERE algorithm <> $1 AND accepted_until IS NULL AND revoked_at IS NULL";
pub(super) const OUTLIVE: &str = "UPDATE signing_keys SET longest_life = $2, \
    accepted_until = accepted_until + ($2 - longest_life) \
    WHERE kid = $1 AND longest_life < $2";
pub(super) const RESEAL: &str =
    "UPDATE signing_keys SET sealed = $3, sealed_by = $4 WHERE kid = $1 AND sealed = $2";
pub(super) const DROP: &str = "DELETE FROM signing_keys \
    WHERE kid = $1 AND accepted_until <= $2 AND revoked_at IS NULL RETURNING kid";
pub(super) const REVOKE: &str = "UPDATE signing_keys SET revoked_at = COALESCE(revoked_at, $2), \
    sealed = $3 WHERE kid = $1 RETURNING algorithm";
pub(super) const REVOKE_EACH: &str =
    "UPDATE signing_keys SET revoked_at = $1, sealed = $2 WHERE revoked_at IS NULL";
pub(super) const WITHDRAW: &str = "UPDATE identity_signers \
    SET withdrawn_position = $2, withdrawn_at = $3 WHERE kid = $1 AND withdrawn_at IS NULL";
pub(super) const WITHDRAW_EACH: &str = "UPDATE identity_signers \
    SET withdrawn_position = $1, withdrawn_at = $2 WHERE kid IS NOT NULL AND withdrawn_at IS NULL";

/// What is left of a private half that signs no more.
const NOTHING: &[u8] = &[];

/// How tokens are signed where it is with the secret.
const BY_SECRET: &str = "HS256";

/// Every statement of this file.
pub(super) fn all() -> [&'static str; 17] {
    [
        ALGORITHM,
        SET_ALGORITHM,
        ACCEPTED,
        EACH,
        LAST_SLOT,
        INSERT,
        NAME,
        FOLLOW,
        PROMOTE,
        LEAVE,
        OUTLIVE,
        RESEAL,
        DROP,
        REVOKE,
        REVOKE_EACH,
        WITHDRAW,
        WITHDRAW_EACH,
    ]
}

/// A row.
#[derive(Clone, FromRow)]
pub struct SigningKeyRow {
    /// Its name.
    pub kid: String,
    /// How it signs.
    pub algorithm: String,
    slot: i64,
    /// The public half.
    pub public: String,
    /// The private half.
    pub sealed: Vec<u8>,
    /// When it was made, in milliseconds since 1970; so are the others.
    pub created_at: i64,
    /// From when on it signs.
    pub signs_from: i64,
    /// When it does no more.
    pub signs_until: i64,
    /// When it is not accepted any more.
    pub accepted_until: Option<i64>,
    /// The longest life of its tokens, in milliseconds.
    pub longest_life: i64,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    openers: i64,
}

/// A key that is to be there.
pub struct NewRow<'a> {
    /// Its public half.
    pub public: &'a PublicKey,
    /// Its private half.
    pub sealed: &'a [u8],
    /// The secret that it is sealed with: it has to be named.
    pub sealed_by: Fingerprint,
    /// When it begins to sign.
    pub signs_from: Timestamp,
    /// For how long, in milliseconds.
    pub period: i64,
    /// The longest life of its tokens, in milliseconds.
    pub longest_life: i64,
}

impl SigningKeyRow {
    /// Whether the secret is named that its private half is sealed with.
    #[must_use]
    pub fn can_be_opened(&self) -> bool {
        self.openers > 0
    }

    /// When it signs.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot {
            slot: self.slot,
            signs_from: Timestamp(self.signs_from),
            signs_until: Timestamp(self.signs_until),
            accepted_until: self.accepted_until.map(Timestamp),
        }
    }
}

/// How tokens are signed, and the keys that are not revoked, the newest first.
///
/// # Errors
/// [`StoreError`]
pub async fn read(db: &Db) -> Result<(Option<KeyAlgorithm>, Vec<SigningKeyRow>), StoreError> {
    let algorithm = algorithm(db).await?;
    Ok((algorithm, db.fetch(ACCEPTED, values![MAX_KEYS]).await?))
}

/// Every key that there is a row of, the newest first.
///
/// # Errors
/// [`StoreError`]
pub async fn each(db: &Db) -> Result<Vec<SigningKeyRow>, StoreError> {
    db.fetch(EACH, values![MAX_KEYS]).await
}

/// How tokens are signed; `None`: with the secret.
///
/// # Errors
/// [`StoreError`]
pub async fn algorithm(db: &Db) -> Result<Option<KeyAlgorithm>, StoreError> {
    let row: Option<(Option<String>,)> = db.fetch_first(ALGORITHM, &[]).await?;
    Ok(row.and_then(|(name,)| name).as_deref().and_then(KeyAlgorithm::of))
}

/// Has tokens be signed so from now on, with an event where that is new. Keys of other algorithms are accepted for as long as their tokens live.
///
/// # Errors
/// [`StoreError`]
pub async fn set_algorithm(
    db: &Db,
    algorithm: Option<KeyAlgorithm>,
    by: &Caller,
    now: Timestamp,
) -> Result<(), StoreError> {
    let name = algorithm.map(KeyAlgorithm::name);
    let mut tx = db.begin("set how tokens are signed").await?;
    tx.execute(lock::REVISION, &[]).await?;
    let before: Option<(Option<String>,)> = tx.fetch_first(ALGORITHM, &[]).await?;
    let before = before.and_then(|(name,)| name);
    if before.as_deref() == name {
        // Another replica has started so meanwhile.
        return Ok(());
    }
    tx.execute(SET_ALGORITHM, values![name]).await?;
    // No algorithm is called nothing.
    let stays = name.unwrap_or_default();
    tx.execute(LEAVE, values![stays, now.0, ACCEPTED_BEYOND]).await?;
    let changes = serde_json::json!({
        "from": before.as_deref().unwrap_or(BY_SECRET), "to": name.unwrap_or(BY_SECRET)
    });
    let changes = changes.to_string();
    let event = Event::done(Action::JwtAlgorithmChanged, Target::Service(crate::NAME), now, by);
    append(&mut tx, &AUDIT, &event.changing(&changes)).await?;
    tx.commit().await
}

/// The last slot of an algorithm that a key has filled; 0: none.
///
/// # Errors
/// [`StoreError`]
pub async fn last_slot(db: &Db, algorithm: KeyAlgorithm) -> Result<i64, StoreError> {
    let last: Option<(i64,)> = db.fetch_first(LAST_SLOT, values![algorithm.name()]).await?;
    Ok(last.map_or(0, |(slot,)| slot))
}

/// Adds a key behind the slot `last`, which follows the one in the slot `after`, or none. `false`: somebody else has
/// added one since that was the last, or the secret that seals it was taken back.
///
/// # Errors
/// [`StoreError`]
pub async fn add(
    db: &Db,
    new: &NewRow<'_>,
    (last, after): (i64, Option<i64>),
    by: &Caller,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let NewRow { public, sealed, sealed_by, signs_from, period, longest_life } = *new;
    let algorithm = public.algorithm().name();
    let mut tx = db.begin("make a signing key").await?;
    // Whoever takes a secret back has this first, and revokes what it finds.
    tx.execute(lock::REVISION, &[]).await?;
    let named: Option<(i64,)> = tx.fetch_first(IS_NAMED, values![&sealed_by.0]).await?;
    if named.is_none() {
        return Ok(false);
    }
    let row = values![
        public.kid(),
        public.thumbprint(),
        algorithm,
        last + 1,
        public.text(),
        sealed,
        now.0,
        signs_from.0,
        signs_from.plus(period).0,
        longest_life,
        &sealed_by.0
    ];
    let added: Option<(String,)> = tx.fetch_first(INSERT, row).await?;
    if added.is_none() {
        return Ok(false);
    }
    tx.execute(NAME, values![&public.fingerprint().0, now.0, public.kid()]).await?;
    let mut former = None;
    if let Some(after) = after {
        let follow = values![algorithm, after, signs_from.0, ACCEPTED_BEYOND];
        let followed: Option<(String,)> = tx.fetch_first(FOLLOW, follow).await?;
        former = followed.map(|(kid,)| kid);
    }
    let action =
        if former.is_some() { Action::SigningKeyRotated } else { Action::SigningKeyCreated };
    let changes = serde_json::json!({
        "kid": public.kid(), "algorithm": algorithm, "follows": former, "signs_from": signs_from.0
    });
    let changes = changes.to_string();
    let event = Event::done(action, Target::Service(crate::NAME), now, by);
    append(&mut tx, &AUDIT, &event.changing(&changes)).await?;
    tx.commit().await?;
    Ok(true)
}

/// Has the key in a slot sign at once which was to do so later.
///
/// # Errors
/// [`StoreError`]
pub async fn promote(
    db: &Db,
    algorithm: KeyAlgorithm,
    slot: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    db.execute(PROMOTE, values![algorithm.name(), slot, now.0]).await.map(drop)
}

/// Notes that tokens of a key live for as long as this.
///
/// # Errors
/// [`StoreError`]
pub async fn outlive(db: &Db, kid: &str, longest_life: i64) -> Result<(), StoreError> {
    db.execute(OUTLIVE, values![kid, longest_life]).await.map(drop)
}

/// Seals a private half anew, if it is still sealed as it was.
///
/// # Errors
/// [`StoreError`]
pub async fn reseal(
    db: &Db,
    row: &SigningKeyRow,
    (sealed, sealed_by): (&[u8], Fingerprint),
) -> Result<(), StoreError> {
    let values = values![&row.kid, &row.sealed, sealed, &sealed_by.0];
    db.execute(RESEAL, values).await.map(drop)
}

/// Takes out a key that is accepted no more. Every edge drops what it remembers: also what was signed with it by
/// somebody else, to live for longer than it does.
///
/// # Errors
/// [`StoreError`]
pub async fn drop_key(db: &Db, kid: &str, by: &Caller, now: Timestamp) -> Result<bool, StoreError> {
    let mut tx = db.begin("drop a signing key").await?;
    tx.execute(lock::REVISION, &[]).await?;
    let dropped: Option<(String,)> = tx.fetch_first(DROP, values![kid, now.0]).await?;
    if dropped.is_none() {
        return Ok(false);
    }
    let revision = invalidate_everything(&mut tx, &AUTHORITY).await?.revision();
    tx.execute(WITHDRAW, values![kid, revision.0, now.0]).await?;
    let changes = serde_json::json!({ "kid": kid }).to_string();
    let event = Event::done(Action::SigningKeyRetired, Target::Service(crate::NAME), now, by);
    append(&mut tx, &AUDIT, &event.took(revision).changing(&changes)).await?;
    tx.commit().await?;
    Ok(true)
}

/// Revokes a key: no token that it has signed is accepted from the commit on, nor is a session refreshed whose last one it
/// signed; `key_sessions` ends those. It is what edges are to be told; a repeat takes a revision of its own. `None`: there is
/// no such key.
///
/// # Errors
/// [`StoreError`]
pub async fn revoke(
    db: &Db,
    kid: &str,
    by: &Caller,
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let mut tx = db.begin("revoke a signing key").await?;
    tx.execute(lock::REVISION, &[]).await?;
    let revoked: Option<(String,)> = tx.fetch_first(REVOKE, values![kid, now.0, NOTHING]).await?;
    let Some((algorithm,)) = revoked else { return Ok(None) };
    let row = append_invalidation(&mut tx, &AUTHORITY, Tag::All, now).await?;
    let is_new = tx.execute(WITHDRAW, values![kid, row.revision().0, now.0]).await? > 0;
    if is_new {
        let changes = serde_json::json!({ "kid": kid, "algorithm": algorithm }).to_string();
        let event = Event::done(Action::SigningKeyRevoked, Target::Service(crate::NAME), now, by);
        append(&mut tx, &AUDIT, &event.took(row.revision()).changing(&changes)).await?;
    }
    tx.commit().await?;
    Ok(Some(Change { tag: Tag::All, row, earlier: None }))
}

/// Takes back every key: the secret that they are sealed with is gone.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn revoke_each(
    tx: &mut Tx,
    revision: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(REVOKE_EACH, values![now.0, NOTHING]).await?;
    tx.execute(WITHDRAW_EACH, values![revision, now.0]).await.map(drop)
}
