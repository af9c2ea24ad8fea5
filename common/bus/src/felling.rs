//! The tests' own: ends a task of the bus, as a fault in it would. In release builds nothing can.

#[cfg(debug_assertions)]
use std::sync::Arc;

/// Which task is to end. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Felling {
    #[cfg(debug_assertions)]
    named: Arc<tokio::sync::watch::Sender<String>>,
}

#[cfg(debug_assertions)]
impl Felling {
    /// Ends the task that is called so, once.
    pub(crate) fn fell(&self, task: &str) {
        self.named.send_replace(task.to_owned());
    }

    /// Returns when the task that is called so is to end.
    pub(crate) async fn felled(&self, task: &str) {
        let mut named = self.named.subscribe();
        named.mark_unchanged();
        while named.changed().await.is_ok() {
            if *named.borrow_and_update() == task {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(not(debug_assertions))]
impl Felling {
    pub(crate) async fn felled(&self, _task: &str) {
        std::future::pending::<()>().await;
    }
}
