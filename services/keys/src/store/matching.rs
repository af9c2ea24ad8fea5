//! Which keys of an owner's a filter finds that are to be ended.

use latchkey_contract::keys::{KeyFilter, KeyObject, RevokedOne, rules};
use latchkey_contract::{KeyId, Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};

use super::key::{KeyRow, select_keys};

/// Rows that one page of a search reads, and pages of one search at most.
const PAGE: i64 = 1_000;
const MAX_PAGES: usize = 50;

/// Keys that live, and those whose end not every edge is known to know: a repeat takes those in.
pub(super) const FIND: &str = select_keys!(
    "api_keys.owner_id = $1 AND api_keys.id > $2 AND purged_at IS NULL AND (revoked_at IS NULL OR NOT is_settled) \
     AND (CAST($3 AS BIGINT) IS NULL OR api_keys.id = $3 OR lineage_id = $3) \
     AND (CAST($4 AS TEXT) IS NULL OR external_id = $4) \
     AND (CAST($5 AS TEXT) IS NULL OR environment = $5) \
     AND (CAST($6 AS TEXT) IS NULL OR EXISTS \
        (SELECT 1 FROM key_tags WHERE key_tags.tag = $6 AND key_tags.key_id = api_keys.id)) \
     ORDER BY api_keys.id LIMIT $7"
);
/// The first key of the lineage that a key is of; where there is no such key any more, it is taken for the first.
pub(super) const LINEAGE_OF: &str = "SELECT COALESCE((SELECT COALESCE(lineage_id, id) FROM api_keys \
    WHERE owner_id = $1 AND id = $2), CAST($2 AS BIGINT)) AS lineage";

/// What a search has found.
pub(super) struct Found {
    /// Those that live first.
    pub keys: Vec<RevokedOne>,
    /// Whether that is all of them.
    pub is_whole: bool,
    /// The last key that was looked at.
    pub until: KeyId,
}

/// The keys of `owner`'s behind `after` that a filter finds and a command ends.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn find(
    tx: &mut Tx,
    owner: UserId,
    filter: &KeyFilter,
    KeyId(mut after): KeyId,
    now: Timestamp,
) -> Result<Found, StoreError> {
    let (mut living, mut ended) = (Vec::new(), Vec::new());
    let mut is_whole = false;
    for _ in 0..MAX_PAGES {
        let values = values![
            owner.0,
            after,
            filter.lineage.map(|key| key.0),
            filter.external_id.as_deref(),
            filter.environment.as_deref(),
            filter.tags.first().map(String::as_str),
            PAGE
        ];
        let rows: Vec<KeyRow> = tx.fetch(FIND, values).await?;
        is_whole = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        for row in rows {
            let key = row.object(now)?;
            after = key.id.0;
            if !finds(filter, &key) {
                continue;
            }
            let one = RevokedOne { id: key.id, last_used_at: key.last_used_at };
            if key.is_revoked() { &mut ended } else { &mut living }.push(one);
        }
        if is_whole || living.len() > rules::MAX_ENDED {
            break;
        }
    }
    living.append(&mut ended);
    Ok(Found { keys: living, is_whole, until: KeyId(after) })
}

/// The first key of the lineage that a key is of.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn lineage_of(db: &Db, owner: UserId, key: KeyId) -> Result<KeyId, StoreError> {
    let first: Option<(i64,)> = db.fetch_first(LINEAGE_OF, values![owner.0, key.0]).await?;
    Ok(first.map_or(key, |(first,)| KeyId(first)))
}

/// Whether a filter finds a key. One that was ended is found whatever its state was before.
fn finds(filter: &KeyFilter, key: &KeyObject) -> bool {
    let is_in_state =
        filter.states.is_empty() || key.is_revoked() || filter.states.contains(&key.state);
    let is_named = |part: &String| key.name.to_lowercase().contains(&part.to_lowercase());
    let is_unused = |since| key.last_used_at.is_none_or(|at| at < since);
    is_in_state
        && filter.tags.iter().all(|tag| key.tags.contains(tag))
        && filter.environment.as_ref().is_none_or(|name| *name == key.environment)
        && filter.name.as_ref().is_none_or(is_named)
        && filter.origin.is_none_or(|origin| origin == key.origin)
        && filter.external_id.as_ref().is_none_or(|id| key.external_id.as_ref() == Some(id))
        && filter.expires_before.is_none_or(|at| key.expires_at < at)
        && filter.unused_since.is_none_or(is_unused)
        && filter.lineage.is_none_or(|lineage| key.lineage.id == lineage)
}
