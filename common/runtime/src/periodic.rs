//! The actor that does a chore again and again: sweeping expired rows, writing down what was counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::supervisor::{Address, Child};

/// Something to be done again and again. It logs its own failures; the next run tries again.
pub trait Chore: Send + Sync + 'static {
    /// The pause between the end of one run and the beginning of the next.
    const PAUSE: Duration;
    /// Whether it is done once more when the service ends.
    const AT_THE_END: bool;

    /// Does it once.
    fn run(&self) -> impl Future<Output = ()> + Send;

    /// Whether this process can do it at present. Where one process at a time does it, another one should if not.
    fn is_able(&self) -> bool {
        true
    }

    /// Another process does it from now on, until it is done here again.
    fn stand_by(&self) {}

    /// What is done instead of a run while another process does it, or nobody.
    fn look_on(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The service ends: gives back what the chore holds.
    fn end(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The actor.
pub struct Periodic<C: Chore> {
    chore: Arc<C>,
}

/// What the actor tells itself.
pub struct Tick;

/// The child that does `chore`.
pub fn child<C: Chore>(name: &'static str, chore: Arc<C>) -> Child {
    Child::new(name, Address::new(), move || (Periodic { chore: Arc::clone(&chore) }, ()))
}

impl<C: Chore> Actor for Periodic<C> {
    type Msg = Tick;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        // The handle only serves to take the message back, which nobody wants.
        drop(myself.send_after(C::PAUSE, || Tick));
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        Tick: Self::Msg,
        (): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.chore.run().await;
        drop(myself.send_after(C::PAUSE, || Tick));
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if C::AT_THE_END {
            self.chore.run().await;
        }
        self.chore.end().await;
        Ok(())
    }
}
