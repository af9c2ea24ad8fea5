//! Keeps the signing keys: says how tokens are signed, makes the first key, makes the next one a day before it signs, and
//! takes out those whose tokens have all expired. Every replica does it; one INSERT decides who makes a key.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latchkey_contract::{Actor, Caller, RequestId, Timestamp};
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_runtime::{Clock, Entropy, StartError};
use latchkey_store::{Db, Engine, StoreError, wait_while_away};
use metrics::gauge;

use super::algorithm::KeyAlgorithm;
use super::key::{KeyError, NewKey};
use super::plan::{Slot, Step, next_step};
use super::seal;
use super::set::{Keys, Known, KnownKey};
use crate::store::signing_key::{self as rows, NewRow};
use crate::{NAME, release};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Times that it looks anew in one run where another replica was faster, at most.
const MAX_STEPS: usize = 4;

const OLDER: &str = "JWT_ALGORITHM is not in force yet: an older release, which cannot check such tokens, may use the tables. It \
    will be when none may any more (`migrate --finish`)";
const OTHER: &str = "JWT_ALGORITHM of this process is another than the one in force, which a process that started later has \
    set: this one signs by that, too. Give all the same";
const CLOSED: &str = "the private half of a signing key cannot be opened: it is sealed with another SECRET_KEY than this process \
    has. Where that one signs, nobody can log in here";

/// How keys are kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How tokens are to be signed; `None`: with the secret.
    pub algorithm: Option<KeyAlgorithm>,
    /// How long a key signs, in milliseconds.
    pub period: i64,
    /// How long a token lives, in milliseconds.
    pub life: i64,
}

/// Keeps them.
pub struct KeyKeeper {
    /// How.
    pub settings: Settings,
    /// The process' own.
    pub keys: Keys,
    /// Where the rows are.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// What nonces are made from.
    pub entropy: Entropy,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    setting: Setting,
    is_other: bool,
    is_closed: bool,
}

/// How far it is with saying how tokens are signed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Setting {
    #[default]
    Unset,
    /// An older release may be there.
    Waits,
    /// It was written, or stood there already.
    Set,
}

