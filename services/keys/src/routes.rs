//! What the service answers: one line a subject.

use std::sync::Arc;

use latchkey_authority::Authority;
use latchkey_bus::{Context, Routes, with};
use latchkey_contract::Failure;
use latchkey_contract::audit::ListEvents;
use latchkey_contract::authority::{Join, Leave, Renew};
use latchkey_contract::keys::{
    FindKeys, GetKey, IssueKey, IssueKeys, KeysAuthority, ListKeys, LookUpKeys, PurgeKey,
    ReadTelling, Ready, RecordUses, RevokeKey, RevokeKeys, RevokeShown, RotateKey,
    SetDefaultCeiling, SetKeyEnabled, SetOwner, TellOwners, UpdateKey, VerifyKeys,
};

use crate::{
    Keys, NAME, audit, change, get, issue, list, lookup, owner, purge, revoke, revoke_many, rotate,
    usage, verify,
};

pub(crate) fn of(keys: &Arc<Keys>) -> Routes {
    Routes::new(NAME, env!("CARGO_PKG_VERSION"), "Issue, list, revoke and verify API keys")
        .keeping(keys.config.audit.ip)
        .on::<IssueKey, _, _>(with(keys, issue::issue))
        .on::<GetKey, _, _>(with(keys, get::get))
        .on::<IssueKeys, _, _>(with(keys, issue::issue_many))
        .on::<LookUpKeys, _, _>(with(keys, lookup::look_up))
        .on::<FindKeys, _, _>(with(keys, lookup::find))
        .on::<UpdateKey, _, _>(with(keys, change::update))
        .on::<SetKeyEnabled, _, _>(with(keys, change::set_enabled))
        .on::<PurgeKey, _, _>(with(keys, purge::purge))
        .on::<ListKeys, _, _>(with(keys, list::list))
        .on::<ListEvents<KeysAuthority>, _, _>(with(keys, audit::list))
        .on::<RevokeKey, _, _>(with(keys, revoke::revoke))
        .on::<RevokeShown, _, _>(with(keys, revoke::revoke_shown))
        .on::<RevokeKeys, _, _>(with(keys, revoke_many::revoke))
        .on::<RotateKey, _, _>(with(keys, rotate::rotate))
        .on::<VerifyKeys, _, _>(with(keys, verify::keys))
        .on::<RecordUses, _, _>(with(keys, usage::record))
        .on::<SetOwner, _, _>(with(keys, owner::set))
        .on::<SetDefaultCeiling, _, _>(with(keys, owner::set_default))
        .on::<ReadTelling, _, _>(with(keys, owner::telling))
        .on::<TellOwners, _, _>(with(keys, owner::tell))
        .on::<Join<KeysAuthority>, _, _>(with(&keys.authority, Authority::join))
        .on::<Renew<KeysAuthority>, _, _>(with(&keys.authority, Authority::renew))
        .on::<Leave<KeysAuthority>, _, _>(with(&keys.authority, Authority::leave))
        .on::<Ready, _, _>(with(keys, ready))
}

async fn ready(keys: Arc<Keys>, _: Context, Ready: Ready) -> Result<(), Failure> {
    Ok(keys.db.check_ready().await?)
}
