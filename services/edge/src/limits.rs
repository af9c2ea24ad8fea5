//! How often one client may log in, sign up or make keys. Token buckets in memory, one a client.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use latchkey_contract::UserId;
use latchkey_runtime::periodic::Chore;
use metrics::counter;

use crate::address::ClientAddress;
use crate::problem::Problem;

/// Logins from one address: so many at once, and one more each second.
const LOGINS: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Signups from one address: so many at once, and one more each second.
const SIGNUPS: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// New keys of one user: so many at once, and one more each second.
const KEYS: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Clients that one limit remembers at most. When so many are below their limits at the same time,
/// further ones are turned away: memory stays bounded, and a flood gets no free tries.
const MAX_CLIENTS: usize = 100_000;

/// The edge's limits, or none.
pub struct Limits {
    limits: Option<Arc<Buckets>>,
}

struct Buckets {
    logins: DefaultKeyedRateLimiter<ClientAddress>,
    signups: DefaultKeyedRateLimiter<ClientAddress>,
    keys: DefaultKeyedRateLimiter<UserId>,
}

/// Forgets clients whose buckets are full again.
pub struct Keeper {
    limits: Option<Arc<Buckets>>,
}

impl Limits {
    /// The limits, switched on or off.
    #[must_use]
    pub fn new(on: bool) -> Self {
        let buckets = || Buckets {
            logins: RateLimiter::keyed(Quota::per_second(NonZeroU32::MIN).allow_burst(LOGINS)),
            signups: RateLimiter::keyed(Quota::per_second(NonZeroU32::MIN).allow_burst(SIGNUPS)),
            keys: RateLimiter::keyed(Quota::per_second(NonZeroU32::MIN).allow_burst(KEYS)),
        };
        for name in ["logins", "signups", "keys"] {
            // So that the first one is seen as a rise.
            counter!("latchkey_rate_limited_total", "limit" => name).increment(0);
        }
        Self { limits: on.then(|| Arc::new(buckets())) }
    }

    /// Counts a login from `client`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn login(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limits.as_ref().map_or(Ok(()), |limits| take("logins", &limits.logins, &client))
    }

    /// Counts a signup from `client`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn signup(&self, client: ClientAddress) -> Result<(), Problem> {
        self.limits.as_ref().map_or(Ok(()), |limits| take("signups", &limits.signups, &client))
    }

    /// Counts a new key of `user`.
    ///
    /// # Errors
    /// 429 where it is one too many.
    pub fn key(&self, user: UserId) -> Result<(), Problem> {
        self.limits.as_ref().map_or(Ok(()), |limits| take("keys", &limits.keys, &user))
    }

    /// The chore that keeps the limits' memory bounded.
    #[must_use]
    pub fn keeper(&self) -> Keeper {
        Keeper { limits: self.limits.clone() }
    }
}

fn take<K>(
    name: &'static str,
    limiter: &DefaultKeyedRateLimiter<K>,
    client: &K,
) -> Result<(), Problem>
where
    K: Hash + Eq + Clone,
{
    let refused = || counter!("latchkey_rate_limited_total", "limit" => name).increment(1);
    if limiter.len() >= MAX_CLIENTS {
        limiter.retain_recent();
        if limiter.len() >= MAX_CLIENTS {
            refused();
            return Err(Problem::too_many_requests(1_000));
        }
    }
    limiter.check_key(client).map_err(|until| {
        refused();
        let wait = until.wait_time_from(DefaultClock::default().now());
        Problem::too_many_requests(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    })
}

impl Chore for Keeper {
    const PAUSE: Duration = Duration::from_secs(10);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Some(limits) = &self.limits {
            limits.logins.retain_recent();
            limits.signups.retain_recent();
            limits.keys.retain_recent();
        }
    }
}
