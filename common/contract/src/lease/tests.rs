//! Pins the bytes of these messages, and shows that the largest fits.

use super::*;
use crate::authority::{Invalidating, Join, Leave, Renew, WaiterId};
use crate::credential::CredentialHash;
use crate::identity::IdentityAuthority;
use crate::ids::UserId;
use crate::keys::KeysAuthority;
use crate::wire::{self, CONTRACT, Contracts, MAX_MESSAGE, PREVIOUS};

const MEMBER: MemberId = MemberId([7; 16]);
const EPOCH: Epoch = Epoch { made: 1, timeline: 2 };

/// What stands behind the contract number.
fn body<T: crate::message::Message>(value: &T) -> Vec<u8> {
    let bytes = wire::encode(value, CONTRACT).unwrap();
    assert_eq!(bytes[..2], CONTRACT.to_le_bytes());
    bytes[2..].to_vec()
}

fn invalidating(tag: Tag<CredentialHash>) -> Invalidating {
    let change = Invalidation { revision: Revision(3), tag };
    Invalidating { invalidate: Invalidate { epoch: EPOCH, change }, waiter: WaiterId([8; 8]) }
}

/// What this release reads of a change whose tag is written so.
fn read(tag: &[u8]) -> Result<Tag<CredentialHash>, crate::wire::WireError> {
    let bytes = [&CONTRACT.to_le_bytes(), &[2, 4, 6][..], tag, &[8; 8]].concat();
    let (_, read) = wire::decode::<Invalidating>(&bytes, Contracts::OWN)?;
    Ok(read.invalidate.change.tag)
}

#[test]
fn a_kind_of_tag_that_is_not_known_is_read_as_such_and_so_is_a_name_that_is_none() {
    let owner = Tag::Shared(SharedTag::Owner(Owner::User(UserId(-2))));
    let session = Tag::of_session(SessionId([4; 16]));
    for tag in [Tag::Credential(CredentialHash([9; 32])), owner, session, Tag::All] {
        let bytes = body(&invalidating(tag));
        assert_eq!(read(&bytes[3..bytes.len() - 8]).unwrap(), tag);
    }
    assert_eq!(read(&[3, 0]).unwrap(), Tag::Unknown(3));
    assert_eq!(read(&[251, 255, 255, 2, 1, 2]).unwrap(), Tag::Unknown(u16::MAX));
    for (kind, name) in [(0_u8, 31), (0, 33), (0, 0), (1, 7), (1, 0), (2, 1)] {
        let bytes = [vec![kind, name], vec![0; usize::from(name)]].concat();
        assert_eq!(read(&bytes).unwrap(), Tag::Unknown(u16::from(kind)), "{kind} {name}");
    }
    assert!(read(&[3, 9, 1]).is_err(), "cut off");
    let unknown = body(&invalidating(Tag::Unknown(7)));
    assert_eq!(unknown, body(&invalidating(Tag::All)), "it is passed on as everything");
}

#[test]
fn the_release_before_is_told_every_tag_in_the_same_bytes() {
    let owner = Tag::Shared(SharedTag::Owner(Owner::User(UserId(5))));
    let session = Tag::of_session(SessionId([4; 16]));
    for tag in [Tag::Credential(CredentialHash([9; 32])), owner, session, Tag::All] {
        let before = wire::encode(&invalidating(tag), PREVIOUS).unwrap();
        assert_eq!(before, [&PREVIOUS.to_le_bytes()[..], &body(&invalidating(tag))].concat());
        let (_, read) = wire::decode::<Invalidating>(&before, Contracts::OWN).unwrap();
        assert_eq!(read, invalidating(tag));
    }
}

/// Changes in one renewal at most; `latchkey_revocation::authority::MAX_MISSED`.
const MAX_MISSED: usize = 1_000;

#[test]
fn the_bytes_of_the_lease_protocol_never_change() {
    let id = &[7; 16][..];
    let join = Join::<KeysAuthority>::new(MEMBER, 2);
    assert_eq!(body(&join), [id, &[2]].concat());
    let renew = Renew::<IdentityAuthority>::new(MEMBER, Revision(3));
    assert_eq!(body(&renew), [id, &[6]].concat());
    assert_eq!(body(&Leave::<KeysAuthority>::new(MEMBER)), id);
    let acknowledge = Acknowledge { member: MEMBER, epoch: EPOCH, revision: Revision(3) };
    assert_eq!(body(&acknowledge), [id, &[2, 4, 6]].concat());
    let joined = Joined { epoch: EPOCH, revision: Revision(3) };
    assert_eq!(body(&joined), [2, 4, 6]);

    let by_key = body(&invalidating(Tag::Credential(CredentialHash([9; 32]))));
    assert_eq!(by_key, [&[2, 4, 6, 0, 32], &[9; 32][..], &[8; 8][..]].concat());
    let owner = Tag::Shared(SharedTag::Owner(Owner::User(UserId(5))));
    let by_owner = body(&invalidating(owner));
    assert_eq!(by_owner, [&[2, 4, 6, 1, 8, 5, 0, 0, 0, 0, 0, 0, 0][..], &[8; 8]].concat());
    let by_session = body(&invalidating(Tag::of_session(SessionId([4; 16]))));
    assert_eq!(by_session, [&[2, 4, 6, 3, 16], &[4; 16][..], &[8; 8]].concat());
    let of_all = body(&invalidating(Tag::All));
    assert_eq!(of_all, [&[2, 4, 6, 2, 0][..], &[8; 8]].concat());

    let change = Invalidation { revision: Revision(3), tag: owner };
    let these =
        Renewed { epoch: EPOCH, revision: Revision(3), missed: Missed::These(vec![change]) };
    let bytes = body(&MemberResult::Member(these));
    assert_eq!(bytes, [1, 2, 4, 6, 0, 1, 6, 1, 8, 5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(body(&MemberResult::<()>::NotMember), [0]);
}

#[test]
fn the_fullest_renewal_fits_a_message() {
    let change = Invalidation {
        revision: Revision(i64::MAX),
        tag: Tag::Credential(CredentialHash([255; 32])),
    };
    let missed = Missed::These(vec![change; MAX_MISSED]);
    let renewed = Renewed { epoch: EPOCH, revision: Revision(i64::MAX), missed };
    assert!(body(&MemberResult::Member(renewed)).len() + 2 <= MAX_MESSAGE);
}