/// Why keys are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeyKeeper {
    /// Of a service that knows no keys yet.
    #[must_use]
    pub fn new(
        (settings, keys): (Settings, Keys),
        db: Db,
        (clock, entropy): (Clock, Entropy),
    ) -> Self {
        Self { settings, keys, db, clock, entropy, state: Mutex::default() }
    }

    /// Has tokens be signed as they are to be, unless that may not be yet, and sees to it that there is a key.
    ///
    /// # Errors
    /// [`StartError`] where the tables cannot be used.
    pub(crate) async fn begin(&self) -> Result<(), StartError> {
        let attempt = async || match self.keep().await {
            Err(KeepError::Store(error)) => Err(error),
            Err(error @ KeepError::Key(_)) => {
                tracing::error!(service = NAME, %error, "no signing key can be made");
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        wait_while_away(NAME, None, StoreError::is_away, attempt)
            .await
            .map_err(crate::signer::unusable_tables)
    }

    async fn keep(&self) -> Result<(), KeepError> {
        self.set().await?;
        for _ in 0..MAX_STEPS {
            if self.advance().await? {
                break;
            }
        }
        Ok(())
    }

    /// Says how tokens are signed, once: where replicas were started with different settings the last one decides.
    async fn set(&self) -> Result<(), StoreError> {
        if self.state().setting == Setting::Set {
            return Ok(());
        }
        let (before, wanted) = (rows::algorithm(&self.db).await?, self.settings.algorithm);
        if before != wanted {
            // With a file of its own no other release is there.
            let is_alone = self.db.engine() == Engine::Sqlite;
            if wanted.is_some() && !is_alone && !release::knows_signing_keys(&self.db).await? {
                let before = std::mem::replace(&mut self.state().setting, Setting::Waits);
                if before == Setting::Unset {
                    tracing::warn!(service = NAME, "{OLDER}");
                }
                return Ok(());
            }
            rows::set_algorithm(&self.db, wanted, &self.by(), self.now()).await?;
        }
        self.state().setting = Setting::Set;
        Ok(())
    }

    /// Reads the rows and takes one step. Whether there is nothing more to do.
    async fn advance(&self) -> Result<bool, KeepError> {
        let algorithm = rows::algorithm(&self.db).await?;
        // Read before the keys: one that is added since is among them, or the slot is not the last.
        let last = match algorithm {
            Some(algorithm) => rows::last_slot(&self.db, algorithm).await?,
            None => 0,
        };
        let known = self.keys.load(&self.db).await?;
        self.look(&known);
        self.mend(&known).await?;
        let Some(algorithm) = algorithm else { return Ok(true) };
        let usable = known.of(algorithm).filter(|key| key.can_be_opened);
        let slots: Vec<Slot> = usable.map(|key| key.slot).collect();
        let now = self.now();
        match next_step(&slots, now, self.settings.period) {
            Step::Wait => Ok(true),
            Step::MakeFirst => self.make(algorithm, (last, None), now).await.map(|()| false),
            Step::MakeNext { after, signs_from } => {
                self.make(algorithm, (last, Some(after)), signs_from).await.map(|()| false)
            }
            Step::Promote(slot) => {
                rows::promote(&self.db, algorithm, slot, now).await?;
                Ok(false)
            }
        }
    }

    /// Has another key sign from now on than `kid`, where that one does, or would next.
    ///
    /// # Errors
    /// [`KeepError`]; then it may or may not have.
    pub(crate) async fn replace(&self, kid: &str) -> Result<(), KeepError> {
        for _ in 0..MAX_STEPS {
            let Some(algorithm) = rows::algorithm(&self.db).await? else { return Ok(()) };
            let last = rows::last_slot(&self.db, algorithm).await?;
            let known = self.keys.load(&self.db).await?;
            let now = self.now();
            let others = known
                .of(algorithm)
                .filter(|key| key.can_be_opened && key.halves.public.kid() != kid);
            let slots: Vec<Slot> = others.map(|key| key.slot).collect();
            match next_step(&slots, now, self.settings.period) {
                Step::MakeFirst => self.make(algorithm, (last, None), now).await?,
                Step::Promote(slot) => rows::promote(&self.db, algorithm, slot, now).await?,
                Step::Wait | Step::MakeNext { .. } => return Ok(()),
            }
        }
        Ok(())
    }

    async fn make(
        &self,
        algorithm: KeyAlgorithm,
        place: (i64, Option<i64>),
        signs_from: Timestamp,
    ) -> Result<(), KeepError> {
        let made = NewKey::make(algorithm)?;
        let sealed = self.seal(made.public.kid(), &made.private)?;
        let new = NewRow {
            public: &made.public,
            sealed: &sealed,
            sealed_by: self.keys.own(),
            signs_from,
            period: self.settings.period,
            longest_life: self.settings.life,
        };
        let now = self.now();
        if rows::add(&self.db, &new, place, &self.by(), now).await? {
            let (kid, algorithm) = (made.public.kid(), algorithm.name());
            tracing::info!(
                service = NAME,
                kid,
                algorithm,
                signs_from = signs_from.0,
                "a signing key was made"
            );
        }
        Ok(())
    }

    /// Seals anew what is sealed with the former secret, and takes out what is over.
    async fn mend(&self, known: &Known) -> Result<(), KeepError> {
        let now = self.now();
        for key in &known.keys {
            let kid = key.halves.public.kid();
            if key.longest_life < self.settings.life && is_accepted(key, now) {
                rows::outlive(&self.db, kid, self.settings.life).await?;
            } else if !is_accepted(key, now)
                && rows::drop_key(&self.db, kid, &self.by(), now).await?
            {
                tracing::info!(
                    service = NAME,
                    kid,
                    "a signing key is not accepted any more: its tokens have expired"
                );
            }
        }
        if known.keys.iter().any(|key| key.halves.is_sealed_formerly) {
            self.reseal().await?;
        }
        Ok(())
    }

    async fn reseal(&self) -> Result<(), KeepError> {
        let (_, all) = rows::read(&self.db).await?;
        for row in all {
            let mut former = self.keys.secrets().iter().skip(1);
            let opened = former.find_map(|it| seal::open(it, &row.kid, &row.sealed));
            if let Some(private) = opened {
                let sealed = self.seal(&row.kid, &private)?;
                rows::reseal(&self.db, &row, (&sealed, self.keys.own())).await?;
            }
        }
        Ok(())
    }

    fn seal(&self, kid: &str, private: &[u8]) -> Result<Vec<u8>, KeyError> {
        let secret = self.keys.secrets().first().ok_or(KeyError::Public)?;
        Ok(seal::seal(secret, kid, private, self.entropy.bytes())?)
    }

    /// Says what is not as it should be, once.
    fn look(&self, known: &Known) {
        let now = self.now();
        let count = u32::try_from(known.keys.len()).unwrap_or(u32::MAX);
        gauge!("latchkey_signing_keys").set(f64::from(count));
        let closed =
            known.keys.iter().filter(|key| key.can_be_opened && key.halves.private.is_none());
        let is_closed = closed.filter(|key| key.slot.signs(now)).count() > 0;
        gauge!("latchkey_signing_keys_closed").set(f64::from(u8::from(is_closed)));
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_closed, is_closed) && is_closed {
            tracing::error!(service = NAME, "{CLOSED}");
        }
        let is_set = state.setting == Setting::Set;
        let is_other = is_set && known.algorithm != self.settings.algorithm;
        if !std::mem::replace(&mut state.is_other, is_other) && is_other {
            tracing::warn!(service = NAME, "{OTHER}");
        }
    }

    fn by(&self) -> Caller {
        let request = RequestId::new(&format!("{NAME}-signing-keys-{}", self.now().0));
        Caller::of(Actor::System { service: NAME.into() }, request)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.unix_millis())
    }

    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_accepted(key: &KnownKey, now: Timestamp) -> bool {
    key.slot.accepted_until.is_none_or(|until| now < until)
}

impl PeriodicTask for KeyKeeper {
    const PAUSE: Duration = LOOK_EVERY;
    const AT_THE_END: bool = false;

    async fn run(&self) {
        match self.keep().await {
            Ok(()) => {}
            // While the database is away nobody logs in anyway.
            Err(KeepError::Store(error)) => {
                tracing::debug!(service = NAME, %error, "signing keys are looked at later");
            }
            Err(error @ KeepError::Key(_)) => {
                tracing::error!(service = NAME, %error, "no signing key can be made: the next look tries again");
            }
        }
    }
}
