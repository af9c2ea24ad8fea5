//! Whose access tokens are accepted. The database names the secrets (`identity_signers`), each by a fingerprint that
//! it has in common with the issuer and the audience of its tokens; every verdict goes by what the rows say in its
//! own snapshot, and none by what a process happens to hold.
//!
//! - A start that holds a secret which is named adds its own others to them. One that holds none changes nothing and
//!   waits until its own is named: a replica with another secret by mistake ends nobody's sessions.
//! - A secret is taken back by `secret enforce`, or by the start of a process that is alone with its database, and
//!   is never named again.
//! - A replica whose secret was taken back is not ready; one that lacks a secret which is named answers 503 for
//!   tokens that it cannot read. [`Watch`] says both.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Subcommand;
use latchkey_audit::operator;
use latchkey_authority::Store;
use latchkey_authority::operator::{failed, outwait};
use latchkey_contract::{Actor, Caller, RequestId, Secret, Timestamp};
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_runtime::{Clock, Entropy, Environment, Exit, StartError};
use latchkey_store::{Db, Engine, StoreError, wait_while_away};
use metrics::gauge;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::store::era;
use crate::store::signer::{self as rows, Adoption, Others};
use crate::token::{Fingerprint, Tokens};
use crate::{NAME, config, store};

/// How often a process whose secret is not named looks whether it is by now, and how often one that serves looks
/// whether it still is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long `secret enforce` waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(30);

const UNKNOWN: &str = "the database names other values of SECRET_KEY, JWT_ISSUER and JWT_AUDIENCE than this process \
    has: it serves nobody, and is not ready, until they are named. If that is a mistake, give it those of the other \
    replicas. If the secret is to change, give it the present one as SECRET_KEY_PREVIOUS, or run `secret enforce \
    --new` with the new one, which ends every token of the present one";
const WITHDRAWN: &str = "SECRET_KEY of this process was taken back for good: it serves nobody, and is not ready. \
    Give it the one of the other replicas, or a new one";
const TAKEN_BACK: &str = "another one has taken its place, and what was taken back is not accepted again (where \
    SECRET_KEY is not set, this is about the file secret.key beside the database)";
const REPLACED: &str = "SECRET_KEY, JWT_ISSUER or JWT_AUDIENCE is another than at the last start: tokens from before \
    are refused, and every session has ended. SECRET_KEY_PREVIOUS with the former secret would have gone on accepting them";
const FORMER: &str = "a former secret is not given as SECRET_KEY_PREVIOUS any more: its tokens from before are refused, and \
    sessions go on";

/// What an operator can do to the secrets.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum SecretCommand {
    /// Accept tokens that the secret of this environment has signed, and no others, for good; it returns when no edge
    /// accepts any
    Enforce {
        /// Also where the database does not name that secret yet: then no token from before is accepted any more
        #[arg(long)]
        new: bool,
    },
}

/// This process signs with a secret that the database does not name.
#[derive(Debug, thiserror::Error)]
#[error("the database does not name the secret of this process: its tokens would be refused")]
pub struct NotNamed;

/// Whether the database names the secret that this process signs with. Clones share it.
#[derive(Clone, Debug)]
pub struct Named(watch::Receiver<bool>);

/// Looks whether the database names the process' own secrets, and others.
pub struct Watch {
    db: Db,
    own: Vec<Fingerprint>,
    named: watch::Sender<bool>,
    /// Named secrets that the process lacks, as the run before found.
    missing: Mutex<usize>,
}

