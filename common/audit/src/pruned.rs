//! Where a log begins whose oldest events were taken out: the event of that says behind which place, and with which
//! link, under a proof that only whoever has the key can make. Without it nobody would know a log whose oldest events
//! somebody else took out.

use latchkey_store::{Db, StoreError, values};
use serde::{Deserialize, Serialize};

use crate::AuditSql;
use crate::anchor::Anchor;
use crate::chain::{ChainKey, ChainKeys, Link};
use crate::event::Action;
use crate::record::Record;

/// Events of the chain itself that are looked at. Of those that are no proof only somebody who writes the database makes
/// more: then the log counts as broken.
const LOOKED_AT: i64 = 100;

/// What the event says has changed.
#[derive(Serialize, Deserialize)]
struct Changes {
    pruned: Cut,
}

#[derive(Serialize, Deserialize)]
struct Cut {
    through: i64,
    hash: String,
    proof: String,
}

/// What the event of taking out everything through `cut` says.
pub(crate) fn changes(key: &ChainKey, service: &str, cut: Anchor) -> String {
    let (hash, proof) = (hex::encode(cut.hash), hex::encode(proof(key, service, cut)));
    // Texts and a number have a form, whatever they are.
    let pruned = Cut { through: cut.seq, hash, proof };
    serde_json::to_string(&Changes { pruned }).unwrap_or_default()
}

/// The event behind which a service's log begins; `None` where nothing was taken out.
///
/// # Errors
/// [`StoreError`]
pub(crate) async fn cut(
    db: &Db,
    sql: &AuditSql,
    keys: &ChainKeys,
) -> Result<Option<Anchor>, StoreError> {
    let marks: Vec<Record> = db.fetch(sql.marks, values![sql.service, LOOKED_AT]).await?;
    let cuts = marks.iter().filter_map(|mark| read(mark, sql.service, keys));
    Ok(cuts.max_by_key(|cut| cut.seq))
}

fn read(mark: &Record, service: &str, keys: &ChainKeys) -> Option<Anchor> {
    if mark.action != Action::AuditPruned.name() {
        return None;
    }
    let Changes { pruned: Cut { through, hash, proof: made } } =
        serde_json::from_str(mark.changes.as_deref()?).ok()?;
    let link = |text: String| hex::decode(text).ok().and_then(|link| Link::try_from(link).ok());
    let (cut, made) = (Anchor { seq: through, hash: link(hash)? }, link(made)?);
    let of = [Some(&keys.current), keys.previous.as_ref()];
    let is_proof = of.into_iter().flatten().any(|key| proof(key, service, cut) == made);
    is_proof.then_some(cut)
}

/// Nothing else is hashed that begins like this: an event begins with a brace.
fn proof(key: &ChainKey, service: &str, cut: Anchor) -> Link {
    key.link(&cut.hash, format!("pruned {service} {}", cut.seq).as_bytes())
}
