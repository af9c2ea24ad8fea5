//! Which contract number a request is written in: the newest, or for a minute the one that the last answerer
//! of its subject could read. A caller cannot know which replica of a queue group it will reach.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use latchkey_contract::wire::Contracts;
use latchkey_runtime::lock::lock_or_begin_anew;
use tokio::time::Instant;

/// How long requests begin with a number that was agreed on, and how long a subject without a common number
/// is said to have none only once.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Subjects of which something is remembered at most: more than there are.
const MAX_SUBJECTS: usize = 256;

/// What this process reads and writes, and what was agreed on lately.
#[derive(Clone)]
pub(crate) struct Negotiation {
    own: Contracts,
    agreed: Arc<Mutex<HashMap<&'static str, Agreed>>>,
}

#[derive(Clone, Copy)]
struct Agreed {
    /// `None` where the other side reads no number of ours.
    contract: Option<u16>,
    until: Instant,
}

impl Negotiation {
    pub(crate) fn new(own: Contracts) -> Self {
        Self { own, agreed: Arc::default() }
    }

    /// What this process reads.
    pub(crate) fn own(&self) -> Contracts {
        self.own
    }

    /// The number that a request on `subject` begins with.
    pub(crate) fn begin(&self, subject: &str, now: Instant) -> u16 {
        let agreed = self.table().get(subject).copied().filter(|agreed| now < agreed.until);
        agreed.and_then(|agreed| agreed.contract).unwrap_or(self.own.newest())
    }

    /// Learns that a request on `subject` was not read by somebody who reads `theirs`; the number in which it
    /// is to be repeated, if it was not `sent` in that.
    pub(crate) fn again(
        &self,
        subject: &'static str,
        sent: u16,
        theirs: Contracts,
        now: Instant,
    ) -> Option<u16> {
        let contract = self.own.greatest_common(theirs);
        let is_news = self.remember(subject, contract, now);
        match contract {
            Some(contract) if is_news && contract != sent => {
                tracing::info!(subject, own = %self.own, %theirs, contract, "answered by another release: its contract number is used");
            }
            None if is_news => {
                tracing::error!(subject, own = %self.own, %theirs, "answered by a release that is too far away: none of its contract numbers is read here");
            }
            _ => {}
        }
        contract.filter(|contract| *contract != sent)
    }

    /// Learns that a reply on `subject` came in a number that is not read here.
    pub(crate) fn foreign_reply(&self, subject: &'static str, found: u16, now: Instant) {
        if self.remember(subject, None, now) {
            tracing::error!(subject, own = %self.own, theirs = found, "answered by a release that is too far away: its contract number is not read here");
        }
    }

    /// Whether that was not known.
    fn remember(&self, subject: &'static str, contract: Option<u16>, now: Instant) -> bool {
        let mut table = self.table();
        let known = table.get(subject).is_some_and(|it| now < it.until && it.contract == contract);
        if !known && table.len() >= MAX_SUBJECTS {
            table.retain(|_, agreed| now < agreed.until);
        }
        if table.len() < MAX_SUBJECTS || table.contains_key(subject) {
            table.insert(subject, Agreed { contract, until: now + REMEMBERED });
        }
        !known
    }

    fn table(&self) -> MutexGuard<'_, HashMap<&'static str, Agreed>> {
        lock_or_begin_anew(&self.agreed, "contracts that were agreed on", HashMap::clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "v1.test.ask";

    #[test]
    fn what_was_agreed_on_holds_for_its_subject_and_a_minute() {
        let (own, now) = (Negotiation::new(Contracts::of(7)), Instant::now());
        assert_eq!(own.begin(SUBJECT, now), 7);
        assert_eq!(own.again(SUBJECT, 7, Contracts::of(6), now), Some(6));
        assert_eq!(own.begin(SUBJECT, now + REMEMBERED / 2), 6);
        assert_eq!(own.begin("v1.test.other", now), 7);
        assert_eq!(own.begin(SUBJECT, now + REMEMBERED), 7);
    }

    #[test]
    fn a_newer_answerer_has_an_older_number_given_up_again() {
        let (own, now) = (Negotiation::new(Contracts::of(7)), Instant::now());
        assert_eq!(own.again(SUBJECT, 7, Contracts::of(6), now), Some(6));
        assert_eq!(own.again(SUBJECT, 6, Contracts::of(8), now), Some(7));
        assert_eq!(own.begin(SUBJECT, now), 7);
    }

    #[test]
    fn nothing_is_repeated_in_the_number_it_was_sent_in_or_where_none_is_common() {
        let (own, now) = (Negotiation::new(Contracts::of(7)), Instant::now());
        assert_eq!(own.again(SUBJECT, 7, Contracts::of(7), now), None);
        for far in [5, 9] {
            assert_eq!(own.again(SUBJECT, 7, Contracts::of(far), now), None);
            assert_eq!(own.begin(SUBJECT, now), 7);
        }
    }
}