impl Named {
    /// As it was a second ago at most.
    #[must_use]
    pub fn is(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is not named any more.
    pub async fn lost(&mut self) {
        if self.0.wait_for(|named| !named).await.is_err() {
            // The watch has ended with the service, and nobody knows more.
            std::future::pending::<()>().await;
        }
    }
}

/// Has the database name this process' secrets, and returns when it does. Where it may not name them it waits until
/// somebody says so.
///
/// # Errors
/// [`StartError`] where the tables cannot be used, or where a process that is alone with its database has a secret
/// that was taken back.
pub(crate) async fn take_up(db: &Db, tokens: &Tokens, clock: &Clock) -> Result<(), StartError> {
    let own = tokens.signers();
    // One process has the file at a time: there is nobody whose secret it could be.
    let others = match db.engine() {
        Engine::Sqlite => Others::Withdrawn,
        Engine::Postgres => Others::Stay,
    };
    let by = itself(clock);
    let mut said = None;
    loop {
        let now = Timestamp(clock.unix_millis());
        let attempt = || rows::take_up(db, &own, others, &by, now);
        let adoption = wait_while_away(NAME, None, StoreError::is_away, attempt).await;
        let adoption = adoption.map_err(unusable_tables)?;
        if let Adoption::Named { sessions_end, .. } = adoption {
            log_adoption(&adoption);
            if sessions_end && let Err(error) = era::end_former(db, now).await {
                tracing::warn!(service = NAME, %error, "the rows of ended sessions do not say it");
            }
            return Ok(());
        }
        if adoption == Adoption::Withdrawn && others == Others::Withdrawn {
            return Err(config::SECRET_KEY.wrong(TAKEN_BACK).into());
        }
        // Not less than one: those that are named are lacking.
        gauge!("latchkey_secrets_missing").set(1.0);
        if said.as_ref() != Some(&adoption) {
            let message = if adoption == Adoption::Withdrawn { WITHDRAWN } else { UNKNOWN };
            tracing::error!(service = NAME, "{message}");
            said = Some(adoption);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A start that changes what stands in the database does so of its own accord.
pub(crate) fn itself(clock: &Clock) -> Caller {
    let request = RequestId::new(&format!("{NAME}-start-{}", clock.unix_millis()));
    Caller::of(Actor::System { service: NAME.into() }, request)
}

fn log_adoption(adoption: &Adoption) {
    let Adoption::Named { added, withdrawn, sessions_end, revision: Some(revision) } = adoption
    else {
        return;
    };
    let revision = revision.0;
    if *sessions_end {
        tracing::warn!(service = NAME, revision, "{REPLACED}");
    } else if *withdrawn > 0 {
        tracing::info!(service = NAME, revision, withdrawn, "{FORMER}");
    } else {
        tracing::info!(
            service = NAME,
            revision,
            added,
            "the database names further secrets: tokens signed with them are accepted"
        );
    }
}

/// Whether the database names a secret.
///
/// # Errors
/// [`StartError`] where the tables cannot be used.
pub async fn is_any_named(db: &Db) -> Result<bool, StartError> {
    let read = || rows::read(db);
    let signers =
        wait_while_away(NAME, None, StoreError::is_away, read).await.map_err(unusable_tables)?;
    Ok(!signers.named.is_empty())
}

/// Returns when a start with this configuration has to wait until the database names its secret; never where it is
/// alone with its database, and waits for nobody.
///
/// # Errors
/// [`StartError`] where no fingerprint can be made of the secret.
pub async fn waits(db: &Db, config: &crate::Config) -> Result<(), StartError> {
    let own = Tokens::new(&config.token).map_err(unusable)?.signers();
    loop {
        // While the database is away, the start itself waits for it, and says so.
        if db.engine() == Engine::Postgres
            && let Ok(signers) = rows::read(db).await
            && !signers.may_serve(&own)
        {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Has the database name the secret of this environment and no other, and waits until no edge accepts what others
/// have signed. A repeat waits, too. A secret that the database does not name yet is taken only where `may_be_new`.
///
/// # Errors
/// [`StartError`] where a variable or the database cannot be used, or the secret was itself taken back, or is a new
/// one and may not be.
pub async fn enforce(
    environment: &Environment,
    db: &Db,
    secret: Secret,
    may_be_new: bool,
) -> Result<String, StartError> {
    let mut config = crate::Config::read(environment, secret)?;
    config.token.previous = None;
    let own = Tokens::new(&config.token).map_err(unusable)?.signers();
    let clock = Clock::System;
    db.prepare(NAME, store::MIGRATIONS, Some(PATIENCE)).await?;
    let rows = Store { db: db.clone(), sql: &store::AUTHORITY };
    let epoch = i64::from_ne_bytes(Entropy::System.bytes());
    rows.begin(epoch).await.map_err(|error| failed(&error))?;
    let now = Timestamp(clock.unix_millis());
    let others = if may_be_new { Others::Withdrawn } else { Others::WithdrawnByNamed };
    let by = operator::caller(&Entropy::System);
    let adoption = rows::take_up(db, &own, others, &by, now).await;
    let adoption = adoption.map_err(|error| failed(&error))?;
    let (withdrawn, sessions_end, revision) = match adoption {
        Adoption::Named { withdrawn, sessions_end, revision, .. } => {
            (withdrawn, sessions_end, revision)
        }
        Adoption::Withdrawn => return Err(config::SECRET_KEY.wrong(TAKEN_BACK).into()),
        Adoption::Unknown => return Err(not_named_yet(db).await),
    };
    outwait(&clock).await;
    if sessions_end {
        era::end_former(db, now).await.map_err(|error| failed(&error))?;
    }
    let done = match revision {
        Some(revision) => format!("{withdrawn} others were taken back (revision {})", revision.0),
        None => "no other was".to_owned(),
    };
    Ok(format!(
        "Access tokens are accepted that are signed with this SECRET_KEY, and no others: {done}, and no edge accepts \
         what they have signed."
    ))
}

/// Why a secret that is not named does not take the place of those that are.
async fn not_named_yet(db: &Db) -> StartError {
    let named = match rows::read(db).await {
        Ok(signers) => signers.named.len(),
        Err(error) => return failed(&error),
    };
    let message = format!(
        "nothing was done: the database does not name this SECRET_KEY (with JWT_ISSUER and JWT_AUDIENCE). It names \
         {named} others, which would be taken back for good, and with them every token from before. Where it is no mistake \
         but a new secret, run `secret enforce --new`"
    );
    StartError::new(Exit::Data, message)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` calls")]
pub(crate) fn unusable_tables(error: StoreError) -> StartError {
    StartError::new(Exit::Data, format!("the identity tables cannot be used: {error}"))
}

/// A secret that no fingerprint can be made of.
pub(crate) fn unusable(error: impl std::fmt::Display) -> StartError {
    config::SECRET_KEY.wrong(error.to_string()).into()
}

impl Watch {
    /// A watch over the secrets of a process that has [taken them up](take_up), and what it sees.
    pub(crate) fn new(db: Db, own: Vec<Fingerprint>) -> (Self, Named) {
        gauge!("latchkey_secrets_missing").set(0.0);
        let (named, seen) = watch::channel(true);
        (Self { db, own, named, missing: Mutex::new(0) }, Named(seen))
    }

    async fn look(&self) -> Result<(), StoreError> {
        let signers = rows::read(&self.db).await?;
        let missing = signers.named.iter().filter(|named| !self.own.contains(named)).count();
        gauge!("latchkey_secrets_missing")
            .set(f64::from(u32::try_from(missing).unwrap_or(u32::MAX)));
        let before = std::mem::replace(&mut *self.missing(), missing);
        if missing > before {
            tracing::warn!(
                service = NAME,
                missing,
                "the database names secrets that this process lacks: tokens that it cannot read are answered 503. Give \
                 it those of the other replicas (SECRET_KEY, SECRET_KEY_PREVIOUS); where nobody has them any more, \
                 `secret enforce` takes them back"
            );
        } else if missing == 0 && before > 0 {
            tracing::info!(service = NAME, "the database names no secret that this process lacks");
        }
        let is_named = self.own.first().is_some_and(|signing| signers.named.contains(signing));
        if self.named.send_replace(is_named) && !is_named {
            tracing::error!(
                service = NAME,
                "the database does not name SECRET_KEY of this process any more: its tokens are refused, and it is not \
                 ready"
            );
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn missing(&self) -> MutexGuard<'_, usize> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeriodicTask for Watch {
    const PAUSE: Duration = LOOK_EVERY;
    const AT_THE_END: bool = false;

    async fn run(&self) {
        // While the database is away nothing is accepted anyway.
        if let Err(error) = self.look().await {
            tracing::debug!(service = NAME, %error, "which secrets are named is looked at later");
        }
    }
}
