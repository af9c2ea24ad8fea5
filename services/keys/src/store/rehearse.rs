//! Which keys a command that ends several would end.

use latchkey_contract::keys::{RevokeKeys, RevokedOne, Which, rules};
use latchkey_contract::{KeyId, Timestamp};
use latchkey_store::{Db, StoreError, values};

use super::matching::Search;

/// Which of several keys there are.
pub(super) const USED: &str = "SELECT last_used_at FROM api_keys \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL";

/// What a command would come to.
#[derive(Default)]
pub(super) struct Impact {
    /// What it would end, by rising id.
    pub(super) keys: Vec<RevokedOne>,
    /// Ids that are no keys of the owner's.
    pub(super) missing: Vec<KeyId>,
    /// Whether there are more than one command ends.
    pub(super) more: bool,
}

/// What `request` would come to now. Nothing is held meanwhile, and nothing is written.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn rehearse(
    db: &Db,
    request: &RevokeKeys,
    now: Timestamp,
) -> Result<Impact, StoreError> {
    let (mut impact, owner) = (Impact::default(), request.owner);
    match &request.which {
        Which::Filter(filter) => {
            let (mut search, mut ended) = (Search::new(owner, filter, now), Vec::new());
            while impact.keys.len() <= rules::MAX_ENDED {
                let found = search.next(db).await?;
                if found.is_empty() {
                    break;
                }
                for key in found {
                    let one = RevokedOne { id: key.id, last_used_at: key.last_used_at };
                    if !key.is_revoked() {
                        impact.keys.push(one);
                    } else if ended.len() <= rules::MAX_ENDED {
                        ended.push(one);
                    }
                }
            }
            // What lives goes first.
            impact.keys.append(&mut ended);
            impact.more = search.is_cut();
        }
        Which::Ids(ids) => {
            for id in ids {
                let row: Option<(Option<i64>,)> =
                    db.fetch_first(USED, values![owner.0, id.0]).await?;
                match row {
                    Some((at,)) => {
                        impact.keys.push(RevokedOne { id: *id, last_used_at: at.map(Timestamp) });
                    }
                    None => impact.missing.push(*id),
                }
            }
        }
    }
    impact.more |= impact.keys.len() > rules::MAX_ENDED;
    impact.keys.truncate(rules::MAX_ENDED);
    impact.keys.sort_unstable_by_key(|key| key.id);
    impact.missing.sort_unstable();
    Ok(impact)
}
