//! One lane of a batcher: it has one batch under way, and says when it is free again.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Message, Reply, Work};

/// The actor.
pub(super) struct Lane<W: Work> {
    pub(super) number: usize,
    pub(super) work: Arc<W>,
    pub(super) batcher: ActorRef<Message<W>>,
}

/// Questions that are asked together, and where each answer goes.
pub struct Batch<W: Work> {
    pub(super) items: Vec<W::Item>,
    pub(super) replies: Vec<Reply<W>>,
}

impl<W: Work> Batch<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<W: Work> Actor for Lane<W> {
    type Msg = Batch<W>;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        batch: Self::Msg,
        (): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // Whoever gave up meanwhile has dropped its end; sending to it changes nothing.
        match self.work.answer(batch.items).await {
            Ok(answers) => {
                for (reply, answer) in batch.replies.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                for reply in batch.replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
        // A batcher that drains takes no message and needs none.
        let _ = self.batcher.send_message(Message::Done(self.number));
        Ok(())
    }
}
