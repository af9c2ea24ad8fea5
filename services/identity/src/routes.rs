//! What the service answers: one line a subject.

use std::sync::Arc;

use latchkey_authority::Authority;
use latchkey_bus::{Context, Routes, with};
use latchkey_contract::Failure;
use latchkey_contract::audit::ListEvents;
use latchkey_contract::authority::{Join, Leave, Renew};
use latchkey_contract::identity::{
    ChangePassword, EndSession, FindUser, IdentityAuthority, ListSessions, LogIn, LogOut,
    LogOutAll, NameUser, ReadUser, Ready, Refresh, RevokeToken, SetActive, SetCeiling, SignUp,
    VerifyTokens,
};

use latchkey_contract::signing::{ListSigningKeys, ReadSigningKeys, RevokeSigningKey};

use crate::signer::NotNamed;
use crate::signing::requests;
use crate::{
    Identity, NAME, account, activation, audit, ceiling, change, refresh, revoke, session,
    sessions, verify,
};

pub(crate) fn of(identity: &Arc<Identity>) -> Routes {
    Routes::new(NAME, env!("CARGO_PKG_VERSION"), "Users, logins, sessions and access tokens")
        .keeping(identity.config.audit.ip)
        .on::<SignUp, _, _>(with(identity, account::sign_up))
        .on::<LogIn, _, _>(with(identity, session::log_in))
        .on::<LogOut, _, _>(with(identity, session::log_out))
        .on::<ListSessions, _, _>(with(identity, sessions::list))
        .on::<EndSession, _, _>(with(identity, sessions::end))
        .on::<Refresh, _, _>(with(identity, refresh::refresh))
        .on::<RevokeToken, _, _>(with(identity, revoke::revoke))
        .on::<VerifyTokens, _, _>(with(identity, verify::tokens))
        .on::<LogOutAll, _, _>(with(identity, session::log_out_all))
        .on::<ChangePassword, _, _>(with(identity, change::password))
        .on::<SetActive, _, _>(with(identity, activation::set_active))
        .on::<SetCeiling, _, _>(with(identity, ceiling::set))
        .on::<ReadUser, _, _>(with(identity, activation::read))
        .on::<FindUser, _, _>(with(identity, activation::find))
        .on::<NameUser, _, _>(with(identity, activation::name))
        .on::<ListEvents<IdentityAuthority>, _, _>(with(identity, audit::list))
        .on::<ReadSigningKeys, _, _>(with(identity, requests::published))
        .on::<ListSigningKeys, _, _>(with(identity, requests::list))
        .on::<RevokeSigningKey, _, _>(with(identity, requests::revoke))
        .on::<Join<IdentityAuthority>, _, _>(with(&identity.authority, Authority::join))
        .on::<Renew<IdentityAuthority>, _, _>(with(&identity.authority, Authority::renew))
        .on::<Leave<IdentityAuthority>, _, _>(with(&identity.authority, Authority::leave))
        .on::<Ready, _, _>(with(identity, ready))
}

async fn ready(identity: Arc<Identity>, _: Context, Ready: Ready) -> Result<(), Failure> {
    identity.db.check_ready().await?;
    if identity.named.is() { Ok(()) } else { Err(Failure::Unavailable(Box::new(NotNamed))) }
}
