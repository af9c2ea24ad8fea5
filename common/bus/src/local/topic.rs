//! Publishing and listening inside one process.

use std::sync::PoisonError;

use bytes::Bytes;

use super::{Local, LocalListener};
use crate::faults;
use crate::subscriber::{AtEnd, Ended, MessageHandler};

/// A subscription inside this process.
pub struct LocalSubscription {
    bus: Local,
    number: u64,
    _at_end: AtEnd,
}

impl Local {
    pub(crate) fn publish(&self, subject: &str, payload: &Bytes) {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let hearing = listeners.values().filter(|listener| fits(&listener.pattern, subject));
        let hearing: Vec<LocalListener> = hearing.cloned().collect();
        drop(listeners);
        for LocalListener { hear, process, .. } in hearing {
            match &self.faults {
                None => hear(subject, payload.clone()),
                Some(faults) => {
                    let copies = faults.publication(subject, self.process, process);
                    faults::tell(&hear, subject, payload, copies);
                }
            }
        }
    }

    pub(crate) fn subscribe(
        &self,
        pattern: &str,
        hear: MessageHandler,
        ended: Ended,
    ) -> LocalSubscription {
        let number = self.listen(pattern, hear);
        LocalSubscription { bus: self.clone(), number, _at_end: AtEnd::new(ended) }
    }

    fn listen(&self, pattern: &str, hear: MessageHandler) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let number = listeners.last_key_value().map_or(0, |(last, _)| last + 1);
        let (pattern, process) = (pattern.to_owned(), self.process);
        listeners.insert(number, LocalListener { pattern, hear, process });
        number
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let mut listeners = self.bus.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.remove(&self.number);
    }
}

/// Whether `subject` is one of `pattern`'s.
fn fits(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_nats() {
        for (pattern, subject) in
            [("a.b", "a.b"), ("a.*", "a.b"), ("a.>", "a.b"), ("a.>", "a.b.c"), ("*.b", "a.b")]
        {
            assert!(fits(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in
            [("a.b", "a"), ("a", "a.b"), ("a.*", "a"), ("a.>", "a"), ("a.*", "a.b.c"), ("b", "a")]
        {
            assert!(!fits(pattern, subject), "{pattern} {subject}");
        }
    }
}
