//! Who API keys stand for: hashes are looked up together, as many as have queued up, by one statement.

use std::sync::Arc;

use latchkey_authority::MemberKey;
use latchkey_authority::lookup::look_up;
use latchkey_bus::Context;
use latchkey_contract::keys::{KeysAuthority, VerifyKeys};
use latchkey_contract::lease::MemberResult;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    Detail, Failure, FieldError, KeyDetail, KeyId, Owner, Principal, Refusal, Stored, Timestamp,
    UserId, Verdict, Verdicts,
};

use crate::Keys;
use crate::store::VerifyRow;

/// Answers one request's hashes, from one snapshot of the database.
pub(crate) async fn keys(
    keys: Arc<Keys>,
    context: Context,
    request: VerifyKeys,
) -> Result<MemberResult<Verdicts<KeysAuthority>>, Failure> {
    if request.hashes.len() > MAX_BATCH {
        let fault = FieldError::new("hashes", format!("must be at most {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let member = request.member.map(|id| MemberKey::of(&context, id));
    let found = look_up(&keys.lookup, request.hashes, member).await?;
    let now = keys.now();
    let verdicts = found.rows.iter().map(|row| judge(row.as_ref(), now)).collect();
    Ok(found.answer(verdicts))
}

/// What a key is worth at `now`, given its row; `None` where that depends on an owner of whom nobody can say whether
/// they are deactivated.
fn judge(row: Option<&VerifyRow>, now: Timestamp) -> Option<Verdict<Principal>> {
    let Some(row) = row else { return Some(Verdict::Unknown) };
    let (owner, expires_at) = (Owner::User(UserId(row.owner_id)), Timestamp(row.expires_at));
    if row.revoked_at.is_some() {
        return Some(Verdict::Revoked);
    }
    if now >= expires_at {
        return Some(Verdict::Expired(Some(Stored { owner, expires_at }.into())));
    }
    if !row.is_owner_known {
        return None;
    }
    let stored = || Some(Stored { owner, expires_at }.into());
    if row.key_disabled_at.is_some() {
        return Some(Verdict::Disabled(stored()));
    }
    if row.disabled_at.is_some() {
        return Some(Verdict::Inactive(stored()));
    }
    let (id, name, lineage) = (KeyId(row.id), row.name.as_str().into(), KeyId(row.lineage));
    let detail = Detail::Key(KeyDetail { id, owner, name, lineage });
    Some(Verdict::Valid(Principal { expires_at, detail, grants: Arc::new(row.grants.clone()) }))
}
