//! What a process on the bus keeps up for as long as it runs: whoever reads its replies, and whoever notices that
//! nothing arrives.

use latchkey_runtime::Child;

use super::{Nats, hearing};

/// The task that sends to itself, to the tests.
const HEARING: &str = "hearing";

impl Nats {
    /// The tasks, for a supervisor. Replies are read without it, too, until their reader ends.
    pub(crate) fn upkeep(&self) -> Vec<Child> {
        vec![self.replies(), self.hearing()]
    }

    fn replies(&self) -> Child {
        let nats = self.clone();
        Child::task("bus replies", move |mut context| {
            let nats = nats.clone();
            async move {
                let Nats { inbox, felling, .. } = &nats;
                let reading = async { inbox.read(nats.client().await, felling).await };
                // While the bus is away, this waits for it.
                let Some(reading) = context.unless_stopped(reading).await else { return Ok(()) };
                reading?;
                context.up();
                tokio::select! {
                    () = context.stopped() => Ok(()),
                    () = inbox.unread() => Err("replies are not read any more".into()),
                }
            }
        })
    }

    fn hearing(&self) -> Child {
        let nats = self.clone();
        Child::task("bus hearing", move |mut context| {
            let nats = nats.clone();
            async move {
                let Nats { inbox, hearing, felling, .. } = &nats;
                let Some(client) = context.unless_stopped(nats.client()).await else {
                    return Ok(());
                };
                context.up();
                tokio::select! {
                    () = context.stopped() => Ok(()),
                    () = hearing::ask(client, inbox, hearing) => Ok(()),
                    () = felling.felled(HEARING) => Err("ended by a test".into()),
                }
            }
        })
    }
}
