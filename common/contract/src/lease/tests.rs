//! Pins the bytes of these messages, and shows that the largest fits.

use super::*;
use crate::authority::{
    IdentityAuthority, Invalidating, Join, KeysAuthority, Leave, Renew, WaiterId,
};
use crate::credential::CredentialHash;
use crate::wire::{self, MAX_MESSAGE};

const MEMBER: MemberId = MemberId([7; 16]);
const EPOCH: Epoch = Epoch { made: 1, timeline: 2 };

/// Changes in one renewal at most; `latchkey_revocation::authority::MAX_MISSED`.
const MAX_MISSED: usize = 1_000;

#[test]
fn the_bytes_of_the_lease_protocol_never_change() {
    let id = &[7; 16][..];
    let join = Join::<KeysAuthority>::new(MEMBER, 2);
    assert_eq!(wire::encode(&join).unwrap(), [id, &[2]].concat());
    let renew = Renew::<IdentityAuthority>::new(MEMBER, Position(3));
    assert_eq!(wire::encode(&renew).unwrap(), [id, &[6]].concat());
    assert_eq!(wire::encode(&Leave::<KeysAuthority>::new(MEMBER)).unwrap(), id);
    let acknowledge = Acknowledge { member: MEMBER, epoch: EPOCH, position: Position(3) };
    assert_eq!(wire::encode(&acknowledge).unwrap(), [id, &[2, 4, 6]].concat());
    let joined = Joined { epoch: EPOCH, position: Position(3) };
    assert_eq!(wire::encode(&joined).unwrap(), [2, 4, 6]);

    let key = Subject::Credential(CredentialHash([9; 32]));
    let by_key =
        Invalidate { epoch: EPOCH, change: Invalidation { position: Position(3), subject: key } };
    assert_eq!(wire::encode(&by_key).unwrap(), [&[2, 4, 6, 0], &[9; 32][..]].concat());
    let invalidating = Invalidating { invalidate: by_key, waiter: WaiterId([8; 8]) };
    let bytes = [&[2, 4, 6, 0], &[9; 32][..], &[8; 8][..]].concat();
    assert_eq!(wire::encode(&invalidating).unwrap(), bytes);
    let owner: Subject<CredentialHash> = Subject::Owner(UserId(5));
    let change = Invalidation { position: Position(3), subject: owner };
    assert_eq!(wire::encode(&Invalidate { epoch: EPOCH, change }).unwrap(), [2, 4, 6, 1, 10]);

    let these =
        Renewed { epoch: EPOCH, position: Position(3), missed: Missed::These(vec![change]) };
    let bytes = wire::encode(&Standing::Member(these)).unwrap();
    assert_eq!(bytes, [1, 2, 4, 6, 0, 1, 6, 1, 10]);
    assert_eq!(wire::encode(&Standing::<()>::NotMember).unwrap(), [0]);
}

#[test]
fn the_fullest_renewal_fits_a_message() {
    let change = Invalidation {
        position: Position(i64::MAX),
        subject: Subject::Credential(CredentialHash([255; 32])),
    };
    let missed = Missed::These(vec![change; MAX_MISSED]);
    let renewed = Renewed { epoch: EPOCH, position: Position(i64::MAX), missed };
    assert!(wire::encode(&Standing::Member(renewed)).unwrap().len() <= MAX_MESSAGE);
}
