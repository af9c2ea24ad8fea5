//! Pins the bytes of messages that changed, by both contracts, and how they become each other.

mod ceilings;

use serde::{Deserialize, Serialize};

use super::*;
use crate::identity::IdentityAuthority;
use crate::keys::{
    ExpiresIn, IssueKey, KeyFilter, KeyPage, KeyState, KeysAuthority, ListKeys, NewKey,
    RevocationReason, RevokeKey,
};
use crate::refusal::Conflict;
use crate::scope::Scopes;
use crate::verify::{Outcome, Verified, VerifiedBatch};
use crate::wire::{self, CONTRACT, Contracts, PREVIOUS, WireError};
use crate::{AllowedIps, Grants, KeyId, Principal, Refusal, Timestamp, UserId, Verdict, Verdicts};

/// Says that `message` has these bytes behind either number, and that both read back as it.
fn pinned<M: Message + PartialEq + std::fmt::Debug>(message: &M, now: &[u8], before: &[u8]) {
    for (contract, body) in [(CONTRACT, now), (PREVIOUS, before)] {
        let bytes = wire::encode(message, contract).unwrap();
        assert_eq!(bytes, [&contract.to_le_bytes(), body].concat());
        assert_eq!(wire::decode::<M>(&bytes, Contracts::OWN).unwrap(), (contract, message.clone()));
    }
}

/// A message as it might change: `limit` restricts, `note` does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    id: u32,
    limit: Option<u32>,
    note: String,
}

#[derive(Serialize, Deserialize)]
struct GrantBefore {
    id: u32,
}

impl Message for Grant {
    type Previous = GrantBefore;

    fn into_previous(self) -> Result<GrantBefore, Untranslatable> {
        if self.limit.is_some() {
            return Err(Untranslatable("a limit"));
        }
        Ok(GrantBefore { id: self.id })
    }

    fn from_previous(previous: GrantBefore) -> Result<Self, Untranslatable> {
        if previous.id == 0 {
            return Err(Untranslatable("id 0"));
        }
        Ok(Self { id: previous.id, ..Self::default() })
    }
}

#[test]
fn a_changed_message_is_written_and_read_by_either_contract() {
    let grant = Grant { id: 7, ..Grant::default() };
    pinned(&grant, &[7, 0, 0], &[7]);
    let reply: Result<MemberResult<Vec<Grant>>, Refusal> =
        Ok(MemberResult::Member(vec![grant.clone()]));
    pinned(&reply, &[0, 1, 1, 7, 0, 0], &[0, 1, 1, 7]);
    pinned(&Some(vec![grant]), &[1, 1, 7, 0, 0], &[1, 1, 7]);
    let refusal: Result<(), Refusal> = Err(Refusal::KeyNotFound);
    pinned(&refusal, &[1, 5], &[1, 5]);
    let late: Result<(), Refusal> = Err(Refusal::Stale);
    pinned(&late, &[1, 9], &[1, 9]);
}

#[test]
fn what_the_contract_before_cannot_say_is_an_error_and_never_left_out() {
    let limited = Grant { id: 7, limit: Some(1), note: String::new() };
    assert!(wire::encode(&limited, CONTRACT).is_ok());
    let all: Result<_, Refusal> = Ok(MemberResult::Member(vec![limited]));
    let error = wire::encode(&all, PREVIOUS).unwrap_err();
    assert!(matches!(error, WireError::Untranslatable(Untranslatable("a limit"))), "{error}");
    let meaningless = [PREVIOUS.to_le_bytes().as_slice(), &[0]].concat();
    let error = wire::decode::<Grant>(&meaningless, Contracts::OWN).unwrap_err();
    assert!(matches!(error, WireError::Untranslatable(Untranslatable("id 0"))), "{error}");
}

#[test]
fn what_is_left_out_is_what_the_other_side_need_not_know() {
    let noted = Grant { id: 7, limit: None, note: "n".into() };
    assert_eq!(wire::encode(&noted, PREVIOUS).unwrap(), [2, 0, 7]);
}

fn refused<M: Message>(message: &M) {
    assert!(wire::encode(message, CONTRACT).is_ok());
    assert!(matches!(wire::encode(message, PREVIOUS), Err(WireError::Untranslatable(_))));
}

