//! Failed logins slow the next ones for the same name, whether or not somebody has that name.
//!
//! Existing sessions are not touched: nobody is locked out of what they have open.

use latchkey_contract::{CredentialHash, Failure, Refusal, Timestamp};

use crate::store::throttle::{self as rows, FailedLogins};
use crate::{Identity, rules};

/// Failures that cost nothing yet.
const FREE: i64 = 10;
/// The wait after the first failure that costs, in milliseconds; it doubles with each.
const FIRST_WAIT: i64 = 1_000;
/// The longest wait below [`MOST`], in milliseconds.
const LONG_WAIT: i64 = 15 * 60 * 1_000;
/// NIST SP 800-63B-4 §3.2.2: no more than 100 consecutive failures; from then on one try a day.
const MOST: i64 = 100;
/// When failures are forgotten, in milliseconds; also the wait from the hundredth on.
pub const FORGET_AFTER: i64 = Timestamp::DAY;

/// The failed logins of one name.
pub(crate) struct Throttle {
    name: CredentialHash,
    known: Option<FailedLogins>,
}

impl Throttle {
    /// Looks up the name's failures.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`] while its wait lasts.
    pub(crate) async fn enter(identity: &Identity, username: &str) -> Result<Self, Failure> {
        let name = rules::canonical_username(username);
        let name = CredentialHash::of(name.as_deref().unwrap_or(username));
        if !identity.config.rate_limit {
            return Ok(Self { name, known: None });
        }
        let known = rows::find(&identity.db, &name).await?;
        let wait = known.as_ref().map_or(0, |known| remaining(known, identity.now()));
        match u64::try_from(wait) {
            Ok(wait) if wait > 0 => Err(Refusal::TooManyRequests { retry_after_ms: wait }.into()),
            _ => Ok(Self { name, known }),
        }
    }

    /// Counts a failure.
    pub(crate) async fn failed(&self, identity: &Identity) -> Result<(), Failure> {
        if identity.config.rate_limit {
            rows::count(&identity.db, &self.name, identity.now()).await?;
        }
        Ok(())
    }

    /// Forgets the failures before a success.
    pub(crate) async fn succeeded(&self, identity: &Identity) -> Result<(), Failure> {
        if self.known.is_some() {
            rows::forget(&identity.db, &self.name).await?;
        }
        Ok(())
    }
}

/// Milliseconds until the next try is looked at; not above zero where it is looked at now.
fn remaining(known: &FailedLogins, now: Timestamp) -> i64 {
    let wait = match known.failures {
        failures if failures < FREE => 0,
        failures if failures >= MOST => FORGET_AFTER,
        failures => {
            let doublings = u32::try_from(failures - FREE).unwrap_or(u32::MAX).min(20);
            (FIRST_WAIT << doublings).min(LONG_WAIT)
        }
    };
    known.last_failure_at.saturating_add(wait).saturating_sub(now.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_bound_and_a_hundred_failures_are_the_end() {
        let after =
            |failures| remaining(&FailedLogins { failures, last_failure_at: 0 }, Timestamp(0));
        assert_eq!(after(9), 0);
        assert_eq!(after(10), 1_000);
        assert_eq!(after(11), 2_000);
        assert_eq!(after(19), 512_000);
        assert_eq!(after(20), LONG_WAIT);
        assert_eq!(after(99), LONG_WAIT);
        assert_eq!(after(100), FORGET_AFTER);
    }
}
