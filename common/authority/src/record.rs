//! How a tag stands in a record of what was changed: in the columns of a credential and of an owner.
//!
//! A session stands where a credential does, behind a byte that no hash is short enough to have: a release that knows
//! no sessions reads 17 bytes as no hash, and such a record as one of everything.

use latchkey_contract::lease::{SharedTag, Tag};
use latchkey_contract::{CredentialHash, Owner, SessionId, UserId};

/// What stands before the 16 bytes of a session.
const SESSION: u8 = 3;

/// The columns of a record of `tag`.
pub(crate) fn of(tag: &Tag<CredentialHash>) -> (Option<Vec<u8>>, Option<i64>) {
    match tag {
        Tag::Credential(hash) => (Some(hash.0.to_vec()), None),
        Tag::Shared(SharedTag::Owner(Owner::User(user))) => (None, Some(user.0)),
        Tag::Shared(SharedTag::Session(session)) => {
            (Some([&[SESSION][..], &session.0].concat()), None)
        }
        Tag::All | Tag::Unknown(_) => (None, None),
    }
}

/// What a record says; one that cannot be read is of everything.
pub(crate) fn tag(credential: Option<&[u8]>, owner: Option<i64>) -> Tag<CredentialHash> {
    let named = match (credential, owner) {
        (Some([SESSION, session @ ..]), None) if session.len() == size_of::<SessionId>() => {
            session.try_into().ok().map(|id| Tag::of_session(SessionId(id)))
        }
        (Some(hash), None) => {
            hash.try_into().ok().map(|hash| Tag::Credential(CredentialHash(hash)))
        }
        (None, Some(user)) => Some(Tag::of_user(UserId(user))),
        _ => None,
    };
    named.unwrap_or(Tag::All)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_it_was_made_of_and_what_cannot_be_read_is_everything() {
        let session = SessionId([3; 16]);
        let tags = [
            Tag::Credential(CredentialHash([3; 32])),
            Tag::of_user(UserId(7)),
            Tag::of_session(session),
            Tag::All,
        ];
        for tag_of in tags {
            let (credential, owner) = of(&tag_of);
            assert_eq!(tag(credential.as_deref(), owner), tag_of);
        }
        // No release that knows no sessions takes one for a credential.
        assert_eq!(of(&Tag::of_session(session)).0.map(|bytes| bytes.len()), Some(17));
        for wrong in [&[][..], &[3; 16], &[4; 17], &[3; 31], &[3; 33]] {
            assert_eq!(tag(Some(wrong), None), Tag::All, "{wrong:?}");
        }
        assert_eq!(tag(Some(&[3; 32]), Some(1)), Tag::All);
    }
}
