//! What the server's permissions forbid: subscriptions, and messages to oneself. It says so beside everything else, and
//! goes on as if nothing had been asked: whoever subscribed hears nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the server's text begins with, in lower case; the subject follows in quotes.
const SUBSCRIPTION: &str = "permissions violation for subscription to ";
const PUBLICATION: &str = "permissions violation for publish to ";
/// Subjects that are remembered at most: more than a process subscribes to.
const MAX_SUBJECTS: usize = 256;

/// What this process may not do. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Forbidden {
    /// The subjects that it may not hear.
    subjects: Arc<Mutex<BTreeSet<String>>>,
    /// Whether it may not send to itself.
    is_mute: Arc<AtomicBool>,
}

impl Forbidden {
    /// Takes an error of the server's; the subject, where it forbids one that was not forbidden before.
    pub(super) fn note(&self, error: &str) -> Option<String> {
        let subject = subject_of(error, SUBSCRIPTION)?;
        let mut subjects = self.subjects();
        let is_news = subjects.len() < MAX_SUBJECTS && subjects.insert(subject.to_owned());
        is_news.then(|| subject.to_owned())
    }

    /// Takes an error of the server's; `None` where it does not forbid a message below `inbox`, otherwise whether that
    /// was not known before.
    pub(super) fn note_mute(&self, error: &str, inbox: &str) -> Option<bool> {
        let subject = subject_of(error, PUBLICATION)?;
        subject.strip_prefix(inbox)?.strip_prefix('.')?;
        Some(!self.is_mute.swap(true, Ordering::Relaxed))
    }

    /// A new connection: everything is asked for anew.
    pub(super) fn clear(&self) {
        self.subjects().clear();
        self.is_mute.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subjects().is_empty()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each change is one step of a set: it is whole after a panic, too"
    )]
    fn subjects(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subject of what is forbidden, where the text begins like this.
fn subject_of<'a>(error: &'a str, begin: &str) -> Option<&'a str> {
    let error = error.trim_matches('\'');
    let (head, rest) = error.split_at_checked(begin.len())?;
    if !head.eq_ignore_ascii_case(begin) {
        return None;
    }
    rest.split('"').nth(1).filter(|subject| !subject.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_is_told_once_until_the_next_connection() {
        let forbidden = Forbidden::default();
        let error =
            r#"Permissions Violation for Subscription to "v1.keys.verify" using queue "keys""#;
        assert_eq!(forbidden.note(error).as_deref(), Some("v1.keys.verify"));
        assert_eq!(forbidden.note(error), None);
        let plain = r#"'Permissions Violation for Subscription to "_INBOX_x.1.*"'"#;
        assert_eq!(forbidden.note(plain).as_deref(), Some("_INBOX_x.1.*"));
        assert!(!forbidden.is_empty());
        forbidden.clear();
        assert!(forbidden.is_empty());
        assert!(forbidden.note(error).is_some());
    }

    #[test]
    fn that_a_process_may_not_send_to_itself_is_told_once() {
        let (forbidden, inbox) = (Forbidden::default(), "_INBOX_keys.1f");
        let error = r#"Permissions Violation for Publish to "_INBOX_keys.1f.self""#;
        assert_eq!(forbidden.note_mute(error, inbox), Some(true));
        assert_eq!(forbidden.note_mute(error, inbox), Some(false));
        assert_eq!(forbidden.note_mute(error, "_INBOX_keys.1"), None);
        let other = r#"Permissions Violation for Publish to "v1.keys.verify""#;
        assert_eq!(forbidden.note_mute(other, inbox), None);
        assert!(forbidden.is_empty());
        forbidden.clear();
        assert_eq!(forbidden.note_mute(error, inbox), Some(true));
    }

    #[test]
    fn what_is_no_forbidden_subscription_is_none() {
        let forbidden = Forbidden::default();
        for other in [
            "",
            "Stale Connection",
            r#"Permissions Violation for Publish to "v1.keys.verify""#,
            "Permissions Violation for Subscription to nothing",
            r#"Permissions Violation for Subscription to """#,
        ] {
            assert_eq!(forbidden.note(other), None, "{other}");
        }
        assert!(forbidden.is_empty());
    }
}
