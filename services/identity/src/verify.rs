//! Who access tokens stand for. Signatures are checked here; sessions are looked up together, as many
//! as have queued up, by one statement, which says besides whose signatures are accepted.

use std::sync::Arc;

use latchkey_authority::MemberKey;
use latchkey_authority::lookup::look_up;
use latchkey_bus::Context;
use latchkey_contract::identity::{IdentityAuthority, VerifyTokens};
use latchkey_contract::lease::MemberResult;
use latchkey_contract::scope::ScopeError;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    CredentialHash, Detail, Failure, FieldError, Grants, Owner, Principal, Refusal, Scopes, Secret,
    SessionId, Stored, Timestamp, UserDetail, UserId, Verdict, Verdicts,
};

use crate::Identity;
use crate::store::session::SessionRow;
use crate::store::signer::fingerprint;
use crate::token::{Fingerprint, Unread, VerifiedClaims};

/// Answers one request's tokens, from one snapshot of the database.
pub(crate) async fn tokens(
    identity: Arc<Identity>,
    context: Context,
    request: VerifyTokens,
) -> Result<MemberResult<Verdicts<IdentityAuthority>>, Failure> {
    if request.tokens.len() > MAX_BATCH {
        let fault = FieldError::new("tokens", format!("must be at most {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let read: Vec<Result<VerifiedClaims, Unread>> =
        request.tokens.iter().map(|token| identity.tokens.read(token)).collect();
    let asked: Vec<SessionId> = read.iter().flatten().map(|verified| verified.session).collect();
    let member = request.member.map(|id| MemberKey::of(&context, id));
    let found = look_up(&identity.sessions, asked, member).await?;
    let signers: Vec<Fingerprint> =
        found.facts.iter().map(|fact| fingerprint(fact)).collect::<Result<_, _>>()?;
    let lacks_one = signers.iter().any(|signer| !identity.tokens.reads(*signer));
    let (mut sessions, now) = (found.rows.iter(), identity.now());
    let judged = request.tokens.iter().zip(read).map(|(token, verified)| {
        let verified = match verified {
            Ok(verified) => verified,
            // It may be good: whoever holds that secret can say.
            Err(Unread::OtherSigner) if lacks_one => return None,
            Err(Unread::OtherSigner | Unread::Invalid) => return Some(Verdict::Malformed),
        };
        let row = sessions.next().and_then(Option::as_ref);
        Some(if signers.contains(&verified.signer) {
            judge(token, verified, row, now)
        } else {
            Verdict::Malformed
        })
    });
    let verdicts = judged.collect();
    Ok(found.answer(verdicts))
}

/// What a genuine token is worth at `now`, given its session's row.
fn judge(
    token: &Secret,
    verified: VerifiedClaims,
    row: Option<&SessionRow>,
    now: Timestamp,
) -> Verdict<Principal> {
    let Some(row) = row.filter(|row| row.user_id == verified.user.0) else {
        return Verdict::Unknown;
    };
    // Sessions from before their tokens' hashes were kept are invalidated by owner.
    let hash = CredentialHash::of(token.expose());
    let is_original = row.token_hash.as_ref().is_none_or(|own| *own == hash.0);
    if verified.not_before.is_some_and(|start| now < start) {
        return Verdict::Malformed;
    }
    if row.ended_at.is_some() {
        return Verdict::Revoked;
    }
    let expires_at = verified.expires_at.min(Timestamp(row.expires_at));
    let owner = Owner::User(UserId(row.user_id));
    if now >= expires_at {
        return Verdict::Expired(Some(Stored { owner, expires_at }.into()));
    }
    if !row.is_active {
        return Verdict::Inactive(Some(Stored { owner, expires_at }.into()));
    }
    let Ok(grants) = grants(row) else { return Verdict::Unknown };
    let user = UserDetail {
        id: UserId(row.user_id),
        username: row.username.as_str().into(),
        email: row.email.as_str().into(),
        session: verified.session,
        is_original,
        is_narrowed: row.scope.is_some(),
    };
    Verdict::Valid(Principal {
        expires_at,
        detail: Detail::User(user.into()),
        grants: grants.into(),
    })
}

/// What was asked for at the login, as far as the user may do that now.
fn grants(row: &SessionRow) -> Result<Grants, ScopeError> {
    // No release that knows ceilings has set one yet.
    let ceiling = row.ceiling.as_deref().map_or_else(|| Ok(Scopes::everything()), Scopes::parse)?;
    let scopes = match &row.scope {
        Some(asked) => Scopes::parse(asked)?.intersection(&ceiling),
        None => ceiling,
    };
    Ok(Grants { scopes, ..Grants::default() })
}
