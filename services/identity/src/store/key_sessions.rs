//! What becomes of the sessions of a revoked signing key: those whose last access token it signed end, page by page,
//! behind the commit that revokes it. Until a page has come to a session, nothing refreshes it
//! ([`refresh::HOLD`](super::refresh)).

use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::Timestamp;
use latchkey_contract::lease::Tag;
use latchkey_store::{Db, StoreError, values};

use super::AUTHORITY;

/// The last session of a page of those that go on.
pub(super) const PAGE: &str = "SELECT id FROM (SELECT id FROM sessions WHERE ended_at IS NULL \
    AND signer = (SELECT fingerprint FROM identity_signers WHERE kid = $1) \
    ORDER BY id LIMIT $2) AS page ORDER BY id DESC LIMIT 1";
/// It takes rows of sessions and nothing else, so that whoever holds one and waits for the revision goes on. What a
/// refresh has given to another signer meanwhile stays.
pub(super) const END_PAGE: &str = "UPDATE sessions SET ended_at = $3 WHERE ended_at IS NULL \
    AND signer = (SELECT fingerprint FROM identity_signers WHERE kid = $1) AND id <= $2";

/// Sessions that one statement ends at most.
pub const END_AT_ONCE: i64 = 5_000;

/// Ends a page of the sessions of a key that was revoked; how many there were. `None`: there is none that goes on.
///
/// # Errors
/// [`StoreError`]
pub async fn end_page(db: &Db, kid: &str, now: Timestamp) -> Result<Option<u64>, StoreError> {
    let page: Option<(Vec<u8>,)> = db.fetch_first(PAGE, values![kid, END_AT_ONCE]).await?;
    let Some((until,)) = page else { return Ok(None) };
    db.execute(END_PAGE, values![kid, &until, now.0]).await.map(Some)
}

/// Ends what there is of sessions of a key that was revoked. It is what edges are to be told then: a session may have
/// tokens that a former key signed. `None`: there was no such session.
///
/// # Errors
/// [`StoreError`]; then some may go on until it is done again, and revoking the key again has edges be told.
pub async fn end(db: &Db, kid: &str, now: Timestamp) -> Result<Option<Change>, StoreError> {
    // It ends with the rows: a key that was revoked opens no session and prolongs none.
    let mut ended = 0;
    while let Some(page) = end_page(db, kid, now).await? {
        ended += page;
    }
    if ended == 0 {
        return Ok(None);
    }
    tracing::info!(service = crate::NAME, kid, ended, "sessions of a revoked signing key ended");
    let mut tx = db.begin("tell of ended sessions").await?;
    let row = append_invalidation(&mut tx, &AUTHORITY, Tag::All, now).await?;
    tx.commit().await?;
    Ok(Some(Change { tag: Tag::All, row, earlier: None }))
}
