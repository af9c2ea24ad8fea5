//! The oracle: every request with a credential, when it began and what it was told, and when its end was
//! asked for and promised. All times are of the one process that drives the test.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An API key, which a revoke ends.
    Key,
    /// A session's token, which a logout ends.
    Token,
}

/// A credential, and what ends it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// What it is.
    pub kind: Kind,
    /// The credential itself.
    pub text: String,
    /// A key's id.
    pub id: i64,
    /// A token of its owner that stays good.
    pub owner: String,
}

/// What an edge said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was accepted.
    Accepted,
    /// It was refused.
    Refused,
    /// Nothing: 503, 429 or a broken connection.
    Nothing,
    /// What nobody should ever say.
    Wrong(u16),
}

#[derive(Debug, Clone, Copy)]
struct Request {
    edge: usize,
    start: Instant,
    end: Instant,
    said: Said,
}

#[derive(Debug)]
struct History {
    credential: Credential,
    /// The first attempt to end it.
    asked: Option<Instant>,
    /// The first time that the end was promised.
    promised: Option<Instant>,
    requests: Vec<Request>,
}

/// Everything that happened to every credential.
#[derive(Debug)]
pub struct Ledger {
    begin: Instant,
    histories: Mutex<Vec<History>>,
}

/// What the oracle says.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Keys whose revoke returned.
    pub revokes: usize,
    /// Tokens whose logout returned.
    pub logouts: usize,
    /// Credentials whose end was asked for and never promised.
    pub unproved: usize,
    /// Requests with a credential.
    pub requests: usize,
    /// Of these, begun after the end was promised.
    pub later: usize,
    /// Of all, without an answer to go by.
    pub nothing: usize,
    /// Accepted although begun after the end was promised.
    pub stale: Vec<String>,
    /// Refused before the end was asked for.
    pub premature: Vec<String>,
    /// Answered in a way that no fault excuses.
    pub wrong: Vec<String>,
}

impl Said {
    /// What a status means.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            Some(200) => Self::Accepted,
            Some(401) => Self::Refused,
            Some(429 | 503) | None => Self::Nothing,
            Some(other) => Self::Wrong(other),
        }
    }
}

impl Ledger {
    /// A ledger of these.
    pub fn of(credentials: Vec<Credential>) -> Self {
        let open =
            |credential| History { credential, asked: None, promised: None, requests: Vec::new() };
        let histories = credentials.into_iter().map(open).collect();
        Self { begin: Instant::now(), histories: Mutex::new(histories) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.histories().len()
    }

    /// The credential with this number.
    pub fn credential(&self, number: usize) -> Credential {
        self.histories()[number].credential.clone()
    }

    /// Notes a request.
    pub fn note(&self, number: usize, edge: usize, start: Instant, said: Said) {
        let request = Request { edge, start, end: Instant::now(), said };
        self.histories()[number].requests.push(request);
    }

    /// Its end is about to be asked for.
    pub fn asks(&self, number: usize) {
        self.histories()[number].asked.get_or_insert_with(Instant::now);
    }

    /// Its end has been promised.
    pub fn promised(&self, number: usize) {
        self.histories()[number].promised.get_or_insert_with(Instant::now);
    }

    /// Whether the end of this one was asked for, and whether it was promised.
    pub fn state(&self, number: usize) -> (bool, bool) {
        let history = &self.histories()[number];
        (history.asked.is_some(), history.promised.is_some())
    }

    /// Judges everything so far.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for (number, history) in self.histories().iter().enumerate() {
            match (history.credential.kind, history.asked, history.promised) {
                (Kind::Key, _, Some(_)) => verdict.revokes += 1,
                (Kind::Token, _, Some(_)) => verdict.logouts += 1,
                (_, Some(_), None) => verdict.unproved += 1,
                (_, None, None) => {}
            }
            for request in &history.requests {
                self.judge(number, history, request, &mut verdict);
            }
        }
        verdict
    }

    fn judge(&self, number: usize, history: &History, request: &Request, verdict: &mut Verdict) {
        let since = |at: Option<Instant>| at.map(|at| at.duration_since(self.begin));
        let shown = || {
            format!(
                "{:?} {number} at edge {}: {:?} to {:?}, its end asked for at {:?}, promised at {:?}",
                history.credential.kind,
                request.edge,
                request.start.duration_since(self.begin),
                request.end.duration_since(self.begin),
                since(history.asked),
                since(history.promised),
            )
        };
        verdict.requests += 1;
        let is_later = history.promised.is_some_and(|promised| request.start >= promised);
        verdict.later += usize::from(is_later);
        match request.said {
            Said::Accepted if is_later => verdict.stale.push(shown()),
            Said::Refused if history.asked.is_none_or(|asked| request.end < asked) => {
                verdict.premature.push(shown());
            }
            Said::Nothing => verdict.nothing += 1,
            Said::Wrong(status) => verdict.wrong.push(format!("{status}: {}", shown())),
            Said::Accepted | Said::Refused => {}
        }
    }

    fn histories(&self) -> MutexGuard<'_, Vec<History>> {
        self.histories.lock().expect("no client failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let key = Credential { kind: Kind::Key, text: String::new(), id: 1, owner: String::new() };
        Ledger::of(vec![key])
    }

    #[test]
    fn an_accept_is_stale_if_it_began_after_the_promise_alone() {
        let ledger = ledger();
        let before = Instant::now();
        ledger.asks(0);
        ledger.note(0, 0, Instant::now(), Said::Accepted);
        ledger.promised(0);
        // Under way when the end was promised, and answered afterwards.
        ledger.note(0, 0, before, Said::Accepted);
        assert!(ledger.verdict().stale.is_empty());
        ledger.note(0, 0, Instant::now(), Said::Nothing);
        ledger.note(0, 0, Instant::now(), Said::Refused);
        assert!(ledger.verdict().stale.is_empty());
        ledger.note(0, 0, Instant::now(), Said::Accepted);
        let verdict = ledger.verdict();
        assert_eq!((verdict.stale.len(), verdict.later, verdict.revokes), (1, 3, 1));
        assert!(verdict.premature.is_empty());
    }

    #[test]
    fn a_refusal_is_premature_until_the_end_was_asked_for() {
        let ledger = ledger();
        let before = Instant::now();
        ledger.note(0, 0, before, Said::Refused);
        assert_eq!(ledger.verdict().premature.len(), 1);
        ledger.asks(0);
        ledger.note(0, 0, before, Said::Refused);
        let verdict = ledger.verdict();
        assert_eq!((verdict.premature.len(), verdict.unproved), (1, 1));
    }
}
