//! How a process is asked to end: first to stop taking work, then to give up what is left of it.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Whether the process is to end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    given_up: CancellationToken,
}

impl Stop {
    /// Nothing is to end yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on no work is taken; what is in hand is finished.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// From now on what is in hand is given up, too.
    pub fn give_up(&self) {
        self.asked.cancel();
        self.given_up.cancel();
    }

    /// Whether no work is to be taken any more.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Returns when no work is to be taken any more.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Returns when what is in hand is to be given up.
    pub async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// What `work` gives; `None` where the process is asked to end before that. Work that ends in the same moment has
    /// ended: a failure is not lost by a signal.
    pub async fn unless_asked<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.asked.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fails_in_the_moment_of_being_asked_has_failed() {
        let stop = Stop::new();
        let asked_meanwhile = async {
            tokio::task::yield_now().await;
            stop.ask();
            "failed"
        };
        assert_eq!(stop.unless_asked(asked_meanwhile).await, Some("failed"));
        assert_eq!(stop.unless_asked(async { "begun" }).await, None, "it was asked before");
        let stop = Stop::new();
        let asked_and_not_done = async {
            stop.ask();
            std::future::pending::<()>().await;
        };
        assert_eq!(stop.unless_asked(asked_and_not_done).await, None);
    }
}