fn before<M: Message>(body: &[u8]) -> M {
    let bytes = [&PREVIOUS.to_le_bytes()[..], body].concat();
    wire::decode(&bytes, Contracts::OWN).unwrap().1
}

fn idempotency() -> crate::Idempotency {
    crate::Idempotency {
        key: crate::IdempotencyKey::parse("0123456789abcdef").unwrap(),
        route: crate::IdempotentRoute::Create,
        request: crate::RequestDigest([7; 32]),
    }
}

fn snapshot() -> crate::lease::ReadAt {
    let epoch = crate::lease::Epoch { made: 1, timeline: 2 };
    crate::lease::ReadAt { epoch, revision: crate::lease::Revision(3) }
}

fn key(grants: Grants) -> Principal {
    let owner = crate::Owner::User(UserId(300));
    let key = crate::KeyDetail { id: KeyId(1), owner, name: "ci".into(), lineage: KeyId(1) };
    Principal { expires_at: Timestamp(-1), detail: crate::Detail::Key(key), grants: grants.into() }
}

fn user(is_narrowed: bool) -> Principal {
    let user = crate::UserDetail {
        id: UserId(7),
        username: "ada".into(),
        email: "a@b.c".into(),
        session: crate::SessionId([9; 16]),
        is_original: true,
        is_narrowed,
    };
    let detail = crate::Detail::User(user.into());
    Principal { expires_at: Timestamp(-1), detail, grants: Grants::everything().into() }
}

/// What the bytes of a verdict stand behind: a snapshot, and that there is one verdict.
const ONE: [u8; 4] = [2, 4, 6, 1];

#[test]
fn a_principal_is_told_to_the_release_before_without_its_grants() {
    let keys =
        |principal| Verdicts::<KeysAuthority>::new(snapshot(), vec![Verdict::Valid(principal)]);
    let named = [1, 0, 1, 1, 2, 0, 251, 88, 2, 2, b'c', b'i'];
    // Its lineage; its scopes, no environment, no addresses, no metadata, no external id.
    let grants = [2, 1, b'*', 0, 0, 0, 0];
    pinned(
        &keys(key(Grants::everything())),
        &[&ONE[..], &named, &grants].concat(),
        &[&ONE[..], &named].concat(),
    );
    let tokens =
        |principal| Verdicts::<IdentityAuthority>::new(snapshot(), vec![Verdict::Valid(principal)]);
    let named = [&[1, 0, 1, 0, 14, 3][..], b"ada", &[5], b"a@b.c", &[9; 16], &[1]].concat();
    let grants = [0, 1, b'*', 0, 0, 0, 0];
    pinned(
        &tokens(user(false)),
        &[&ONE[..], &named, &grants].concat(),
        &[&ONE[..], &named].concat(),
    );
}

