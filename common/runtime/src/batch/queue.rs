//! The questions that wait for a batch.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use super::worker::Batch;
use super::{Waiter, Work};
use crate::lock::lock_or_begin_anew;

/// The queue. Questions are taken while it is open; those of a closed one are dropped.
pub(super) struct Queue<W: Work>(Mutex<Waiting<W>>);

struct Waiting<W: Work> {
    questions: VecDeque<(W::Item, Waiter<W>)>,
    /// Of all of them.
    weight: usize,
    is_open: bool,
    /// How many times it was opened.
    openings: u64,
}

/// What waits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) count: usize,
    /// Of all of them.
    pub(super) weight: usize,
}

/// What became of a question. The batcher has to be told of the first two.
#[must_use]
pub(super) enum Pushed {
    /// It is the first that waits.
    First,
    /// With it there is enough for a batch.
    Full,
    /// It comes to others.
    Another,
    /// It was dropped.
    Closed,
}

/// The queue while a batcher takes from it; closed when dropped, unless the next batcher has opened it.
pub(super) struct Open<W: Work> {
    queue: Arc<Queue<W>>,
    opening: u64,
}

impl<W: Work> Queue<W> {
    fn lock(&self) -> MutexGuard<'_, Waiting<W>> {
        // Whoever asked is told that nobody answers.
        lock_or_begin_anew(&self.0, "questions that wait for a batch", |waiting| {
            waiting.questions.clear();
            waiting.weight = 0;
        })
    }

    /// Opens it, empty.
    pub(super) fn open(self: &Arc<Self>) -> Open<W> {
        self.clear();
        let mut waiting = self.lock();
        waiting.is_open = true;
        waiting.openings += 1;
        Open { queue: Arc::clone(self), opening: waiting.openings }
    }

    /// Adds a question at the end.
    pub(super) fn push(&self, item: W::Item, waiter: Waiter<W>) -> Pushed {
        let own = W::weight(&item);
        let mut waiting = self.lock();
        if !waiting.is_open {
            return Pushed::Closed;
        }
        let (before, after) = (waiting.weight, waiting.weight + own);
        waiting.weight = after;
        waiting.questions.push_back((item, waiter));
        if waiting.questions.len() == 1 {
            Pushed::First
        } else if before < W::MAX_WEIGHT && after >= W::MAX_WEIGHT {
            Pushed::Full
        } else {
            Pushed::Another
        }
    }

    /// Drops every question.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        waiting.weight = 0;
        let dropped = std::mem::take(&mut waiting.questions);
        drop(waiting);
        drop(dropped);
    }

    /// How many wait, and their weight.
    pub(super) fn load(&self) -> Load {
        let waiting = self.lock();
        Load { count: waiting.questions.len(), weight: waiting.weight }
    }

    /// The next batch, without those whose asker has given up.
    pub(super) fn take(&self) -> Batch<W> {
        let mut batch = Batch { items: Vec::new(), waiters: Vec::new() };
        let mut weight = 0;
        let mut waiting = self.lock();
        while let Some((item, waiter)) = waiting.questions.pop_front() {
            let own = W::weight(&item);
            if waiter.is_gone() {
                waiting.weight -= own;
                continue;
            }
            if weight + own > W::MAX_WEIGHT && !batch.is_empty() {
                waiting.questions.push_front((item, waiter));
                break;
            }
            waiting.weight -= own;
            weight += own;
            batch.items.push(item);
            batch.waiters.push(waiter);
        }
        batch
    }
}

impl<W: Work> Default for Queue<W> {
    fn default() -> Self {
        let questions = VecDeque::new();
        Self(Mutex::new(Waiting { questions, weight: 0, is_open: false, openings: 0 }))
    }
}

impl<W: Work> Deref for Open<W> {
    type Target = Queue<W>;

    fn deref(&self) -> &Queue<W> {
        &self.queue
    }
}

impl<W: Work> Drop for Open<W> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        if waiting.openings == self.opening {
            waiting.is_open = false;
            drop(waiting);
            self.queue.clear();
        }
    }
}
