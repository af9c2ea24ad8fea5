//! The bus as something that a service needs outside its process.

use latchkey_runtime::{Resource, StartError};

use crate::{Bus, NatsOptions};

impl Resource for Bus {
    type Options = NatsOptions;

    async fn open(options: NatsOptions) -> Result<Self, StartError> {
        Self::connect(options).await
    }

    async fn await_first_look(&self) -> bool {
        Self::await_first_look(self).await;
        self.hears()
    }

    async fn is_ready(&self) -> bool {
        self.hears()
    }

    /// It ends with its last handle.
    async fn close(&self) {}
}
