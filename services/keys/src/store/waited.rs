//! What was done to a key last, for whoever waits for it again.

use latchkey_contract::lease::Revision;
use sqlx::FromRow;

pub(super) const WAITED: &str = "SELECT hash, revoked_position, is_settled, changed_position, changed_settled \
    FROM api_keys WHERE owner_id = $1 AND id = $2";

/// Its row.
#[derive(FromRow)]
pub(super) struct WaitedRow {
    pub(super) hash: Vec<u8>,
    #[sqlx(rename = "revoked_position")]
    pub(super) revoked_revision: Option<i64>,
    #[sqlx(rename = "is_settled")]
    is_revoke_confirmed: bool,
    #[sqlx(rename = "changed_position")]
    changed_revision: Option<i64>,
    #[sqlx(rename = "changed_settled")]
    pub(super) is_change_confirmed: bool,
}

impl WaitedRow {
    /// The revision of whatever ended or changed it last, and whether that was seen to its end.
    pub(super) fn last(&self) -> Option<(Revision, bool)> {
        let (at, is_confirmed) = match self.revoked_revision {
            Some(at) => (Some(at), self.is_revoke_confirmed),
            None => (self.changed_revision, self.is_change_confirmed),
        };
        at.map(|at| (Revision(at), is_confirmed))
    }
}
