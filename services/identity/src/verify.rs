//! Who access tokens stand for. Signatures are checked here; sessions are looked up together, as many
//! as have queued up, by one statement, which says besides whose signatures are accepted.

use std::sync::Arc;

use latchkey_authority::MemberKey;
use latchkey_authority::lookup::{LookupAnswer, look_up};
use latchkey_bus::Context;
use latchkey_contract::identity::{IdentityAuthority, VerifyTokens};
use latchkey_contract::lease::MemberResult;
use latchkey_contract::scope::ScopeError;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    CredentialHash, Detail, Failure, FieldError, Grants, Owner, Principal, Refusal, Scopes, Secret,
    SessionId, Stored, Timestamp, UserDetail, UserId, Verdict, Verdicts,
};

use latchkey_store::StoreError;

use crate::Identity;
use crate::fingerprint::Fingerprint;
use crate::signer::NotNamed;
use crate::store::session::SessionRow;
use crate::store::signer::fingerprint;
use crate::token::{Unread, VerifiedClaims};

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
    let looked = look(&identity, &context, &request).await?;
    let verdicts = looked.verdicts(&identity, &request.tokens).collect();
    Ok(looked.found.answer(verdicts))
}

/// What one token says, and what it is worth now. `None`: it is none that is accepted here.
///
/// # Errors
/// Where another process has to say: this one lacks a secret that is accepted.
pub(crate) async fn token(
    identity: &Identity,
    context: &Context,
    token: &Secret,
) -> Result<Option<(VerifiedClaims, Verdict<Principal>)>, Failure> {
    let request = VerifyTokens { tokens: vec![token.clone()], member: None };
    let looked = look(identity, context, &request).await?;
    let Some(verdict) = looked.verdicts(identity, &request.tokens).next().flatten() else {
        return Err(Failure::Unavailable(Box::new(NotNamed)));
    };
    let verified = looked.read.into_iter().next().and_then(Result::ok);
    Ok(verified.map(|verified| (verified, verdict)))
}

/// Tokens as far as they could be read, and what one snapshot says of their sessions and signers.
struct Looked {
    read: Vec<Result<VerifiedClaims, Unread>>,
    found: LookupAnswer<SessionRow>,
    signers: Accepted,
}

impl Looked {
    /// What each is worth now. `None`: it may be good, and whoever holds its signer's secret can say.
    fn verdicts<'a>(
        &'a self,
        identity: &Identity,
        tokens: &'a [Secret],
    ) -> impl Iterator<Item = Option<Verdict<Principal>>> + use<'a> {
        let signers = &self.signers;
        let lacks_one = signers.secrets.iter().any(|signer| !identity.tokens.reads(*signer));
        let (mut sessions, now) = (self.found.rows.iter(), identity.now());
        tokens.iter().zip(&self.read).map(move |(token, verified)| {
            let verified = match verified {
                Ok(verified) => verified,
                Err(Unread::OtherSigner) if lacks_one => return None,
                Err(Unread::OtherKey(key)) if signers.keys.contains(key) => return None,
                Err(_) => return Some(Verdict::Malformed),
            };
            let row = sessions.next().and_then(Option::as_ref);
            Some(if signers.accept(verified.signer) {
                judge(token, verified, row, now)
            } else {
                Verdict::Malformed
            })
        })
    }
}

async fn look(
    identity: &Identity,
    context: &Context,
    request: &VerifyTokens,
) -> Result<Looked, Failure> {
    let mut read = read_all(identity, request);
    let (mut found, mut signers) = find(identity, context, request, &read).await?;
    if read.iter().any(|read| names_unknown(read, &signers)) {
        // The rows name a key that came about since this process looked: then it can say more than that it does not know it.
        identity.tokens.keys().load(&identity.db).await?;
        read = read_all(identity, request);
        (found, signers) = find(identity, context, request, &read).await?;
    }
    Ok(Looked { read, found, signers })
}

