//! Publishing and listening over NATS.

use bytes::Bytes;
use futures_util::StreamExt;

use super::Nats;
use crate::BusError;
use crate::topic::{Hear, NatsSubscription};

impl Nats {
    pub(crate) async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        // What is sent while the server is away would be queued, and arrive when it means nothing.
        if !self.is_connected() {
            return Err(BusError::Disconnected);
        }
        self.client.publish(subject.to_owned(), payload).await.map_err(BusError::Publish)
    }

    pub(crate) async fn subscribe(
        &self,
        pattern: &str,
        hear: Hear,
    ) -> Result<NatsSubscription, BusError> {
        let mut subscriber =
            self.client.subscribe(pattern.to_owned()).await.map_err(BusError::Subscribe)?;
        self.client.flush().await.map_err(|error| BusError::Serve(Box::new(error)))?;
        #[expect(clippy::disallowed_methods, reason = "ended when the subscription is dropped")]
        let reading = tokio::spawn(async move {
            while let Some(message) = subscriber.next().await {
                hear(message.payload);
            }
        });
        Ok(NatsSubscription(reading.abort_handle()))
    }
}
