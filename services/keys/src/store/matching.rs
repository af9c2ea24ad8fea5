//! Which keys of an owner's a filter finds that are to be ended: looked for outside of any transaction, along the keys that
//! can be ended, a bounded number of rows a statement. Whoever ends one looks again whether the filter finds it, when nobody
//! else may change it any more.

use latchkey_contract::keys::{KeyFilter, KeyObject, KeyState};
use latchkey_contract::{KeyId, Timestamp, UserId};
use latchkey_store::{Db, StoreError, values};

use super::key::{KeyRow, select_keys};
use super::list::{Patterns, filtered};

/// Keys that one statement reads at most, whether the filter finds them or not.
const MAX_READ: i64 = 10_000;
/// Keys that one statement finds at most.
const MAX_FOUND: i64 = 1_000;
/// Statements of one search at most: ten million keys that can be ended are more than an owner may have.
const MAX_PAGES: usize = 1_000;

/// Keys that live, and those whose end not every edge is known to know: a repeat takes those in. By the index
/// `api_keys_to_end`.
pub(super) const FIND: &str =
    filtered!(">", "<=", " AND (revoked_at IS NULL OR NOT is_settled)", "");
/// The same by the index of external ids, which finds no others.
pub(super) const FIND_EXTERNAL: &str =
    filtered!(">", "<=", " AND (revoked_at IS NULL OR NOT is_settled) AND external_id = $11", "");
/// The last of so many keys that one statement may read.
pub(super) const BOUND: &str = "SELECT id FROM api_keys WHERE owner_id = $1 AND id > $2 \
    AND (revoked_at IS NULL OR NOT is_settled) ORDER BY id LIMIT 1 OFFSET $3";
/// The first key of the lineage that a key is of; where there is no such key any more, it is taken for the first.
pub(super) const LINEAGE_OF: &str = "SELECT COALESCE((SELECT COALESCE(lineage_id, id) FROM api_keys \
    WHERE owner_id = $1 AND id = $2), CAST($2 AS BIGINT)) AS lineage";

/// Every statement.
pub(super) const STATEMENTS: [&str; 4] = [FIND, FIND_EXTERNAL, BOUND, LINEAGE_OF];

/// A search, as far as it is.
pub(super) struct Search<'a> {
    owner: UserId,
    /// What is asked for.
    filter: &'a KeyFilter,
    /// What statements look for: also what has ended, whatever its state was before.
    wider: KeyFilter,
    patterns: Patterns,
    now: Timestamp,
    /// Up to here every key was looked at.
    after: i64,
    /// The end of the rows that are read just now, where more are behind.
    until: Option<i64>,
    pages: usize,
    is_over: bool,
}

impl<'a> Search<'a> {
    /// A search among all keys of `owner`'s.
    pub(super) fn new(owner: UserId, filter: &'a KeyFilter, now: Timestamp) -> Self {
        let mut wider = filter.clone();
        if !wider.states.is_empty() {
            wider.states.push(KeyState::Revoked);
        }
        let patterns = Patterns::of(&wider);
        let (after, until, pages, is_over) = (0, None, 0, false);
        Self { owner, filter, wider, patterns, now, after, until, pages, is_over }
    }

    /// Whether there are keys that nobody has looked at: more than a search reads.
    pub(super) fn is_cut(&self) -> bool {
        !self.is_over && self.pages >= MAX_PAGES
    }

    /// The next keys that it finds, by rising id; nothing where there are no more, or where it is [cut](Self::is_cut).
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) async fn next(&mut self, db: &Db) -> Result<Vec<KeyObject>, StoreError> {
        while !self.is_over && self.pages < MAX_PAGES {
            self.pages += 1;
            let found = self.page(db).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    async fn page(&mut self, db: &Db) -> Result<Vec<KeyObject>, StoreError> {
        let owner = self.owner.0;
        let is_indexed = self.filter.external_id.is_some();
        if !is_indexed && self.until.is_none() {
            let values = values![owner, self.after, MAX_READ - 1];
            let bound: Option<(i64,)> = db.fetch_first(BOUND, values).await?;
            self.until = bound.map(|(id,)| id);
        }
        let range = [owner, self.after, self.until.unwrap_or(i64::MAX), MAX_FOUND, self.now.0];
        let sql = if is_indexed { FIND_EXTERNAL } else { FIND };
        let rows: Vec<KeyRow> = db.fetch(sql, &self.patterns.values(range, &self.wider)).await?;
        match rows.last() {
            Some(last) if rows.len() >= usize::try_from(MAX_FOUND).unwrap_or(usize::MAX) => {
                self.after = last.id;
            }
            _ => match self.until.take() {
                Some(until) => self.after = until,
                None => self.is_over = true,
            },
        }
        let keys = rows.into_iter().map(|row| row.object(self.now));
        let keys = keys.filter(|key| key.as_ref().map_or(true, |key| finds(self.filter, key)));
        keys.collect()
    }
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
pub(super) fn finds(filter: &KeyFilter, key: &KeyObject) -> bool {
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