/// Whose tokens are accepted, in the snapshot of a verification.
struct Accepted {
    secrets: Vec<Fingerprint>,
    /// By their thumbprints.
    keys: Vec<[u8; 32]>,
}

impl Accepted {
    /// What the facts say: the fingerprint of a secret, or the thumbprint of a key.
    fn of(facts: &[Vec<u8>]) -> Result<Self, StoreError> {
        let (mut secrets, mut keys) = (Vec::new(), Vec::new());
        for fact in facts {
            match fact.as_slice().try_into() {
                Ok(thumbprint) => keys.push(thumbprint),
                Err(_length) => secrets.push(fingerprint(fact)?),
            }
        }
        Ok(Self { secrets, keys })
    }

    fn accept(&self, signer: Fingerprint) -> bool {
        self.secrets.contains(&signer)
            || self.keys.iter().any(|thumbprint| Fingerprint::of_key(thumbprint) == signer)
    }
}

fn read_all(identity: &Identity, request: &VerifyTokens) -> Vec<Result<VerifiedClaims, Unread>> {
    request.tokens.iter().map(|token| identity.tokens.read(token)).collect()
}

/// The sessions of what could be read, and whose tokens are accepted, from one snapshot.
async fn find(
    identity: &Identity,
    context: &Context,
    request: &VerifyTokens,
    read: &[Result<VerifiedClaims, Unread>],
) -> Result<(LookupAnswer<SessionRow>, Accepted), Failure> {
    let asked: Vec<SessionId> = read.iter().flatten().map(|verified| verified.session).collect();
    let member = request.member.map(|id| MemberKey::of(context, id));
    let found = look_up(&identity.sessions, asked, member).await?;
    let accepted = Accepted::of(&found.facts)?;
    Ok((found, accepted))
}

fn names_unknown(read: &Result<VerifiedClaims, Unread>, signers: &Accepted) -> bool {
    matches!(read, Err(Unread::OtherKey(key)) if signers.keys.contains(key))
}

/// What a genuine token is worth at `now`, given its session's row.
fn judge(
    token: &Secret,
    verified: &VerifiedClaims,
    row: Option<&SessionRow>,
    now: Timestamp,
) -> Verdict<Principal> {
    let Some(row) = row.filter(|row| row.user_id == verified.user.0) else {
        return Verdict::Unknown;
    };
    // Sessions that have several tokens are invalidated by their own tag, and those from before their tokens' hashes were
    // kept by owner.
    let is_original = row.max_expires_at.is_some()
        || row.token_hash.as_ref().is_none_or(|own| *own == CredentialHash::of(token.expose()).0);
    if verified.not_before.is_some_and(|start| now < start) {
        return Verdict::Malformed;
    }
    if row.has_ended() {
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
    let Ok(grants) = grants(verified, row) else { return Verdict::Unknown };
    let user = UserDetail {
        id: UserId(row.user_id),
        username: row.username.as_str().into(),
        email: row.email.as_str().into(),
        session: verified.session,
        is_original,
        is_narrowed: row.scope.is_some() || verified.scope.is_some(),
    };
    Verdict::Valid(Principal {
        expires_at,
        detail: Detail::User(user.into()),
        grants: grants.into(),
    })
}

/// What was asked for at the login, and of that for the token, as far as the user may do that now.
fn grants(verified: &VerifiedClaims, row: &SessionRow) -> Result<Grants, ScopeError> {
    // No release that knows ceilings has set one yet.
    let ceiling = row.ceiling.as_deref().map_or_else(|| Ok(Scopes::everything()), Scopes::parse)?;
    let scopes = match &row.scope {
        Some(asked) => Scopes::parse(asked)?.intersection(&ceiling),
        None => ceiling,
    };
    let scopes = match &verified.scope {
        // Mostly the token was narrowed no further.
        Some(of_token) if row.scope.as_deref() != Some(of_token.as_text()) => {
            of_token.intersection(&scopes)
        }
        _ => scopes,
    };
    Ok(Grants { scopes, ..Grants::default() })
}
