//! A tag on the wire: the number of its kind, and a name whose length is told, so that whoever does not know the
//! kind can pass over it.

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::{SharedTag, Tag};
use crate::credential::CredentialHash;
use crate::ids::{SessionId, UserId};
use crate::principal::Owner;

/// A credential, by the 32 bytes of its hash.
const CREDENTIAL: u16 = 0;
/// An owner who is a user, by 8 bytes, the lowest first.
const USER: u16 = 1;
/// Everything; it has no name.
const ALL: u16 = 2;
/// A session, by the 16 bytes of its id.
const SESSION: u16 = 3;

/// A kind and a name.
#[derive(Serialize, Deserialize)]
struct Named {
    kind: u16,
    name: Vec<u8>,
}

impl Serialize for Tag<CredentialHash> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (kind, name) = match self {
            Self::Credential(hash) => (CREDENTIAL, hash.0.to_vec()),
            Self::Shared(SharedTag::Owner(Owner::User(user))) => {
                (USER, user.0.to_le_bytes().into())
            }
            Self::Shared(SharedTag::Session(session)) => (SESSION, session.0.to_vec()),
            // Its name was not kept: everything is what it means here.
            Self::All | Self::Unknown(_) => (ALL, Vec::new()),
        };
        Named { kind, name }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Tag<CredentialHash> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Named { kind, name } = Named::deserialize(from)?;
        let known = match kind {
            CREDENTIAL => name.try_into().ok().map(|hash| Self::Credential(CredentialHash(hash))),
            USER => name.try_into().ok().map(|id| Self::of_user(UserId(i64::from_le_bytes(id)))),
            SESSION => name.try_into().ok().map(|id| Self::of_session(SessionId(id))),
            ALL => name.is_empty().then_some(Self::All),
            _ => None,
        };
        Ok(known.unwrap_or(Self::Unknown(kind)))
    }
}
