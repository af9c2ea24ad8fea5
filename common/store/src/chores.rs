//! Chores that one replica at a time does: it holds the chore's row (`identity_chores`, `keys_chores`).
//!
//! One conditional statement takes the row or lengthens the hold, by the database's clock; at a clean stop, and where
//! its holder cannot do the chore, it is given back, and where its holder died it is free when the hold has run out. **It is no fence.** A holder that is paused
//! goes on where it was, beside the next one, until it notices: what a chore writes has to be conditional, or the same
//! when it is done twice. Each chore says why it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latchkey_runtime::periodic::{self, PeriodicTask};
use latchkey_runtime::{Child, Clock};
use metrics::{Gauge, gauge};
use tokio::time::{sleep, timeout};

use crate::{Db, PerEngine, StoreError, Value, values};

/// How much longer than the pause between two runs a row is held: so long no other replica does the chore of a holder
/// that died.
pub const MARGIN: Duration = Duration::from_secs(10);
/// A hold is lengthened when one part of so many of it is over.
const RENEWED_AFTER: u32 = 2;
/// While a run lasts it is looked so often in one hold whether that has to be lengthened.
const LOOKS: u32 = 4;
/// After so many looks in a row that the database did not answer, the log says so.
const FAILED: u32 = 5;
/// How long what is done last may take.
const FINISHING: Duration = Duration::from_secs(2);
/// How long it may take to give a row back.
const GIVING_BACK: Duration = Duration::from_secs(2);

/// A service's statements on its rows for one kind of database.
#[derive(Clone, Copy, Debug)]
pub struct Statements {
    /// Has `$2` hold the row of `$1` for `$3` milliseconds from now, where nobody else does or there is none. A hold
    /// that is longer than that was stamped before the database's clock was set back.
    pub take: &'static str,
    /// Frees the row of `$1`, where `$2` holds it.
    pub give_back: &'static str,
}

/// A service's statements on its rows.
#[derive(Clone, Copy, Debug)]
pub struct ChoreSql {
    /// The service.
    pub service: &'static str,
    /// The statements.
    pub statements: PerEngine<Statements>,
}

/// `chores!("keys")`: the statements on the rows of `keys_chores`.
#[macro_export]
macro_rules! chores {
    ($service:literal) => {
        $crate::chores::ChoreSql {
            service: $service,
            statements: $crate::PerEngine {
                sqlite: $crate::chores!(@engine $service, $crate::now_sqlite!()),
                postgres: $crate::chores!(@engine $service, $crate::now_postgres!()),
            },
        }
    };
    (@engine $service:literal, $now:expr) => {
        $crate::chores::Statements {
            take: concat!(
                "INSERT INTO ", $service, "_chores (name, holder, until) VALUES ($1, $2, ", $now, " + $3) ",
                "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until ",
                "WHERE ", $service, "_chores.holder = excluded.holder OR ", $service, "_chores.until <= ", $now,
                " OR ", $service, "_chores.until > excluded.until"
            ),
            give_back: concat!(
                "UPDATE ", $service, "_chores SET until = 0 WHERE name = $1 AND holder = $2"
            ),
        }
    };
}

impl Statements {
    /// Every statement, for the test that prepares each on both databases.
    #[must_use]
    pub fn all(&self) -> [&'static str; 2] {
        [self.take, self.give_back]
    }
}

/// Who may hold rows: one process, by 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub [u8; 16]);

/// A service's rows, as one process sees them.
#[derive(Clone, Debug)]
pub struct Chores {
    /// Where they are.
    pub db: Db,
    /// Whose they are.
    pub sql: &'static ChoreSql,
    /// Who would hold them.
    pub holder: Holder,
    /// By which clock this process knows how old its holds are.
    pub clock: Clock,
}

/// One chore's row.
#[derive(Debug)]
struct ChoreRow {
    of: Chores,
    name: &'static str,
}

impl Chores {
    /// The child that does `chore` while this process holds the row `name`.
    pub fn child<C: PeriodicTask>(
        &self,
        actor: &'static str,
        name: &'static str,
        chore: C,
    ) -> Child {
        periodic::child(actor, Arc::new(self.exclusive(name, chore)))
    }

    /// `chore`, done while this process holds the row `name`.
    pub fn exclusive<C: PeriodicTask>(&self, name: &'static str, chore: C) -> Exclusive<C> {
        const { assert!(!C::AT_THE_END, "what each process does at its end is no chore for one") };
        let labels = [("service", self.sql.service), ("chore", name)];
        let held = gauge!("latchkey_chore_held", &labels);
        held.set(0.0);
        let row = ChoreRow { of: self.clone(), name };
        Exclusive { chore, row, held, state: Mutex::default() }
    }
}

impl ChoreRow {
    /// Holds the row for `term` from now, where nobody else does or it is not there; whether it is held.
    async fn take(&self, term: Duration) -> Result<bool, StoreError> {
        let millis = i64::try_from(term.as_millis()).unwrap_or(i64::MAX);
        let holds = values![self.name, &self.of.holder.0, millis];
        Ok(self.execute(self.sql().take, holds).await? > 0)
    }

