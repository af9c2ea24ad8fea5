//! Small histories, written by hand, and what the oracle says to them.

use std::time::Duration;

use super::*;
use crate::stories::history::Grace;

/// A history whose times are milliseconds.
struct Written(History);

impl Written {
    fn new() -> Self {
        Self(History::begin(false))
    }

    fn at(&self, millis: u64) -> Instant {
        self.0.begin + Duration::from_millis(millis)
    }

    fn span(&self, (begin, end): (u64, u64)) -> Span {
        Span { begin: self.at(begin), end: self.at(end) }
    }

    fn token(&mut self, password: usize, made: (u64, u64)) -> usize {
        let made = self.span(made);
        self.0.tokens.push(Token { text: String::new(), password, made });
        self.0.tokens.len() - 1
    }

    fn key(&mut self, by: usize, made: (u64, u64), not_before: u64) -> usize {
        let (made, not_before) = (self.span(made), Some(self.at(not_before)));
        let (text, request, replaces) = (String::new(), String::new(), None);
        self.0.keys.push(Key { text, id: 1, by, replaces, request, made, not_before });
        self.0.keys.len() - 1
    }

    /// A change that was answered, or given up.
    fn change(&mut self, what: What, (asked, over): (u64, u64), answered: bool) {
        let (asked, over) = (self.at(asked), self.at(over));
        let number = self.0.asks(what);
        self.0.changes[number].asked = asked;
        self.0.ends(number, over, answered);
    }

    fn says(&self, of: Credential, said: Said, span: (u64, u64)) -> Option<Kind> {
        self.0.judge_use(&Use { of, edge: 0, span: self.span(span), said, scope: None })
    }

    /// A key that was accepted where it has to hold the scope: whether it did.
    fn key_may(&self, key: usize, scope: bool, span: (u64, u64)) -> Option<Kind> {
        let (of, span) = (Credential::Key(key), self.span(span));
        let said = Said::Accepted;
        self.0.judge_use(&Use { of, edge: 0, span, said, scope: Some(scope) })
    }

    /// A key in another's place.
    fn next(&mut self, key: usize, made: (u64, u64)) -> usize {
        let next = self.key(self.0.keys[key].by, made, made.0);
        self.0.keys[next].replaces = Some(key);
        next
    }

    fn token_is(&self, token: usize, said: Said, span: (u64, u64)) -> Option<Kind> {
        self.says(Credential::Token(token), said, span)
    }

    fn key_is(&self, key: usize, said: Said, span: (u64, u64)) -> Option<Kind> {
        self.says(Credential::Key(key), said, span)
    }

    fn enters(&self, password: usize, entered: Entered, span: (u64, u64)) -> bool {
        self.0.is_undone(&Login { password, span: self.span(span), entered })
    }
}

#[test]
fn a_token_of_the_old_password_is_over_when_the_change_was_answered_but_for_the_one_that_asked() {
    let mut story = Written::new();
    let (by, before, during) =
        (story.token(0, (1, 2)), story.token(0, (3, 4)), story.token(0, (11, 19)));
    story.change(What::Password { by, new: 1 }, (10, 20), true);
    let after = story.token(1, (21, 22));
    for (token, expected) in
        [(by, None), (before, Some(Kind::Stale)), (during, Some(Kind::Born)), (after, None)]
    {
        assert_eq!(story.token_is(token, Said::Accepted, (30, 31)), expected, "{token}");
    }
    assert_eq!(
        story.token_is(during, Said::Accepted, (19, 31)),
        None,
        "it began before the answer"
    );
    for (token, expected) in
        [(by, Some(Kind::Widened)), (before, None), (during, None), (after, Some(Kind::Widened))]
    {
        assert_eq!(story.token_is(token, Said::Refused, (30, 31)), expected, "{token}");
    }
    assert!(story.enters(0, Entered::In, (21, 22)) && !story.enters(0, Entered::In, (19, 22)));
    assert!(story.enters(1, Entered::WrongPassword, (21, 22)));
    assert!(!story.enters(0, Entered::WrongPassword, (21, 22)));
}

#[test]
fn a_logout_of_all_ends_what_there_was_when_it_was_asked_for_and_nothing_from_after_its_end() {
    for answered in [true, false] {
        let mut story = Written::new();
        let (before, during) = (story.token(0, (1, 2)), story.token(0, (11, 19)));
        story.change(What::LogOutAll, (10, 20), answered);
        // Nobody waits any more where it was given up, and the edge goes on for its own time.
        let late = if answered { 0 } else { 10_000 };
        let after = story.token(0, (late + 21, late + 22));
        let stale = answered.then_some(Kind::Stale);
        assert_eq!(story.token_is(before, Said::Accepted, (30, 31)), stale);
        for said in [Said::Accepted, Said::Refused] {
            assert_eq!(story.token_is(during, said, (30, 31)), None, "either is right");
        }
        let used = (late + 30, late + 31);
        assert_eq!(story.token_is(after, Said::Refused, used), Some(Kind::Widened));
        assert_eq!(story.token_is(before, Said::Refused, (5, 9)), Some(Kind::Widened));
    }
}

