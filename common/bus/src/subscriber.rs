//! Who hears messages: what is done with each of them, and when nothing is heard any more.

use std::sync::Arc;

use bytes::Bytes;

/// What is done with each message: its subject, and its payload. It is run where messages are received: it may
/// not wait.
pub type MessageHandler = Arc<dyn Fn(&str, Bytes) + Send + Sync>;

/// What is done when a subscription hears nothing any more.
pub type Ended = Box<dyn FnOnce() + Send>;

/// Does it when dropped, be it by a panic.
pub(crate) struct AtEnd(Option<Ended>);

impl AtEnd {
    pub(crate) fn new(ended: Ended) -> Self {
        Self(Some(ended))
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}
