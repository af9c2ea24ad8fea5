//! What the oracle says of keys: which are over, which are switched off, and what they may do.

use std::time::Instant;

use super::super::history::{Change, Grace, History, Key, Span, Use, What};
use super::{Kind, is_by};

impl History {
    /// Why nobody may accept a key any more that was accepted.
    pub(super) fn outlived(&self, number: usize, used: &Use) -> Option<Kind> {
        let (key, begin) = (&self.keys[number], used.span.begin);
        if let Some(change) = self.end_of_key(number, begin) {
            let is_older = key.made.end < change.asked;
            return Some(if is_older || change.what == What::Revoke(number) {
                Kind::Stale
            } else {
                Kind::Born
            });
        }
        if self.is_late(key, begin) {
            return Some(Kind::Born);
        }
        let is_off = self.enabled(number, &used.span) == [false];
        is_off.then(|| self.stale_or_undone(|what| *what == What::Enabled(number, true)))
    }

    /// Why a key that was accepted may not do what it was let do, or may do what it was not.
    pub(super) fn misjudged(&self, number: usize, used: &Use) -> Option<Kind> {
        let is_in_scope = used.scope?;
        let granted = self.scope(number, &used.span);
        let held = self.held(&used.span);
        if is_in_scope && (granted == [false] || held == [true]) {
            let is_widening = |what: &What| {
                matches!(*what, What::Scope(key, true) if key == number)
                    || *what == What::Held(false)
            };
            return Some(self.stale_or_undone(is_widening));
        }
        let is_refused = !is_in_scope && granted == [true] && held == [false];
        is_refused.then_some(Kind::Widened)
    }

    /// Whether anything that was asked for until then may have a key refused.
    pub(super) fn may_be_refused(&self, number: usize, span: &Span) -> bool {
        let is_asked = |change: &Change| change.asked <= span.end;
        let may_end = |change: &Change| is_asked(change) && self.ends_key(change.what, number);
        self.changes.iter().any(may_end) || self.enabled(number, span).contains(&false)
    }

    /// Whether a key is known to be over, or was replaced.
    pub fn is_over_or_replaced(&self, number: usize) -> bool {
        self.end_of_key(number, Instant::now()).is_some()
            || self.keys.iter().any(|key| key.replaces == Some(number))
    }

    /// A change, answered by then, after which nobody may accept the key.
    fn end_of_key(&self, number: usize, by: Instant) -> Option<&Change> {
        let ends =
            |change: &&Change| is_by(change.answered(), by) && self.ends_key(change.what, number);
        self.changes.iter().find(ends)
    }

    fn ends_key(&self, what: What, number: usize) -> bool {
        match what {
            What::Revoke(key) | What::Rotate(key, Grace::None) => key == number,
            What::EndLineage(first) => self.lineage(number) == first,
            _ => false,
        }
    }

    /// Whether the key may be enabled, disabled or either during a request.
    fn enabled(&self, number: usize, span: &Span) -> Vec<bool> {
        let set = |what: &What| match what {
            What::Enabled(key, enabled) if *key == number => Some(*enabled),
            _ => None,
        };
        each_once(self.possible(true, set, span))
    }

    /// Whether the key may have the scope that is tried. One that was made in another's place has what that had.
    fn scope(&self, number: usize, span: &Span) -> Vec<bool> {
        let set = |what: &What| match what {
            What::Scope(key, granted) if *key == number => Some(Some(*granted)),
            _ => None,
        };
        let key = &self.keys[number];
        let at_first = || match key.replaces {
            Some(before) => self.scope(before, &key.made),
            None => vec![false],
        };
        let granted = self.possible(None, set, span).into_iter();
        each_once(granted.flat_map(|one| one.map_or_else(at_first, |one| vec![one])).collect())
    }

    /// Whether the user may be held to a ceiling below that scope.
    pub fn held(&self, span: &Span) -> Vec<bool> {
        let set = |what: &What| match what {
            What::Held(held) => Some(*held),
            _ => None,
        };
        each_once(self.possible(false, set, span))
    }

    /// Something from before, or a change that was undone by an earlier one where there was any the other way.
    fn stale_or_undone(&self, is_the_other_way: impl Fn(&What) -> bool) -> Kind {
        let undone = self.changes.iter().any(|change| is_the_other_way(&change.what));
        if undone { Kind::Undone } else { Kind::Stale }
    }

    /// Whether a key was handed out when the session that made it had ended.
    fn is_late(&self, key: &Key, by: Instant) -> bool {
        let handed = key.not_before.filter(|handed| *handed <= by);
        handed.is_some_and(|handed| self.end_of(key.by, handed).is_some())
    }
}

fn each_once(mut all: Vec<bool>) -> Vec<bool> {
    all.sort_unstable();
    all.dedup();
    all
}
