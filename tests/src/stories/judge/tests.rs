//! Small histories, written by hand, and what the oracle says to them.

use std::time::Duration;

use super::*;

/// A history whose times are milliseconds.
struct Written(History);

impl Written {
    fn new() -> Self {
        Self(History::begin())
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
        let (text, request) = (String::new(), String::new());
        self.0.keys.push(Key { text, id: 1, by, request, made, not_before });
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
        self.0.judge_use(&Use { of, edge: 0, span: self.span(span), said })
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
