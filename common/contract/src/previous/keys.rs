//! Keys by the contract before: a name, an expiry, and whether they are revoked.

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, Timestamp, UserId};
use crate::keys::{
    ExpiresIn, IssueKey, IssuedKey, KeyFilter, KeyObject, KeyPage, KeyState, ListKeys, NewKey,
    Revocation, RevocationReason, RevokeKey,
};
use crate::message::{Message, Untranslatable};
use crate::principal::Owner;
use crate::secret::{Secret, exposed, exposed_option};

/// [`IssueKey`] of a name and an expiry.
#[derive(Serialize, Deserialize)]
pub struct IssueKeyBefore {
    owner: UserId,
    name: Option<String>,
    expires_in: ExpiresInBefore,
    #[serde(with = "exposed_option")]
    seed: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
enum ExpiresInBefore {
    Default,
    Days(i64),
    NotAnInteger,
}

/// [`IssuedKey`] with a key as it was listed.
#[derive(Serialize, Deserialize)]
pub struct IssuedKeyBefore {
    listed: ListedKeyBefore,
    #[serde(with = "exposed")]
    key: Secret,
}

/// [`ListKeys`] from the oldest on, without a filter.
#[derive(Serialize, Deserialize)]
pub struct ListKeysBefore {
    owner: UserId,
    after: KeyId,
    limit: u32,
}

/// [`KeyPage`] of keys as they were listed.
#[derive(Serialize, Deserialize)]
pub struct KeyPageBefore {
    keys: Vec<ListedKeyBefore>,
    more: bool,
}

/// [`KeyObject`] as it was.
#[derive(Serialize, Deserialize)]
struct ListedKeyBefore {
    id: KeyId,
    name: String,
    hint: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    is_revoked: bool,
    last_used_at: Option<Timestamp>,
}

/// [`RevokeKey`] without a reason.
#[derive(Serialize, Deserialize)]
pub struct RevokeKeyBefore {
    owner: UserId,
    key: KeyId,
    wait: bool,
}

/// The release before knows no rights: it would make a key that has all of them.
const RESTRICTED: Untranslatable = Untranslatable("a key that is more than a name and an expiry");
/// The release before would make another key each time.
const REPEATABLE: Untranslatable = Untranslatable("an idempotency key");
/// Whose a key is, where only who asked for it knows. No user has this id.
const NOT_TOLD: UserId = UserId(0);

impl Message for IssueKey {
    type Previous = IssueKeyBefore;

    fn into_previous(self) -> Result<IssueKeyBefore, Untranslatable> {
        let Self { owner, narrowed, key, seed, idempotency } = self;
        if idempotency.is_some() {
            return Err(REPEATABLE);
        }
        let (name, expires_in) = (key.name.clone(), key.expires_in);
        let plain = NewKey { name: name.clone(), expires_in, ..NewKey::default() };
        if narrowed.is_some() || key != plain {
            return Err(RESTRICTED);
        }
        let expires_in = match expires_in {
            ExpiresIn::Default => ExpiresInBefore::Default,
            ExpiresIn::Days(days) => ExpiresInBefore::Days(days),
            ExpiresIn::NotAnInteger => ExpiresInBefore::NotAnInteger,
            ExpiresIn::At(_) => return Err(RESTRICTED),
        };
        Ok(IssueKeyBefore { owner, name, expires_in, seed })
    }

    fn from_previous(previous: IssueKeyBefore) -> Result<Self, Untranslatable> {
        let IssueKeyBefore { owner, name, expires_in, seed } = previous;
        let expires_in = match expires_in {
            ExpiresInBefore::Default => ExpiresIn::Default,
            ExpiresInBefore::Days(days) => ExpiresIn::Days(days),
            ExpiresInBefore::NotAnInteger => ExpiresIn::NotAnInteger,
        };
        let key = NewKey { name, expires_in, ..NewKey::default() };
        Ok(Self { owner, narrowed: None, key, seed, idempotency: None })
    }
}

impl From<KeyObject> for ListedKeyBefore {
    fn from(key: KeyObject) -> Self {
        let is_revoked = key.is_revoked();
        let KeyObject { id, name, hint, created_at, expires_at, last_used_at, .. } = key;
        Self { id, name, hint, created_at, expires_at, is_revoked, last_used_at }
    }
}

impl ListedKeyBefore {
    /// What it stands for: a key that was made before there was more to say of one. Whether its time is over was
    /// not told.
    fn of(self, owner: UserId) -> KeyObject {
        let Self { id, name, hint, created_at, expires_at, is_revoked, last_used_at } = self;
        let reason = RevocationReason::Unspecified;
        let revocation = Revocation { at: created_at, reason, note: None, by: None };
        KeyObject {
            name,
            hint,
            last_used_at,
            state: if is_revoked { KeyState::Revoked } else { KeyState::Active },
            revocation: is_revoked.then_some(revocation),
            ..KeyObject::bare(id, Owner::User(owner), created_at, expires_at)
        }
    }
}

impl Message for IssuedKey {
    type Previous = IssuedKeyBefore;

    fn into_previous(self) -> Result<IssuedKeyBefore, Untranslatable> {
        Ok(IssuedKeyBefore { listed: self.object.into(), key: self.key })
    }

    fn from_previous(previous: IssuedKeyBefore) -> Result<Self, Untranslatable> {
        let object = previous.listed.of(NOT_TOLD);
        Ok(Self { object, key: previous.key, is_replayed: false })
    }
}

impl Message for ListKeys {
    type Previous = ListKeysBefore;

    fn into_previous(self) -> Result<ListKeysBefore, Untranslatable> {
        let Self { owner, after, limit, newest_first, filter } = self;
        if newest_first || filter != KeyFilter::default() {
            return Err(Untranslatable("a list that is not every key from the oldest on"));
        }
        Ok(ListKeysBefore { owner, after: after.unwrap_or(KeyId(0)), limit })
    }

    fn from_previous(previous: ListKeysBefore) -> Result<Self, Untranslatable> {
        let ListKeysBefore { owner, after, limit } = previous;
        let filter = KeyFilter::default();
        Ok(Self { owner, after: Some(after), limit, newest_first: false, filter })
    }
}

impl Message for KeyPage {
    type Previous = KeyPageBefore;

    fn into_previous(self) -> Result<KeyPageBefore, Untranslatable> {
        let keys = self.keys.into_iter().map(ListedKeyBefore::from).collect();
        Ok(KeyPageBefore { keys, more: self.next.is_some() })
    }

    fn from_previous(previous: KeyPageBefore) -> Result<Self, Untranslatable> {
        let next = previous.keys.last().filter(|_| previous.more).map(|key| key.id);
        Ok(Self { keys: previous.keys.into_iter().map(|key| key.of(NOT_TOLD)).collect(), next })
    }
}

impl Message for RevokeKey {
    type Previous = RevokeKeyBefore;

    /// Why is not told: the key ends all the same.
    fn into_previous(self) -> Result<RevokeKeyBefore, Untranslatable> {
        let Self { owner, key, wait, .. } = self;
        Ok(RevokeKeyBefore { owner, key, wait })
    }

    fn from_previous(previous: RevokeKeyBefore) -> Result<Self, Untranslatable> {
        let RevokeKeyBefore { owner, key, wait } = previous;
        let reason = RevocationReason::Unspecified;
        Ok(Self { owner, key, wait, reason, note: None, is_self: false })
    }
}