#[test]
fn a_restriction_is_never_left_out() {
    let keys =
        |grants| Verdicts::<KeysAuthority>::new(snapshot(), vec![Verdict::Valid(key(grants))]);
    let unsaid = |verdicts: &Verdicts<KeysAuthority>| {
        let bytes = wire::encode(verdicts, PREVIOUS).unwrap();
        let (_, read) = wire::decode::<Verdicts<KeysAuthority>>(&bytes, Contracts::OWN).unwrap();
        assert_eq!(read.verdicts, [None], "whoever asked for it is told that nobody could say");
    };
    unsaid(&keys(Grants::default()));
    let part = Grants { scopes: Scopes::of(["orders:*"]).unwrap(), ..Grants::default() };
    unsaid(&keys(part));
    let allowed_ips = AllowedIps::of(["10.0.0.0/8"]).unwrap();
    unsaid(&keys(Grants { allowed_ips, ..Grants::everything() }));
    let mixed = vec![Verdict::Revoked, Verdict::Valid(key(Grants::default()))];
    let mixed = Verdicts::<KeysAuthority>::new(snapshot(), mixed);
    let bytes = wire::encode(&mixed, PREVIOUS).unwrap();
    let (_, read) = wire::decode::<Verdicts<KeysAuthority>>(&bytes, Contracts::OWN).unwrap();
    assert_eq!(read.verdicts, [Some(Verdict::Revoked), None]);
    let narrowed = vec![Verdict::Valid(user(true))];
    let narrowed = Verdicts::<IdentityAuthority>::new(snapshot(), narrowed);
    let bytes = wire::encode(&narrowed, PREVIOUS).unwrap();
    let (_, read) = wire::decode::<Verdicts<IdentityAuthority>>(&bytes, Contracts::OWN).unwrap();
    assert_eq!(read.verdicts, [None]);

    let (owner, seed) = (UserId(7), Some(crate::Secret::new("seed".into())));
    let issue =
        |narrowed, key| IssueKey { owner, narrowed, key, seed: seed.clone(), idempotency: None };
    let plain = NewKey { name: Some("ci".into()), ..NewKey::default() };
    let bytes = wire::encode(&issue(None, plain.clone()), PREVIOUS).unwrap();
    assert_eq!(bytes, [&[2, 0, 14, 1, 2, b'c', b'i', 0, 1, 4][..], b"seed"].concat());
    let read: IssueKey = before(&bytes[2..]);
    assert_eq!((read.key, read.narrowed), (plain.clone(), None));
    refused(&issue(Some(Scopes::everything()), plain.clone()));
    refused(&IssueKey { idempotency: Some(idempotency()), ..issue(None, plain.clone()) });
    for (restricted, what) in [
        (NewKey { scopes: Some(Scopes::everything()), ..plain.clone() }, "scopes"),
        (NewKey { allowed_ips: Some(AllowedIps::default()), ..plain.clone() }, "allowed_ips"),
        (NewKey { environment: Some("live".into()), ..plain.clone() }, "environment"),
        (NewKey { tags: vec!["a".into()], ..plain.clone() }, "tags"),
        (NewKey { expires_in: ExpiresIn::At(Timestamp(1)), ..plain }, "expires_at"),
    ] {
        let message = issue(None, restricted);
        assert!(wire::encode(&message, PREVIOUS).is_err(), "{what}");
    }
}

#[test]
fn verdicts_that_are_new_are_told_as_the_nearest_refusal() {
    let owner = crate::Owner::User(UserId(300));
    let stored = Some(Box::new(crate::Stored { owner, expires_at: Timestamp(-1) }));
    let of = |verdict| Verdicts::<KeysAuthority>::new(snapshot(), vec![verdict]);
    let body = [0, 251, 88, 2, 1];
    for (verdict, now, was) in [
        (Verdict::Expired(stored.clone()), 4, 4),
        (Verdict::Inactive(stored.clone()), 5, 5),
        (Verdict::Disabled(stored), 6, 5),
    ] {
        let bytes = |number, contract: u16| {
            [&contract.to_le_bytes()[..], &ONE, &[1, number, 1], &body].concat()
        };
        assert_eq!(wire::encode(&of(verdict.clone()), CONTRACT).unwrap(), bytes(now, CONTRACT));
        assert_eq!(wire::encode(&of(verdict), PREVIOUS).unwrap(), bytes(was, PREVIOUS));
    }
    let verified = Verified { outcome: Outcome::Disabled, principal: None, denied: None };
    let batch = VerifiedBatch { results: vec![verified.clone()] };
    assert_eq!(wire::encode(&batch, PREVIOUS).unwrap(), [2, 0, 1, 5, 0]);
    assert_eq!(wire::encode(&verified, PREVIOUS).unwrap(), [2, 0, 5, 0]);
    assert_eq!(before::<Verified>(&[5, 0]).outcome, Outcome::Inactive);
    for outcome in [
        Outcome::WrongKind,
        Outcome::WrongEnvironment,
        Outcome::IpDenied,
        Outcome::InsufficientScope,
    ] {
        let denied = Verified::denied(outcome, &key(Grants::everything()));
        assert_eq!(wire::encode(&denied, PREVIOUS).unwrap(), [2, 0, 5, 0]);
    }
    for refusal in [
        Refusal::UsersOnly,
        Refusal::IdempotencyMismatch,
        Refusal::IpDenied,
        Refusal::Conflict(Conflict::Revoked),
        Refusal::InsufficientScope { required: vec!["a".into()] },
    ] {
        refused(&Err::<(), _>(refusal));
    }
}

