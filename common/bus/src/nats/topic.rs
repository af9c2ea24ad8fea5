//! Publishing and listening over NATS.

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::AbortHandle;

use super::Nats;
use crate::BusError;
use crate::subscriber::{AtEnd, Ended, MessageHandler};

/// The task that reads a subscription over NATS.
pub struct NatsSubscription(AbortHandle);

impl Nats {
    pub(crate) async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        // What is sent while the server is away would be queued, and arrive when it means nothing.
        let client = self.connected().ok_or(BusError::Disconnected)?;
        client.publish(subject.to_owned(), payload).await.map_err(BusError::Publish)
    }

    pub(crate) async fn subscribe(
        &self,
        pattern: &str,
        hear: MessageHandler,
        ended: Ended,
    ) -> Result<NatsSubscription, BusError> {
        let at_end = AtEnd::new(ended);
        let client = self.client().await;
        let mut subscriber =
            client.subscribe(pattern.to_owned()).await.map_err(BusError::Subscribe)?;
        client.flush().await.map_err(|error| BusError::Serve(Box::new(error)))?;
        let (felling, pattern) = (self.felling.clone(), pattern.to_owned());
        #[expect(
            clippy::disallowed_methods,
            reason = "ended when the subscription is dropped; whoever has that is told of any other end"
        )]
        let reading = tokio::spawn(async move {
            let _at_end = at_end;
            let reading = async {
                while let Some(message) = subscriber.next().await {
                    hear(&message.subject, message.payload);
                }
            };
            tokio::select! {
                () = reading => {}
                () = felling.felled(&pattern) => {}
            }
        });
        Ok(NatsSubscription(reading.abort_handle()))
    }
}

impl Drop for NatsSubscription {
    fn drop(&mut self) {
        self.0.abort();
    }
}
