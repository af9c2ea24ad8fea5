//! Counts verdicts, as they are answered: what is good counts when a request's requirement has been judged, by what that
//! came to.

use std::sync::OnceLock;

use latchkey_contract::verify::Outcome;
use latchkey_contract::{CallError, Verdict};
use metrics::{Counter, counter};

use crate::requirement::Unmet;

/// Counts verdicts on one kind of credential, by outcome; the handles are made when they are needed.
pub(crate) struct VerificationMetrics {
    kind: &'static str,
    counters: [OnceLock<Counter>; OUTCOMES.len()],
}

/// Every [`Verdict::code`], why what is good may not be enough, and what stands for having no verdict.
const OUTCOMES: [&str; 12] = [
    "valid",
    "malformed",
    "unknown",
    "revoked",
    "expired",
    "inactive",
    "disabled",
    "wrong_kind",
    "wrong_environment",
    "ip_denied",
    "insufficient_scope",
    NO_VERDICT,
];
/// Where the commonest is.
const VALID: usize = 0;
/// What metrics call a credential that nobody could judge.
const NO_VERDICT: &str = "no_verdict";

impl VerificationMetrics {
    pub(crate) fn of(kind: &'static str) -> Self {
        Self { kind, counters: Default::default() }
    }

    /// Counts a question that is answered, unless what was asked about is good.
    pub(crate) fn count<P>(&self, answered: &Result<Verdict<P>, CallError>) {
        match answered {
            Ok(verdict) => self.count_refused(verdict),
            Err(_) => self.count_code(NO_VERDICT),
        }
    }

    /// Counts a verdict, unless it is a good one.
    pub(crate) fn count_refused<P>(&self, verdict: &Verdict<P>) {
        if !matches!(verdict, Verdict::Valid(_)) {
            self.count_code(verdict.code());
        }
    }

    /// Counts a good one, as its request is answered.
    pub(crate) fn count_judged(&self, judged: Result<(), Unmet>) {
        match judged {
            Ok(()) => self.count_at(VALID),
            Err(unmet) => self.count_code(Outcome::from(unmet).code()),
        }
    }

    fn count_code(&self, outcome: &str) {
        if let Some(place) = OUTCOMES.iter().position(|known| *known == outcome) {
            self.count_at(place);
        }
    }

    fn count_at(&self, place: usize) {
        let labels = [("kind", self.kind), ("outcome", OUTCOMES[place])];
        let counter = || counter!("latchkey_verifications_total", &labels);
        self.counters[place].get_or_init(counter).increment(1);
    }
}
