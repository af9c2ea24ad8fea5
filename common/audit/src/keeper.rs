//! The chore on a service's audit log, which one replica at a time does: it seals what is written, says how far it
//! is, and takes out what is too old. What it may do side by side with another replica's: `sealer.rs`.

use std::time::Duration;

use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::StoreError;

use crate::pruner::Pruner;
use crate::sealer::Sealer;
use crate::shipper::Shipper;
use crate::watch::Halt;

/// The chore.
pub struct Keeper {
    sealer: Sealer,
    pruner: Pruner,
    shipper: Option<Shipper>,
}

impl Keeper {
    /// The chore on the log that `sealer` seals.
    #[must_use]
    pub fn new(sealer: Sealer, pruner: Pruner) -> Self {
        Self { sealer, pruner, shipper: None }
    }

    /// The same, which has `shipper` write down what is sealed.
    #[must_use]
    pub fn writing(self, shipper: Option<Shipper>) -> Self {
        Self { shipper, ..self }
    }

    /// Takes out what is too old, if it is time to and nothing is wrong with what was sealed.
    ///
    /// # Errors
    /// [`StoreError`]; what was taken out before is gone.
    pub async fn prune(&self) -> Result<(), StoreError> {
        match self.sealer.halted() {
            Some(_) => Ok(()),
            None => self.pruner.run(&self.sealer.chain).await,
        }
    }

    async fn keep(&self, is_last: bool) -> Result<(), StoreError> {
        self.sealer.seal().await?;
        self.sealer.anchor(is_last);
        match &self.shipper {
            Some(shipper) => shipper.run(&self.sealer.chain).await,
            None => Ok(()),
        }
    }

    fn note(&self, kept: Result<(), StoreError>) {
        if let Err(error) = kept {
            let service = self.sealer.service();
            tracing::warn!(service, %error, "audit events are sealed, or written, later");
        }
    }
}

impl PeriodicTask for Keeper {
    /// A release that lengthens it is robbed of the row by replicas of the release before: to them a hold that is
    /// longer than theirs was stamped before the clock was set back.
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;
    /// Events of the last second, and an anchor of them.
    const FINISHES: bool = true;

    async fn run(&self) {
        self.note(self.keep(false).await);
        if let Err(error) = self.prune().await {
            let service = self.sealer.service();
            tracing::warn!(service, %error, "old audit events are taken out later");
        }
    }

    /// Another replica may have the key that the last event was sealed with. An event that was lost is lost to all.
    fn is_able(&self) -> bool {
        !matches!(self.sealer.halted(), Some(Halt::Unknown { .. }))
    }

    /// So that this replica, too, knows how far the chain was, and writes to the right file when its turn comes.
    async fn look_on(&self) {
        if let Some(shipper) = &self.shipper {
            shipper.look().await;
        }
        if let Err(error) = self.sealer.look(false).await {
            let service = self.sealer.service();
            tracing::debug!(service, %error, "how far the audit log is sealed is looked at later");
        }
    }

    async fn finish(&self) {
        self.note(self.keep(true).await);
    }
}
