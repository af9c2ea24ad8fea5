//! How often one client may log in or sign up, and one user change passwords, make keys or change them.

use std::hash::Hash;
use std::num::NonZeroU64;

use latchkey_contract::keys::rules::MAX_MADE;
use latchkey_contract::{Actor, Caller, UserId};
use latchkey_runtime::Clock;
use metrics::counter;

use crate::address::ClientAddress;
use crate::problem::Problem;

mod buckets;

use buckets::{Buckets, Grouped, Quota};

/// Logins from one address.
const LOGINS: Quota = Quota { burst: 100, interval: SECOND };
/// Signups from one address.
const SIGNUPS: Quota = Quota { burst: 100, interval: SECOND };
/// Passwords that one user tries to change: whoever shares the user's address has no part in it.
const PASSWORDS: Quota = Quota { burst: 100, interval: SECOND };
/// New keys of one user, each of them, however many one request makes.
const KEYS: Quota = Quota { burst: 100, interval: SECOND };
/// Changes of one user's keys, by the user or by keys of theirs: each moves the row that numbers all changes, and has every
/// edge forget something. An edge that missed a thousand forgets everything.
const CHANGES: Quota = Quota { burst: 1_000, interval: TWENTIETH };
/// Refreshes from one address.
const REFRESHES: Quota = Quota { burst: 100, interval: SECOND };
/// Revocations by possession from one address.
const REVOCATIONS: Quota = Quota { burst: 100, interval: SECOND };
/// Milliseconds.
const SECOND: NonZeroU64 = NonZeroU64::new(1_000).unwrap();
const TWENTIETH: NonZeroU64 = NonZeroU64::new(50).unwrap();
const NANOS_PER_MILLI: u64 = 1_000_000;

/// What counts requests against what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitClass {
    /// Logins from one address.
    Logins,
    /// Signups from one address.
    Signups,
    /// Changes of password by one user.
    Passwords,
    /// New keys of one user.
    Keys,
    /// Changes of one user's keys.
    Changes,
    /// Refreshes from one address.
    Refreshes,
    /// Revocations by possession from one address.
    Revocations,
}

/// Who changes keys: what a user's keys do takes nothing of what the user has left, who may have to revoke one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Changer {
    user: UserId,
    is_key: bool,
}

/// The edge's limits, or none.
pub struct Limits {
    clock: Clock,
    limits: Option<All>,
}

struct All {
    logins: Buckets<ClientAddress>,
    signups: Buckets<ClientAddress>,
    passwords: Buckets<UserId>,
    keys: Buckets<UserId>,
    changes: Buckets<Changer>,
    refreshes: Buckets<ClientAddress>,
    revocations: Buckets<ClientAddress>,
}

impl Grouped for Changer {
    fn group(&self) -> impl Hash {
        *self
    }
}

impl LimitClass {
    const ALL: [Self; 7] = [
        Self::Logins,
        Self::Signups,
        Self::Passwords,
        Self::Keys,
        Self::Changes,
        Self::Refreshes,
        Self::Revocations,
    ];

    /// What metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Signups => "signups",
            Self::Passwords => "passwords",
            Self::Keys => "keys",
            Self::Changes => "changes",
            Self::Refreshes => "refreshes",
            Self::Revocations => "revocations",
        }
    }
}

impl Limits {
    /// The limits, switched on or off.
    #[must_use]
    pub fn new(on: bool, clock: Clock) -> Self {
        let all = || All {
            logins: Buckets::new(LOGINS),
            signups: Buckets::new(SIGNUPS),
            passwords: Buckets::new(PASSWORDS),
            keys: Buckets::new(KEYS),
            changes: Buckets::new(CHANGES),
            refreshes: Buckets::new(REFRESHES),
            revocations: Buckets::new(REVOCATIONS),
        };
        for class in LimitClass::ALL {
            // So that the first one is seen as a rise.
            counter!("latchkey_rate_limited_total", "limit" => class.name()).increment(0);
        }
        Self { clock, limits: on.then(all) }
    }

    /// Counts a login from `client`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn login(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limits
            .as_ref()
            .map_or(Ok(()), |all| self.take(LimitClass::Logins, &all.logins, client))
    }

    /// Counts a signup from `client`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn signup(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limits
            .as_ref()
            .map_or(Ok(()), |all| self.take(LimitClass::Signups, &all.signups, client))
    }

    /// Counts a change of the password of `user`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn password(&self, user: UserId) -> Result<(), Problem> {
        self.limits
            .as_ref()
            .map_or(Ok(()), |all| self.take(LimitClass::Passwords, &all.passwords, user))
    }

    /// Counts a new key of `user`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn key(&self, user: UserId) -> Result<(), Problem> {
        self.keys(user, 1)
    }

    /// Counts so many new keys of `user` by one request: all of them, or none.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn keys(&self, user: UserId, count: usize) -> Result<(), Problem> {
        // Never more than there are at once: such a request would be refused for good.
        let count = u64::try_from(count.min(MAX_MADE)).unwrap_or(KEYS.burst).min(KEYS.burst);
        let take = |all: &All| self.take_many(LimitClass::Keys, &all.keys, user, count);
        self.limits.as_ref().map_or(Ok(()), take)
    }

    /// Counts a change of a key of `user`, as `by` asks for it.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn change(&self, user: UserId, by: Option<&Caller>) -> Result<(), Problem> {
        let is_key = by.is_some_and(|by| matches!(by.actor, Actor::Key { .. }));
        let changer = Changer { user, is_key };
        let take = |all: &All| self.take(LimitClass::Changes, &all.changes, changer);
        self.limits.as_ref().map_or(Ok(()), take)
    }

    /// Counts a refresh from `client`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn refresh(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limits
            .as_ref()
            .map_or(Ok(()), |all| self.take(LimitClass::Refreshes, &all.refreshes, client))
    }

    /// Counts a revocation by possession from `client`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn revocation(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limits
            .as_ref()
            .map_or(Ok(()), |all| self.take(LimitClass::Revocations, &all.revocations, client))
    }

    fn take<K: Grouped>(
        &self,
        class: LimitClass,
        buckets: &Buckets<K>,
        client: K,
    ) -> Result<(), Problem> {
        self.take_many(class, buckets, client, 1)
    }

    fn take_many<K: Grouped>(
        &self,
        class: LimitClass,
        buckets: &Buckets<K>,
        client: K,
        count: u64,
    ) -> Result<(), Problem> {
        // The clock of leases: nobody sets it.
        let now = self.clock.lease_nanos() / NANOS_PER_MILLI;
        buckets.take(client, count, now).map_err(|wait| {
            counter!("latchkey_rate_limited_total", "limit" => class.name()).increment(1);
            Problem::too_many_requests(wait)
        })
    }
}
