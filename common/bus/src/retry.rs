//! When a call is tried again, and how long one attempt waits.
//!
//! A replica that was killed answers nothing: an attempt that waits for a fraction of the deadline
//! costs that fraction, and the next one reaches a replica that lives. "Overloaded" is never tried
//! again: that would feed the storm.

use std::time::Duration;

use latchkey_contract::{CallError, Retry};
use tokio::time::{Instant, sleep_until};

use crate::envelope::Context;

/// Attempts of one call at most, the first included.
const MAX_ATTEMPTS: u32 = 5;
/// The pause before the second attempt; doubled before each further one. It separates attempts that
/// fail at once; an attempt that waited in vain has paused already.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The attempts of one call.
pub(crate) struct Attempts {
    rule: Retry,
    made: u32,
    /// Whether one of those before may have been carried out, now or later.
    may_be_done: bool,
}

impl Attempts {
    pub(crate) fn new(rule: Retry) -> Self {
        Self { rule, made: 0, may_be_done: false }
    }

    /// What the next attempt carries: `context` with the attempt's own deadline. The last attempt has
    /// all the time that is left.
    pub(crate) fn next(&mut self, context: &Context) -> Context {
        self.made += 1;
        match self.rule {
            Retry::Idempotent(attempt) if self.made < MAX_ATTEMPTS => context.within(attempt),
            Retry::Idempotent(_) | Retry::Unsent => context.clone(),
        }
    }

    /// Pauses, and says whether to try again after `error`.
    pub(crate) async fn again(&mut self, context: &Context, error: &CallError) -> bool {
        let Some(next) = self.pause(error).map(|pause| Instant::now() + pause) else {
            return false;
        };
        if next >= context.deadline {
            return false;
        }
        sleep_until(next).await;
        self.may_be_done |= *error == CallError::Timeout;
        true
    }

    /// Whether a call whose last attempt ended with `error` has certainly done nothing.
    pub(crate) fn is_undone(&self, error: &CallError) -> bool {
        !self.may_be_done && error.is_undone()
    }

    /// How long to wait before trying again after `error`, if that is allowed.
    fn pause(&self, error: &CallError) -> Option<Duration> {
        if self.made >= MAX_ATTEMPTS {
            return None;
        }
        match (error, self.rule) {
            // Nobody got it.
            (CallError::NoResponder | CallError::Disconnected, _) => {
                Some(FIRST_PAUSE * 2_u32.saturating_pow(self.made.saturating_sub(1)))
            }
            // Somebody may have got it. The attempt has waited long enough.
            (CallError::Timeout, Retry::Idempotent(_)) => Some(Duration::ZERO),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestId;

    const ATTEMPT: Duration = Duration::from_millis(250);
    const TWICE: Retry = Retry::Idempotent(ATTEMPT);

    /// Attempts that a call with so much time makes, if each ends with `error`.
    fn made(rule: Retry, error: &CallError) -> u32 {
        let context = Context::new(RequestId::new("t"), Duration::from_secs(2));
        let mut attempts = Attempts::new(rule);
        attempts.next(&context);
        while attempts.pause(error).is_some() {
            attempts.next(&context);
        }
        attempts.made
    }

    #[test]
    fn what_nobody_got_is_sent_again_and_what_somebody_may_have_got_only_where_harmless() {
        for error in [CallError::NoResponder, CallError::Disconnected] {
            assert_eq!(made(Retry::Unsent, &error), MAX_ATTEMPTS);
            assert_eq!(made(TWICE, &error), MAX_ATTEMPTS);
        }
        assert_eq!(made(TWICE, &CallError::Timeout), MAX_ATTEMPTS);
        assert_eq!(made(Retry::Unsent, &CallError::Timeout), 1);
        for error in [CallError::Overloaded, CallError::Fault, CallError::Unreadable] {
            assert_eq!(made(TWICE, &error), 1);
            assert_eq!(made(Retry::Unsent, &error), 1);
        }
    }

    #[test]
    fn an_attempt_has_a_part_of_the_deadline_and_the_last_has_all_that_is_left() {
        let context = Context::new(RequestId::new("t"), Duration::from_secs(2));
        let mut attempts = Attempts::new(TWICE);
        for _ in 1..MAX_ATTEMPTS {
            assert!(attempts.next(&context).remaining() <= ATTEMPT);
        }
        assert_eq!(attempts.next(&context).deadline, context.deadline);
        let mut once = Attempts::new(Retry::Unsent);
        assert_eq!(once.next(&context).deadline, context.deadline);
    }

    #[tokio::test]
    async fn an_attempt_without_an_answer_may_have_been_done_whatever_comes_after_it() {
        let context = Context::new(RequestId::new("t"), Duration::from_secs(2));
        let refused = CallError::Refused(latchkey_contract::Refusal::KeyNotFound);
        for (before, is_undone) in [(CallError::NoResponder, true), (CallError::Timeout, false)] {
            let mut attempts = Attempts::new(TWICE);
            attempts.next(&context);
            assert!(attempts.again(&context, &before).await);
            for last in [CallError::Overloaded, CallError::NoResponder, refused.clone()] {
                assert_eq!(attempts.is_undone(&last), is_undone, "{before}, {last}");
            }
            assert!(!attempts.is_undone(&CallError::Timeout));
        }
    }

    #[tokio::test]
    async fn nothing_is_tried_after_the_deadline() {
        let context = Context::new(RequestId::new("t"), Duration::ZERO);
        let mut attempts = Attempts::new(TWICE);
        attempts.next(&context);
        assert!(!attempts.again(&context, &CallError::Timeout).await);
    }
}
