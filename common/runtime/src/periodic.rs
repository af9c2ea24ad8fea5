//! What is done again and again: sweeping expired rows, writing down what was counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::supervisor::Child;

/// Something to be done again and again. It logs its own failures; the next run tries again.
pub trait PeriodicTask: Send + Sync + 'static {
    /// The pause between the end of one run and the beginning of the next.
    const PAUSE: Duration;
    /// Whether it is done once more when the service ends.
    const AT_THE_END: bool;

    /// Whether there is something to [finish](Self::finish).
    const FINISHES: bool = false;

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

    /// The service ends, and this process does the task: what it does once more before it gives the task up. Where one
    /// process at a time does it, none does this that does not.
    fn finish(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The service ends: gives back what the task holds.
    fn end(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The child that does `task`. A run that has begun is finished when the service ends.
pub fn child<P: PeriodicTask>(name: &'static str, task: Arc<P>) -> Child {
    Child::task(name, move |mut context| {
        let task = Arc::clone(&task);
        async move {
            context.up();
            while context.unless_stopped(sleep(P::PAUSE)).await.is_some() {
                task.run().await;
            }
            if P::AT_THE_END {
                task.run().await;
            }
            task.finish().await;
            task.end().await;
            Ok(())
        }
    })
}