#[test]
fn a_requirement_is_never_left_out_and_what_a_credential_may_do_is_not_needed_without_one() {
    use crate::scope::RequiredScope;
    use crate::verify::{PrincipalKind, Verify, VerifyBatch};

    let credential = || crate::Secret::new("x".into());
    let (one, many) = (Verify::of(credential()), VerifyBatch::of(vec![credential()]));
    pinned(&one, &[1, 1, b'x', 0, 0, 0, 0, 0], &[1, 1, b'x', 0, 0]);
    pinned(&many, &[1, 1, b'x', 0, 0, 0, 0, 0], &[1, 1, b'x', 0, 0]);
    let scope = || Some(RequiredScope(vec!["a".into()]));
    let (kind, environment) = (Some(PrincipalKind::User), || Some("live".to_owned()));
    refused(&Verify { required_scope: scope(), ..one.clone() });
    refused(&Verify { kind, ..one.clone() });
    refused(&Verify { environment: environment(), ..one.clone() });
    refused(&VerifyBatch { required_scope: scope(), ..many.clone() });
    refused(&VerifyBatch { kind, ..many.clone() });
    refused(&VerifyBatch { environment: environment(), ..many });
    // What was refused whatever it was is judged.
    assert_eq!(before::<Verify>(&[1, 1, b'x', 1, 1, b'a', 0]).required_scope, scope());
    assert_eq!(before::<VerifyBatch>(&[1, 1, b'x', 1, 1, b'a', 0]).required_scope, scope());
    // Without its address a client is nowhere, and a key that may be used from some addresses alone is refused.
    let elsewhere = Verify { ip: Some("::1".into()), ..one };
    assert_eq!(wire::encode(&elsewhere, PREVIOUS).unwrap(), [2, 0, 1, 1, b'x', 0, 0]);

    let narrow = Grants { scopes: Scopes::of(["orders:*"]).unwrap(), ..Grants::default() };
    let told = Verified::from(Verdict::Valid(key(narrow)));
    let named = [0, 1, 1, 251, 88, 2, 0, 0, 1, 2, 1, 2, b'c', b'i', 1];
    assert_eq!(wire::encode(&told, PREVIOUS).unwrap(), [&[2, 0][..], &named].concat());
    let read = before::<Verified>(&named).accepted().unwrap();
    assert_eq!((read.scopes, read.lineage_id), (Scopes::everything(), Some(KeyId(1))));
    assert_eq!(read.owner, crate::Owner::User(UserId(300)).into());
}

#[test]
fn a_list_of_every_key_and_a_revoke_are_said_to_the_release_before() {
    let owner = UserId(7);
    let all = ListKeys {
        owner,
        after: Some(KeyId(3)),
        limit: 10,
        newest_first: false,
        filter: KeyFilter::default(),
    };
    assert_eq!(wire::encode(&all, PREVIOUS).unwrap(), [2, 0, 14, 6, 10]);
    assert_eq!(before::<ListKeys>(&[14, 6, 10]), all);
    refused(&ListKeys { newest_first: true, ..all.clone() });
    let filter = KeyFilter { tags: vec!["a".into()], ..KeyFilter::default() };
    refused(&ListKeys { filter, ..all });
    let page: KeyPage = before(&[&[1, 2, 1, b'n', 1, b'h', 2, 4, 1, 0, 1][..]].concat());
    assert_eq!((page.next, page.keys[0].state), (Some(KeyId(1)), KeyState::Revoked));
    let bytes = wire::encode(&page, PREVIOUS).unwrap();
    assert_eq!(bytes, [2, 0, 1, 2, 1, b'n', 1, b'h', 2, 4, 1, 0, 1]);

    let (reason, note) = (RevocationReason::KeyCompromise, Some("on a train".into()));
    let revoke = RevokeKey { owner, key: KeyId(3), wait: true, reason, note, is_self: true };
    assert_eq!(wire::encode(&revoke, PREVIOUS).unwrap(), [2, 0, 14, 6, 1]);
    assert_eq!(before::<RevokeKey>(&[14, 6, 1]).reason, RevocationReason::Unspecified);
}
