//! How often one client may log in or sign up, and one user change passwords or make keys.

use std::num::NonZeroU64;

use latchkey_contract::UserId;
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
/// New keys of one user.
const KEYS: Quota = Quota { burst: 100, interval: SECOND };
/// Milliseconds.
const SECOND: NonZeroU64 = NonZeroU64::new(1_000).unwrap();
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
}

impl LimitClass {
    const ALL: [Self; 4] = [Self::Logins, Self::Signups, Self::Passwords, Self::Keys];

    /// What metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Signups => "signups",
            Self::Passwords => "passwords",
            Self::Keys => "keys",
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
        self.limits.as_ref().map_or(Ok(()), |all| self.take(LimitClass::Keys, &all.keys, user))
    }

    fn take<K: Grouped>(
        &self,
        class: LimitClass,
        buckets: &Buckets<K>,
        client: K,
    ) -> Result<(), Problem> {
        // The clock of leases: nobody sets it.
        let now = self.clock.lease_nanos() / NANOS_PER_MILLI;
        buckets.take(client, now).map_err(|wait| {
            counter!("latchkey_rate_limited_total", "limit" => class.name()).increment(1);
            Problem::too_many_requests(wait)
        })
    }
}