#[test]
fn a_command_that_was_given_up_may_take_effect_until_a_later_one_has_returned() {
    let mut story = Written::new();
    let by = story.token(0, (1, 2));
    let key = story.key(by, (3, 4), 3);
    story.change(What::Active(false), (10, 20), true);
    assert_eq!(story.key_is(key, Said::Accepted, (21, 22)), Some(Kind::Stale));
    story.change(What::Active(true), (30, 40), false);
    for said in [Said::Accepted, Said::Refused] {
        assert_eq!(story.key_is(key, said, (50, 51)), None, "either may be");
    }
    story.change(What::Active(false), (60, 70), true);
    assert_eq!(story.key_is(key, Said::Accepted, (69, 71)), None);
    assert_eq!(story.key_is(key, Said::Accepted, (71, 72)), Some(Kind::Undone));
    assert!(story.enters(0, Entered::In, (71, 72)));
    assert!(!story.enters(0, Entered::Inactive, (71, 72)));
    story.change(What::Active(true), (80, 90), true);
    assert_eq!(story.key_is(key, Said::Accepted, (91, 92)), None);
    assert_eq!(story.key_is(key, Said::Refused, (91, 92)), Some(Kind::Undone));
    assert!(story.enters(0, Entered::Inactive, (91, 92)));
}

#[test]
fn a_token_from_before_a_deactivation_stays_refused_after_the_reactivation() {
    let mut story = Written::new();
    let (before, during) = (story.token(0, (1, 2)), story.token(0, (11, 25)));
    story.change(What::Active(false), (10, 20), true);
    story.change(What::Active(true), (30, 40), true);
    let late = story.token(0, (15, 35));
    let after = story.token(0, (41, 42));
    for (token, expected) in
        [(before, Some(Kind::Stale)), (during, Some(Kind::Born)), (late, None), (after, None)]
    {
        assert_eq!(story.token_is(token, Said::Accepted, (50, 51)), expected, "{token}");
    }
    assert_eq!(story.token_is(after, Said::Refused, (50, 51)), Some(Kind::Widened));
    // One that was given up may still shut the user out, until a later command has returned.
    story.change(What::Active(false), (60, 61), false);
    let second = story.token(0, (70, 71));
    assert_eq!(story.token_is(second, Said::Refused, (72, 73)), None);
    story.change(What::Active(true), (80, 90), true);
    assert_eq!(story.token_is(second, Said::Refused, (95, 96)), None);
    let third = story.token(0, (91, 92));
    assert_eq!(story.token_is(third, Said::Refused, (95, 96)), Some(Kind::Widened));
}

#[test]
fn of_a_deactivation_and_a_reactivation_that_are_under_way_together_either_may_be_the_last() {
    // Let in before, beside, or after the deactivation at 10 to 20, while the token is made.
    for (let_in, is_answered, expected) in [
        ((5, 9), true, Some(Kind::Born)),
        ((5, 9), false, None),
        ((5, 15), true, None),
        ((5, 25), true, None),
        ((12, 15), true, None),
        ((30, 40), true, None),
        ((60, 61), true, Some(Kind::Born)),
    ] {
        let mut story = Written::new();
        story.change(What::Active(true), let_in, is_answered);
        story.change(What::Active(false), (10, 20), true);
        let token = story.token(0, (11, 50));
        story.change(What::Active(true), (70, 80), true);
        assert_eq!(story.token_is(token, Said::Accepted, (90, 91)), expected, "{let_in:?}");
    }
}

#[test]
fn a_key_is_not_handed_out_once_its_session_has_ended() {
    let mut story = Written::new();
    let by = story.token(0, (1, 2));
    story.change(What::LogOut(by), (10, 20), true);
    let (early, late) = (story.key(by, (5, 25), 19), story.key(by, (5, 25), 21));
    assert_eq!(story.key_is(early, Said::Accepted, (30, 31)), None);
    assert_eq!(story.key_is(late, Said::Accepted, (30, 31)), Some(Kind::Born));
    story.change(What::Revoke(early), (40, 50), true);
    assert_eq!(story.key_is(early, Said::Accepted, (51, 52)), Some(Kind::Stale));
    assert_eq!(story.key_is(early, Said::Refused, (51, 52)), None);
    assert_eq!(story.key_is(late, Said::Refused, (51, 52)), Some(Kind::Undone));
}

