//! What users may do and grant at most who have no ceiling of their own: `USER_SCOPES`. It stands in the database, and
//! verdicts go by what stands there, never by what a process was started with.
//!
//! A start with another value writes it there, once, and takes a revision for everything. Where replicas were started
//! with different values the last start decides: the others go by the row like everybody, say so, and write nothing,
//! so that the value does not change to and fro. A service that stops and starts within its process writes nothing either.
//!
//! A value without `*` takes something away. Releases that know nothing of it would go on as if it had not: while one may
//! use the tables it is not written, and it is as soon as none may (`migrate --finish`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latchkey_contract::{Scopes, Timestamp};
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_runtime::{Clock, StartError};
use latchkey_store::{Db, StoreError, wait_while_away};

use crate::store::settings as rows;
use crate::{NAME, release, signer};

/// How often it looks what stands there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const OLDER: &str = "USER_SCOPES is not in force yet: it takes something away, and an older release that knows nothing of \
    it may use the tables. It will be when none may any more (`migrate --finish`)";
const OTHER: &str = "USER_SCOPES of this process is another than the one in force, which a process that started later has \
    set: this one goes by that, too. Give all the same";
const SET: &str = "USER_SCOPES is another than at the last start: it is in force now, and the key service is told";

/// Sets what a process was started with, once, and then looks whether it stays.
pub struct Keeper {
    wanted: Scopes,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// It was written, or stood there already.
    is_set: bool,
    is_waiting: bool,
    is_other: bool,
}

impl Keeper {
    /// Of a process that was started with `wanted`.
    #[must_use]
    pub fn new(wanted: Scopes) -> Self {
        Self { wanted, state: Mutex::default() }
    }

    /// Sets it, unless this process has, or may not yet.
    ///
    /// # Errors
    /// [`StartError`] where the tables cannot be used.
    pub(crate) async fn begin(&self, db: &Db, clock: &Clock) -> Result<(), StartError> {
        let attempt = || self.set(db, clock);
        wait_while_away(NAME, None, StoreError::is_away, attempt)
            .await
            .map_err(signer::unusable_tables)
    }

    async fn set(&self, db: &Db, clock: &Clock) -> Result<(), StoreError> {
        if self.state().is_set {
            return Ok(());
        }
        if !Scopes::everything().is_within(&self.wanted) && !release::knows_scopes(db).await? {
            if !std::mem::replace(&mut self.state().is_waiting, true) {
                tracing::warn!(service = NAME, "{OLDER}");
            }
            return Ok(());
        }
        let before = rows::user_scopes(db).await?;
        let (by, now) = (signer::itself(clock), Timestamp(clock.unix_millis()));
        let letter = rows::set_user_scopes(db, &self.wanted, &by, now).await?;
        self.state().is_set = true;
        if let Some((letter, _)) = letter.zip(before) {
            let (revision, scopes) = (letter.at().1.0, self.wanted.as_text());
            tracing::warn!(service = NAME, revision, scopes, "{SET}");
        }
        Ok(())
    }

    async fn look(&self, db: &Db) -> Result<(), StoreError> {
        let is_other = rows::user_scopes(db).await?.is_none_or(|set| set != self.wanted);
        if !std::mem::replace(&mut self.state().is_other, is_other) && is_other {
            tracing::warn!(service = NAME, "{OTHER}");
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keeper while the service runs.
pub(crate) struct Watch {
    pub(crate) keeper: std::sync::Arc<Keeper>,
    pub(crate) db: Db,
    pub(crate) clock: Clock,
}

impl PeriodicTask for Watch {
    const PAUSE: Duration = LOOK_EVERY;
    const AT_THE_END: bool = false;

    async fn run(&self) {
        let is_set = self.keeper.state().is_set;
        let done = if is_set {
            self.keeper.look(&self.db).await
        } else {
            self.keeper.set(&self.db, &self.clock).await
        };
        if let Err(error) = done {
            tracing::debug!(service = NAME, %error, "the scopes of users are looked at later");
        }
    }
}
