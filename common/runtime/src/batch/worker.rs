//! One worker of a batcher: it has one batch under way, and says when it is free again.

use std::sync::Arc;

use metrics::Histogram;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::yield_now;

use super::{Message, Waiter, Work};
use crate::trace::{KeyValue, Span};

/// Answers that are handed out in a row: each wakes a task, and whatever else became ready on this thread comes
/// behind all of them.
const IN_A_ROW: usize = 64;

/// The actor.
pub(super) struct BatchWorker<W: Work> {
    pub(super) name: &'static str,
    pub(super) sizes: Histogram,
    pub(super) number: usize,
    pub(super) work: Arc<W>,
    pub(super) batcher: ActorRef<Message>,
}

/// Questions that are asked together, and who asks each.
pub struct Batch<W: Work> {
    pub(super) items: Vec<W::Item>,
    pub(super) waiters: Vec<Waiter<W>>,
}

impl<W: Work> Batch<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<W: Work> Actor for BatchWorker<W> {
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
        self.sizes.record(f64::from(u32::try_from(batch.items.len()).unwrap_or(u32::MAX)));
        let span = Span::joint(batch.waiters.iter().map(|asker| &asker.span), || {
            let size = i64::try_from(batch.items.len()).unwrap_or(i64::MAX);
            (self.name.into(), vec![KeyValue::new("latchkey.batch.size", size)])
        });
        let answered = span.run(self.work.answer(batch.items)).await;
        // Ended before the answers go out: whoever waits for one ends after it.
        drop(span);
        let (mut answers, failure) = match answered {
            Ok(answers) => (answers.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error)),
        };
        for (place, asker) in batch.waiters.into_iter().enumerate() {
            if place % IN_A_ROW == IN_A_ROW - 1 {
                yield_now().await;
            }
            // Where there is no answer for it, the asker notices that nobody is left to give one.
            if let Some(answer) = failure.clone().map(Err).or_else(|| answers.next().map(Ok)) {
                let _ = asker.reply.send(answer);
            }
        }
        // A batcher that drains takes no message and needs none.
        let _ = self.batcher.send_message(Message::Done(self.number));
        Ok(())
    }
}
