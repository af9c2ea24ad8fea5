//! Pins the bytes of messages that changed, by both contracts, and how they become each other.

use serde::{Deserialize, Serialize};

use super::*;
use crate::identity::IdentityAuthority;
use crate::keys::KeysAuthority;
use crate::wire::{self, CONTRACT, Contracts, PREVIOUS, WireError};
use crate::{Refusal, Verdict, Verdicts};

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
    assert_eq!(wire::encode(&noted, PREVIOUS).unwrap(), [1, 0, 7]);
}

#[test]
fn commands_are_told_to_the_release_before_only_where_nothing_is_widened() {
    let user = crate::UserId(7);
    let all = crate::identity::LogOutAll { user, through: 3 };
    assert_eq!(wire::encode(&all, PREVIOUS).unwrap(), [1, 0, 14]);
    let (_, read) =
        wire::decode::<crate::identity::LogOutAll>(&[1, 0, 14], Contracts::OWN).unwrap();
    assert_eq!(read.through, i64::MAX, "it ends what there is");

    let mark = crate::Mark([9; 16]);
    let active = crate::identity::SetActive { user, active: true, version: 1, mark };
    assert!(matches!(wire::encode(&active, PREVIOUS), Err(WireError::Untranslatable(_))));
    let unconditional = [&PREVIOUS.to_le_bytes()[..], &[3, b'a', b'd', b'a', 1]].concat();
    let read = wire::decode::<crate::identity::SetActive>(&unconditional, Contracts::OWN);
    assert!(matches!(read, Err(WireError::Untranslatable(_))));

    for refusal in [Refusal::Stale, Refusal::SessionEnded] {
        let reply: Result<(), Refusal> = Err(refusal);
        assert!(matches!(wire::encode(&reply, PREVIOUS), Err(WireError::Untranslatable(_))));
    }
}

#[test]
fn marks_and_seeds_are_left_out_for_the_release_before() {
    let mark = Some(crate::Mark([9; 16]));
    let username = Some("ada".into());
    let login = crate::identity::LogIn { username, password: None, mark };
    assert_eq!(wire::encode(&login, PREVIOUS).unwrap(), [1, 0, 1, 3, b'a', b'd', b'a', 0]);
    let (owner, name, expires_in) = (crate::UserId(7), None, crate::keys::ExpiresIn::Default);
    let seed = Some(crate::Secret::new("seed".into()));
    let issue = crate::keys::IssueKey { owner, name, expires_in, seed };
    assert_eq!(wire::encode(&issue, PREVIOUS).unwrap(), [1, 0, 14, 0, 0]);
}

#[test]
fn a_login_without_a_mark_is_the_same_to_both_releases() {
    let (username, password) = (Some("ada".into()), Some(crate::Secret::new("pw".into())));
    let login = crate::identity::LogIn { username, password, mark: None };
    let before = [1, 3, b'a', b'd', b'a', 1, 2, b'p', b'w'];
    pinned(&login, &[&before[..], &[0]].concat(), &before);
}

#[test]
fn a_change_of_password_names_neither_user_nor_session_and_is_not_told_to_the_release_before() {
    let mark = crate::Mark([9; 16]);
    let (current_password, new_password) = (None, Some(crate::Secret::new("pw".into())));
    let change =
        crate::identity::ChangePassword { version: 3, mark, current_password, new_password };
    let bytes = wire::encode(&change, CONTRACT).unwrap();
    assert_eq!(bytes, [&[2, 0, 6][..], &[9; 16], &[0, 1, 2, b'p', b'w']].concat());
    let (_, read) =
        wire::decode::<crate::identity::ChangePassword>(&bytes, Contracts::OWN).unwrap();
    assert_eq!(read, change);
    assert!(matches!(wire::encode(&change, PREVIOUS), Err(WireError::Untranslatable(_))));
    // As the release before writes it: user 7, a session, no password and no other.
    let before = [&PREVIOUS.to_le_bytes()[..], &[14], &[9; 16], &[0, 0]].concat();
    let read = wire::decode::<crate::identity::ChangePassword>(&before, Contracts::OWN);
    assert!(matches!(read, Err(WireError::Untranslatable(_))), "{read:?}");
}

