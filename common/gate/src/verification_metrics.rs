//! Counts verdicts.

use std::sync::OnceLock;

use latchkey_contract::{CallError, Verdict};
use metrics::{Counter, counter};

/// Counts verdicts on one kind of credential, by outcome; the handles are made when they are needed.
pub(crate) struct VerificationMetrics {
    kind: &'static str,
    counters: [OnceLock<Counter>; OUTCOMES.len()],
}

/// Every [`Verdict::code`], and what stands for having none.
const OUTCOMES: [&str; 8] =
    ["valid", "malformed", "unknown", "revoked", "expired", "inactive", "disabled", NO_VERDICT];
/// Where the commonest is.
const VALID: usize = 0;
/// What metrics call a credential that nobody could judge.
const NO_VERDICT: &str = "no_verdict";

impl VerificationMetrics {
    pub(crate) fn of(kind: &'static str) -> Self {
        Self { kind, counters: Default::default() }
    }

    pub(crate) fn count<P>(&self, judged: &Result<Verdict<P>, CallError>) {
        self.count_code(judged.as_ref().map_or(NO_VERDICT, Verdict::code));
    }

    pub(crate) fn count_code(&self, outcome: &str) {
        if let Some(place) = OUTCOMES.iter().position(|known| *known == outcome) {
            self.count_at(place);
        }
    }

    pub(crate) fn count_valid(&self) {
        self.count_at(VALID);
    }

    fn count_at(&self, place: usize) {
        let labels = [("kind", self.kind), ("outcome", OUTCOMES[place])];
        let counter = || counter!("latchkey_verifications_total", &labels);
        self.counters[place].get_or_init(counter).increment(1);
    }
}
