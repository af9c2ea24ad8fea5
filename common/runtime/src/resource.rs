//! What a service needs outside its process: a bus, a database. Whoever starts a service opens, asks and closes
//! them all alike, and links none that the service does not name.

use std::future::Future;

use crate::exit::StartError;

/// Something outside the process that a service needs. Clones share it.
pub trait Resource: Clone + Send + Sync + 'static {
    /// How it is reached, as the configuration says.
    type Options: Send;

    /// Opens it, and waits for it where it is away.
    ///
    /// # Errors
    /// [`StartError`] where waiting cannot help.
    fn open(options: Self::Options) -> impl Future<Output = Result<Self, StartError>> + Send;

    /// Waits, within a bound, until it has said what it has to say of this process' beginning; whether that was good.
    fn await_first_look(&self) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Whether it can be relied on at this moment.
    fn is_ready(&self) -> impl Future<Output = bool> + Send;

    /// Gives it back after the work in hand.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Two of them are opened at the same time, and closed one after the other, the second first.
impl<A: Resource, B: Resource> Resource for (A, B) {
    type Options = (A::Options, B::Options);

    async fn open((a, b): Self::Options) -> Result<Self, StartError> {
        tokio::try_join!(A::open(a), B::open(b))
    }

    async fn await_first_look(&self) -> bool {
        let (a, b) = tokio::join!(self.0.await_first_look(), self.1.await_first_look());
        a && b
    }

    async fn is_ready(&self) -> bool {
        self.0.is_ready().await && self.1.is_ready().await
    }

    async fn close(&self) {
        self.1.close().await;
        self.0.close().await;
    }
}
