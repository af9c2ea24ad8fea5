//! Pages of the keys that a filter finds, from either end. Every statement goes along the keys of one owner by their
//! ids, and none reads more than `MAX_READ` rows: whoever looks for few among many asks for the next page.

use latchkey_contract::keys::{
    KeyFilter, KeyObject, KeyOrigin, KeyPage, ListKeys, MAX_PAGE_WEIGHT,
};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{KeyId, Timestamp};
use latchkey_store::{Db, StoreError, Value, values};

use super::key::{KeyRow, select_keys};

/// Rows of one owner that are read for one page at most.
const MAX_READ: i64 = 10_000;
/// What stands before a character of a pattern that stands for itself.
const ESCAPE: char = '!';

/// A page of the keys behind one and up to another that a filter finds; `$and` holds besides.
macro_rules! filtered {
    ($behind:literal, $until:literal, $and:literal, $order:literal) => {
        select_keys!(
            "api_keys.owner_id = $1 AND purged_at IS NULL AND api_keys.id ",
            $behind,
            " $2 AND api_keys.id ",
            $until,
            " $3",
            $and,
            " AND (CAST($6 AS TEXT) IS NULL OR CAST($6 AS TEXT) LIKE ('% ' || CASE \
             WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= $5 THEN 'expired' \
             WHEN api_keys.disabled_at IS NOT NULL THEN 'disabled' \
             WHEN keys_disabled_owners.disabled_at IS NOT NULL THEN 'inactive' \
             WHEN replaced_by IS NOT NULL THEN 'retiring' ELSE 'active' END || ' %')) \
             AND (CAST($7 AS TEXT) IS NULL \
             OR (' ' || REPLACE(tags, ' ', '  ') || ' ') LIKE CAST($7 AS TEXT) ESCAPE '!') \
             AND (CAST($8 AS TEXT) IS NULL OR environment = CAST($8 AS TEXT)) \
             AND (CAST($9 AS TEXT) IS NULL OR LOWER(name) LIKE CAST($9 AS TEXT) ESCAPE '!') \
             AND (CAST($10 AS TEXT) IS NULL OR origin = CAST($10 AS TEXT)) \
             AND (CAST($11 AS TEXT) IS NULL OR external_id = CAST($11 AS TEXT)) \
             AND (CAST($12 AS BIGINT) IS NULL OR expires_at < CAST($12 AS BIGINT)) \
             AND (CAST($13 AS BIGINT) IS NULL OR last_used_at IS NULL OR last_used_at < CAST($13 AS BIGINT)) \
             AND (CAST($14 AS BIGINT) IS NULL OR COALESCE(lineage_id, api_keys.id) = CAST($14 AS BIGINT)) \
             ORDER BY api_keys.id",
            $order,
            " LIMIT $4"
        )
    };
}

pub(super) use filtered;

/// How a page goes: which statement finds its keys, and which the last row that may be read for it.
struct Way {
    filtered: &'static str,
    /// The same by the index of external ids.
    external: &'static str,
    bound: &'static str,
    external_bound: &'static str,
    /// Before the first key, and behind the last.
    first: i64,
    last: i64,
}

const RISING: Way = Way {
    filtered: filtered!(">", "<=", "", ""),
    external: filtered!(">", "<=", " AND external_id = $11", ""),
    bound: "SELECT id FROM api_keys WHERE owner_id = $1 AND id > $2 ORDER BY id LIMIT 1 OFFSET $3",
    external_bound: "SELECT id FROM api_keys WHERE owner_id = $1 AND external_id = $4 AND id > $2 \
        ORDER BY id LIMIT 1 OFFSET $3",
    first: 0,
    last: i64::MAX,
};
const FALLING: Way = Way {
    filtered: filtered!("<", ">=", "", " DESC"),
    external: filtered!("<", ">=", " AND external_id = $11", " DESC"),
    bound: "SELECT id FROM api_keys WHERE owner_id = $1 AND id < $2 ORDER BY id DESC LIMIT 1 OFFSET $3",
    external_bound: "SELECT id FROM api_keys WHERE owner_id = $1 AND external_id = $4 AND id < $2 \
        ORDER BY id DESC LIMIT 1 OFFSET $3",
    first: i64::MAX,
    last: 0,
};

/// Every statement.
pub(super) fn statements() -> Vec<&'static str> {
    let of = |way: &Way| [way.filtered, way.external, way.bound, way.external_bound];
    [RISING, FALLING].iter().flat_map(of).collect()
}

/// What a filter is to a statement.
pub(super) struct Patterns {
    states: Option<String>,
    tags: Option<String>,
    name: Option<String>,
}

/// The keys that a request asks for, as far as a message holds them.
///
/// # Errors
/// [`StoreError`]
pub async fn page(db: &Db, request: &ListKeys, now: Timestamp) -> Result<KeyPage, StoreError> {
    let (owner, filter) = (request.owner.0, &request.filter);
    let way = if request.newest_first { FALLING } else { RISING };
    let start = request.after.map_or(way.first, |key| key.0);
    let sql = if filter.external_id.is_some() { way.external } else { way.filtered };
    let until = bound(db, &way, request, start).await?;
    let patterns = Patterns::of(filter);
    let limit = request.limit as usize;
    // Of those that a pattern finds some may have another name.
    let rows_at_once = if filter.name.is_some() { MAX_BATCH } else { limit };
    let mut filling = Filling::new(limit);
    let mut after = start;
    loop {
        // One more than are taken tells whether there are more.
        let most = i64::try_from(rows_at_once + 1).unwrap_or(i64::MAX);
        let range = [owner, after, until.unwrap_or(way.last), most, now.0];
        let rows: Vec<KeyRow> = db.list(sql, &patterns.values(range, filter)).await?;
        let is_last = rows.len() <= rows_at_once;
        for row in rows.into_iter().take(rows_at_once) {
            let key = row.object(now)?;
            let id = key.id.0;
            if is_named(&key, filter.name.as_deref()) && !filling.takes(key) {
                return Ok(filling.page(Some(after)));
            }
            after = id;
        }
        if is_last {
            return Ok(filling.page(until));
        }
        if filling.is_full() {
            return Ok(filling.page(Some(after)));
        }
    }
}