#[test]
fn a_key_that_was_disabled_is_refused_until_it_is_enabled() {
    let mut story = Written::new();
    let by = story.token(0, (1, 2));
    let key = story.key(by, (3, 4), 3);
    assert_eq!(story.key_is(key, Said::Refused, (5, 6)), Some(Kind::Undone), "before");
    story.change(What::Enabled(key, false), (10, 20), true);
    assert_eq!(story.key_is(key, Said::Accepted, (19, 22)), None, "it began before the answer");
    assert_eq!(story.key_is(key, Said::Accepted, (21, 22)), Some(Kind::Stale));
    assert_eq!(story.key_is(key, Said::Refused, (21, 22)), None);
    story.change(What::Enabled(key, true), (30, 40), true);
    assert_eq!(story.key_is(key, Said::Refused, (41, 42)), Some(Kind::Undone));
    // One that was given up may be carried out until a later one has returned.
    story.change(What::Enabled(key, false), (50, 60), false);
    for said in [Said::Accepted, Said::Refused] {
        assert_eq!(story.key_is(key, said, (61, 62)), None);
    }
    story.change(What::Enabled(key, false), (70, 80), true);
    assert_eq!(story.key_is(key, Said::Accepted, (81, 82)), Some(Kind::Undone));
    let other = story.key(by, (3, 4), 3);
    assert_eq!(story.key_is(other, Said::Refused, (81, 82)), Some(Kind::Undone), "another key");
    // Where edges go on with what was given up, that one may be decided anew, behind the later one.
    story.0.edges_go_on = true;
    story.change(What::Enabled(other, true), (90, 95), false);
    story.change(What::Enabled(other, false), (100, 110), true);
    assert_eq!(story.key_is(other, Said::Accepted, (111, 112)), None);
    story.change(What::Enabled(other, false), (10_100, 10_110), true);
    assert_eq!(story.key_is(other, Said::Accepted, (10_111, 10_112)), Some(Kind::Undone));
}

#[test]
fn a_scope_is_there_from_the_answer_that_gives_it_until_it_is_taken_or_the_ceiling_falls() {
    let mut story = Written::new();
    let by = story.token(0, (1, 2));
    let key = story.key(by, (3, 4), 3);
    assert_eq!(story.key_may(key, true, (5, 6)), Some(Kind::Stale), "it never had it");
    assert_eq!(story.key_may(key, false, (5, 6)), None);
    story.change(What::Scope(key, true), (10, 20), true);
    assert_eq!(story.key_may(key, false, (21, 22)), Some(Kind::Widened));
    let next = story.next(key, (23, 24));
    story.change(What::Scope(key, false), (30, 40), true);
    assert_eq!(story.key_may(key, true, (39, 42)), None);
    assert_eq!(story.key_may(key, true, (41, 42)), Some(Kind::Undone));
    assert_eq!(story.key_may(next, false, (41, 42)), Some(Kind::Widened), "it has its own");
    story.change(What::Held(true), (50, 60), true);
    assert_eq!(story.key_may(next, true, (61, 62)), Some(Kind::Stale));
    assert_eq!(story.key_may(next, false, (61, 62)), None);
    story.change(What::Held(false), (70, 80), true);
    assert_eq!(story.key_may(next, false, (81, 82)), Some(Kind::Widened));
    assert_eq!(story.key_may(next, true, (81, 82)), None);
    let late = story.next(key, (35, 45));
    for scope in [true, false] {
        assert_eq!(story.key_may(late, scope, (81, 82)), None, "made while it was taken");
    }
}

#[test]
fn a_key_is_over_that_was_replaced_without_grace_and_so_is_all_of_a_lineage_that_was_ended() {
    let mut story = Written::new();
    let by = story.token(0, (1, 2));
    let first = story.key(by, (3, 4), 3);
    story.change(What::Rotate(first, Grace::Long), (5, 8), true);
    let second = story.next(first, (5, 8));
    assert_eq!(story.key_is(first, Said::Refused, (9, 10)), Some(Kind::Undone));
    story.change(What::Rotate(second, Grace::None), (10, 20), true);
    let third = story.next(second, (10, 20));
    assert_eq!(story.key_is(second, Said::Accepted, (19, 22)), None);
    assert_eq!(story.key_is(second, Said::Accepted, (21, 22)), Some(Kind::Stale));
    assert_eq!(story.key_is(second, Said::Refused, (21, 22)), None);
    assert_eq!(story.key_is(third, Said::Refused, (21, 22)), Some(Kind::Undone));
    story.change(What::EndLineage(first), (30, 40), true);
    let during = story.next(third, (31, 45));
    for (key, kind) in [(first, Kind::Stale), (third, Kind::Stale), (during, Kind::Born)] {
        assert_eq!(story.key_is(key, Said::Accepted, (46, 47)), Some(kind));
        assert_eq!(story.key_is(key, Said::Refused, (46, 47)), None);
    }
    let other = story.key(by, (3, 4), 3);
    assert_eq!(story.key_is(other, Said::Refused, (46, 47)), Some(Kind::Undone));
}