    async fn give_back(&self) -> Result<(), StoreError> {
        self.execute(self.sql().give_back, values![self.name, &self.of.holder.0]).await.map(drop)
    }

    async fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.of.db.execute(sql, values).await
    }

    fn sql(&self) -> &'static Statements {
        self.of.sql.statements.of(self.of.db.engine())
    }
}

/// A chore that this process does while it holds the row.
pub struct Exclusive<C> {
    chore: C,
    row: ChoreRow,
    held: Gauge,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When the hold was asked for that this process has, by the clock of leases.
    since: Option<u64>,
    /// Looks in a row that the database did not answer.
    failed: u32,
}

impl<C: PeriodicTask> Exclusive<C> {
    /// How long one hold is, from when it was asked for: after a run that lasts longer than [`MARGIN`] it ends before
    /// the next look, and another replica may have taken the row before the one that had it notices.
    pub const TERM: Duration = C::PAUSE.saturating_add(MARGIN);

    /// Whether this process holds the row; it takes it where it is free, lengthens its hold in time, and gives it back
    /// where it cannot do the chore.
    async fn holds(&self) -> bool {
        if !self.chore.is_able() {
            self.give_back().await;
            return false;
        }
        if self.is_held_for(Self::TERM / RENEWED_AFTER) {
            return true;
        }
        let asked = self.row.of.clock.lease_nanos();
        match self.row.take(Self::TERM).await {
            Ok(is_held) => {
                self.answered();
                self.note(is_held.then_some(asked));
            }
            Err(error) => {
                self.unanswered(&error);
                // Nobody else has the row before the hold has run out.
                if !self.is_held_for(Self::TERM) {
                    self.note(None);
                }
            }
        }
        self.state().since.is_some()
    }

    /// Whether this process has a hold that was asked for less than `age` ago.
    fn is_held_for(&self, age: Duration) -> bool {
        let now = self.row.of.clock.lease_nanos();
        let is_fresh = |since: u64| u128::from(now.saturating_sub(since)) < age.as_nanos();
        self.state().since.is_some_and(is_fresh)
    }

    fn answered(&self) {
        if std::mem::take(&mut self.state().failed) >= FAILED {
            let (service, chore) = (self.row.of.sql.service, self.row.name);
            tracing::info!(service, chore, "the database says again which replica does a chore");
        }
    }

    fn unanswered(&self, error: &StoreError) {
        let failed = {
            let mut state = self.state();
            state.failed = state.failed.saturating_add(1);
            state.failed
        };
        if failed == FAILED {
            let (service, chore) = (self.row.of.sql.service, self.row.name);
            tracing::warn!(service, chore, %error, "this replica cannot do a chore because the database does not say which replica does it");
        }
    }

    fn note(&self, since: Option<u64>) {
        let (service, chore) = (self.row.of.sql.service, self.row.name);
        let before = std::mem::replace(&mut self.state().since, since);
        match (before, since) {
            (None, Some(_)) => {
                tracing::debug!(service, chore, "this replica does the chore from now on");
                self.held.set(1.0);
            }
            (Some(_), None) => {
                tracing::debug!(service, chore, "this replica no longer does the chore");
                self.held.set(0.0);
                self.chore.stand_by();
            }
            _ => {}
        }
    }

    /// Frees the row where this process holds it.
    async fn give_back(&self) {
        if self.state().since.is_some() {
            let given_back = timeout(GIVING_BACK, self.row.give_back()).await;
            if !matches!(given_back, Ok(Ok(()))) {
                let (service, chore) = (self.row.of.sql.service, self.row.name);
                tracing::debug!(
                    service,
                    chore,
                    "a chore cannot be given back: another replica takes it when the hold has run out"
                );
            }
            self.note(None);
        }
    }

    /// Returns when the hold is lost.
    async fn lost(&self) {
        loop {
            sleep(Self::TERM / RENEWED_AFTER / LOOKS).await;
            if !self.holds().await {
                return;
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each change is one assignment, of one field or the other"
    )]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: PeriodicTask> PeriodicTask for Exclusive<C> {
    const PAUSE: Duration = C::PAUSE;
    const AT_THE_END: bool = false;
    const FINISHES: bool = C::FINISHES;

    async fn run(&self) {
        if self.holds().await {
            // Work whose hold is lost is given up where it waits: the next holder begins it anew.
            tokio::select! {
                () = self.chore.run() => {}
                () = self.lost() => {}
            }
        } else {
            self.chore.look_on().await;
        }
    }

    fn is_able(&self) -> bool {
        self.chore.is_able()
    }

    fn stand_by(&self) {
        self.chore.stand_by();
    }

    /// Where it holds the row, or nobody does.
    async fn finish(&self) {
        if !Self::FINISHES {
            return;
        }
        let finishing = async {
            if self.holds().await {
                self.chore.finish().await;
            }
        };
        if timeout(FINISHING, finishing).await.is_err() {
            let (service, chore) = (self.row.of.sql.service, self.row.name);
            tracing::debug!(service, chore, "a chore ends before it has done the last of it");
        }
    }

    /// So that another replica goes on at once.
    async fn end(&self) {
        self.give_back().await;
        self.chore.end().await;
    }
}