fn snapshot() -> crate::lease::ReadAt {
    let epoch = crate::lease::Epoch { made: 1, timeline: 2 };
    crate::lease::ReadAt { epoch, revision: crate::lease::Revision(3) }
}

#[test]
fn a_principal_is_told_to_the_release_before_in_the_form_of_its_kind() {
    let expires_at = crate::Timestamp(-1);
    let owner = crate::Owner::User(crate::UserId(300));
    let key = crate::KeyDetail { id: crate::KeyId(1), owner, name: "ci".into() };
    let key = crate::Principal { expires_at, detail: crate::Detail::Key(key) };
    let verdicts = vec![Verdict::Valid(key.clone()), Verdict::Revoked];
    let keys = Verdicts::<KeysAuthority>::new(snapshot(), verdicts);
    let now = [2, 4, 6, 2, 1, 0, 1, 1, 2, 0, 251, 88, 2, 2, b'c', b'i', 1, 3];
    let before = [2, 4, 6, 2, 0, 2, 2, b'c', b'i', 251, 88, 2, 1, 3];
    pinned(&keys, &now, &before);

    let user = crate::UserDetail {
        id: crate::UserId(7),
        username: "ada".into(),
        email: "a@b.c".into(),
        session: crate::SessionId([9; 16]),
        is_original: true,
    };
    let user = crate::Principal { expires_at, detail: crate::Detail::User(user.into()) };
    let tokens = Verdicts::<IdentityAuthority>::new(snapshot(), vec![Verdict::Valid(user)]);
    let names = [14, 3, b'a', b'd', b'a', 5, b'a', b'@', b'b', b'.', b'c'];
    let now = [&[2, 4, 6, 1, 1, 0, 1, 0][..], &names, &[9; 16], &[1]].concat();
    let before = [&[2, 4, 6, 1, 0][..], &names, &[9; 16], &[1, 1]].concat();
    pinned(&tokens, &now, &before);

    let in_part = vec![Some(Verdict::Revoked), None];
    let in_part = Verdicts::<IdentityAuthority>::in_part(snapshot(), in_part);
    let bytes = wire::encode(&in_part, CONTRACT).unwrap();
    assert_eq!(bytes, [&CONTRACT.to_le_bytes()[..], &[2, 4, 6, 2, 1, 3, 0]].concat());
    assert!(matches!(wire::encode(&in_part, PREVIOUS), Err(WireError::Untranslatable(_))));

    let wrong = Verdicts::<IdentityAuthority>::new(snapshot(), vec![Verdict::Valid(key)]);
    assert!(wire::encode(&wrong, CONTRACT).is_ok());
    assert!(matches!(wire::encode(&wrong, PREVIOUS), Err(WireError::Untranslatable(_))));
}

#[test]
fn the_release_before_is_not_told_what_a_refusal_depends_on() {
    let owner = crate::Owner::User(crate::UserId(300));
    let stored = Some(Box::new(crate::Stored { owner, expires_at: crate::Timestamp(-1) }));
    let verdicts = vec![Verdict::Expired(stored.clone()), Verdict::Inactive(stored)];
    let keys = Verdicts::<KeysAuthority>::new(snapshot(), verdicts);
    let now = [2, 0, 2, 4, 6, 2, 1, 4, 1, 0, 251, 88, 2, 1, 1, 5, 1, 0, 251, 88, 2, 1];
    assert_eq!(wire::encode(&keys, CONTRACT).unwrap(), now);
    let before = wire::encode(&keys, PREVIOUS).unwrap();
    assert_eq!(before, [1, 0, 2, 4, 6, 2, 4, 5]);
    let (_, read) = wire::decode::<Verdicts<KeysAuthority>>(&before, Contracts::OWN).unwrap();
    let meant = [Verdict::Expired(None), Verdict::Inactive(None)].map(Some);
    assert_eq!(read.verdicts, meant);
}