/// The last row that may be read for a page; `None` where that is as many as are shown: an index finds them, or each row
/// is one.
async fn bound(
    db: &Db,
    way: &Way,
    request: &ListKeys,
    start: i64,
) -> Result<Option<i64>, StoreError> {
    let (owner, filter) = (request.owner.0, &request.filter);
    let external_id = filter.external_id.as_deref();
    let besides = KeyFilter { external_id: None, ..filter.clone() };
    if besides.is_empty() {
        return Ok(None);
    }
    let rows: Vec<(i64,)> = match external_id {
        Some(external_id) => {
            let values = values![owner, start, MAX_READ - 1, external_id];
            db.list(way.external_bound, values).await?
        }
        None => db.list(way.bound, values![owner, start, MAX_READ - 1]).await?,
    };
    Ok(rows.first().map(|(id,)| *id))
}

/// A page of keys that were read already, by rising id, of which there may be one more than it is to have.
#[must_use]
pub fn cut(keys: Vec<KeyObject>, limit: usize) -> KeyPage {
    let mut filling = Filling::new(limit);
    let mut last = None;
    for key in keys {
        let id = key.id.0;
        if !filling.takes(key) {
            return filling.page(last);
        }
        last = Some(id);
    }
    filling.page(None)
}

/// A page that is being filled.
struct Filling {
    keys: Vec<KeyObject>,
    limit: usize,
    weight: usize,
}

impl Filling {
    fn new(limit: usize) -> Self {
        Self { keys: Vec::new(), limit, weight: 0 }
    }

    /// Takes a key, if there is room. There is for one, whatever it weighs.
    fn takes(&mut self, key: KeyObject) -> bool {
        let weight = self.weight + key.weight();
        if self.is_full() || weight > MAX_PAGE_WEIGHT && !self.keys.is_empty() {
            return false;
        }
        self.weight = weight;
        self.keys.push(key);
        true
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= self.limit
    }

    fn page(self, next: Option<i64>) -> KeyPage {
        KeyPage { keys: self.keys, next: next.map(KeyId) }
    }
}

impl Patterns {
    /// What this filter is.
    pub(super) fn of(filter: &KeyFilter) -> Self {
        let states: Vec<&str> = filter.states.iter().map(|state| state.name()).collect();
        let states = (!states.is_empty()).then(|| format!(" {} ", states.join("  ")));
        let mut tags: Vec<String> = filter.tags.iter().map(|tag| escaped(tag)).collect();
        tags.sort_unstable();
        tags.dedup();
        // A row's tags stand in order, each between two spaces of its own.
        let tags = (!tags.is_empty()).then(|| format!("% {} %", tags.join(" % ")));
        let name = filter.name.as_deref().map(|part| format!("%{}%", lowered(part)));
        Self { states, tags, name }
    }

    /// The statement's values. The range is the owner, behind which key and up to which, how many at most, and now.
    pub(super) fn values<'a>(&'a self, range: [i64; 5], filter: &'a KeyFilter) -> [Value<'a>; 14] {
        let [owner, after, until, most, now] = range;
        [
            owner.into(),
            after.into(),
            until.into(),
            most.into(),
            now.into(),
            self.states.as_deref().into(),
            self.tags.as_deref().into(),
            filter.environment.as_deref().into(),
            self.name.as_deref().into(),
            filter.origin.map(KeyOrigin::name).into(),
            filter.external_id.as_deref().into(),
            filter.expires_before.map(|at| at.0).into(),
            filter.unused_since.map(|at| at.0).into(),
            filter.lineage.map(|key| key.0).into(),
        ]
    }
}

/// A pattern that finds this text.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if ['%', '_', ESCAPE].contains(&c) {
            pattern.push(ESCAPE);
        }
        pattern.push(c);
    }
    pattern
}

/// A pattern that finds this text in any case, and others where it has characters that not every database knows in
/// both: [`is_named`] looks again.
fn lowered(text: &str) -> String {
    let plain = |c: char| if c.is_ascii() { c.to_ascii_lowercase() } else { '\0' };
    let plain: String = text.chars().map(plain).collect();
    escaped(&plain).replace('\0', "%")
}

/// Whether a key has this text in its name, in any case.
fn is_named(key: &KeyObject, part: Option<&str>) -> bool {
    part.is_none_or(|part| key.name.to_lowercase().contains(&part.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_patterns_stand_for_themselves() {
        assert_eq!(escaped("50%_a!b"), "50!%!_a!!b");
        assert_eq!(lowered("Bü_C%"), "b%!_c!%");
    }

    #[test]
    fn the_tags_of_a_pattern_stand_in_the_order_of_a_rows() {
        let tags = ["b", "a_c", "b"].map(str::to_owned).to_vec();
        let patterns = Patterns::of(&KeyFilter { tags, ..KeyFilter::default() });
        assert_eq!(patterns.tags.as_deref(), Some("% a!_c % b %"));
        assert_eq!((patterns.states, patterns.name), (None, None));
    }
}
