//! What the service answers: one line a subject.

use std::future::Future;
use std::sync::Arc;

use latchkey_authority::Authority;
use latchkey_bus::{Context, Routes};
use latchkey_contract::authority::{Join, KeysAuthority, Leave, Renew};
use latchkey_contract::keys::{
    IssueKey, ListKeys, ReadTelling, Ready, RecordUses, RevokeKey, SetOwner, TellOwners, VerifyKeys,
};
use latchkey_contract::{Failure, Rpc};

use crate::{Keys, NAME, issue, list, owner, revoke, usage, verify};

pub(crate) fn of(keys: &Arc<Keys>) -> Routes {
    Routes::new(NAME, env!("CARGO_PKG_VERSION"), "Issue, list, revoke and verify API keys")
        .on::<IssueKey, _, _>(with(keys, issue::issue))
        .on::<ListKeys, _, _>(with(keys, list::list))
        .on::<RevokeKey, _, _>(with(keys, revoke::revoke))
        .on::<VerifyKeys, _, _>(with(keys, verify::keys))
        .on::<RecordUses, _, _>(with(keys, usage::record))
        .on::<SetOwner, _, _>(with(keys, owner::set))
        .on::<ReadTelling, _, _>(with(keys, owner::telling))
        .on::<TellOwners, _, _>(with(keys, owner::tell))
        .on::<Join<KeysAuthority>, _, _>(lease(keys, Authority::on_join))
        .on::<Renew<KeysAuthority>, _, _>(lease(keys, Authority::on_renew))
        .on::<Leave<KeysAuthority>, _, _>(lease(keys, Authority::on_leave))
        .on::<Ready, _, _>(with(keys, ready))
}

/// Gives a handler the service's shared state.
fn with<R, F, Fut>(
    keys: &Arc<Keys>,
    handler: F,
) -> impl Fn(Context, R) -> Fut + Clone + Send + Sync + 'static
where
    R: Rpc,
    F: Fn(Arc<Keys>, Context, R) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Reply, Failure>>,
{
    let keys = Arc::clone(keys);
    move |context, request| handler(Arc::clone(&keys), context, request)
}

/// Gives a handler of leases the authority.
fn lease<R, F, Fut>(
    keys: &Arc<Keys>,
    handler: F,
) -> impl Fn(Context, R) -> Fut + Clone + Send + Sync + 'static
where
    R: Rpc,
    F: Fn(Arc<Authority<KeysAuthority>>, Context, R) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Reply, Failure>>,
{
    let authority = Arc::clone(&keys.authority);
    move |context, request| handler(Arc::clone(&authority), context, request)
}

async fn ready(keys: Arc<Keys>, _: Context, Ready: Ready) -> Result<(), Failure> {
    Ok(keys.db.check_ready().await?)
}
