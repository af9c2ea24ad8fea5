//! The oracle's rules:
//!
//! - a credential whose making began before a change was answered, and that rests on what the change took away,
//!   is not accepted by a request that began after the answer;
//! - a command without an answer may take effect until a later command on the same thing has returned, and not
//!   after; one that ends many and was given up ends nothing that was made when its edge had given up, too;
//! - a credential that was made after a change was answered is not ended by it.

mod keys;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::history::{Change, Credential, Entered, History, Key, Login, Span, Token, Use, What};
use crate::nemesis::Said;

/// How long an edge goes on with a request whose client has hung up, at most.
const REQUEST: Duration = Duration::from_secs(10);

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A credential from before a change is accepted after it.
    Stale,
    /// A credential that was born during a change is accepted after it.
    Born,
    /// What was set last does not hold: something earlier came back.
    Undone,
    /// A credential is refused that nothing has ended.
    Widened,
    /// A key was handed out, and is not in the database.
    Lost,
    /// An answer that nobody should ever give.
    Wrong,
}

/// Something against the system.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The story's number.
    pub story: u64,
    /// The credential or password.
    pub about: String,
    /// What happened, in words.
    pub text: String,
}

/// What became of a story.
#[derive(Debug)]
pub struct Verdict {
    /// Changes that were answered, by kind.
    pub changes: BTreeMap<&'static str, usize>,
    /// Changes without an answer.
    pub unanswered: usize,
    /// Tokens and keys that were made.
    pub births: usize,
    /// Requests with a credential, and logins.
    pub uses: usize,
    /// Whatever is against it.
    pub findings: Vec<Finding>,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Stale, Self::Born, Self::Undone, Self::Widened, Self::Lost, Self::Wrong];

    /// What it is called in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stale => "from before a change, accepted after it",
            Self::Born => "born during a change, accepted after it",
            Self::Undone => "a change undone by an earlier one",
            Self::Widened => "refused, and ended by nothing",
            Self::Lost => "keys handed out and lost",
            Self::Wrong => "wrong answers to these users",
        }
    }
}

impl History {
    /// Judges everything.
    pub fn verdict(&self, story: u64) -> Verdict {
        let mut changes = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.answered().is_some()) {
            *changes.entry(change.what.name()).or_default() += 1;
        }
        let unanswered = self.changes.iter().filter(|change| change.answered().is_none()).count();
        let mut findings = Vec::new();
        let mut find = |kind: Kind, about: String, text: String| {
            let text = format!("{about}: {text}\n{}", self.shown());
            findings.push(Finding { kind, story, about, text });
        };
        for wrong in &self.wrong {
            find(Kind::Wrong, wrong.clone(), String::new());
        }
        for lost in &self.lost {
            find(Kind::Lost, lost.clone(), String::new());
        }
        for used in &self.uses {
            if let Some(kind) = self.judge_use(used) {
                let at = self.between(&used.span);
                let Use { said, edge, scope, .. } = used;
                let text = format!("{said:?} at edge {edge}, scope {scope:?}, {at}");
                find(kind, self.named(used.of), text);
            }
        }
        for login in &self.logins {
            if self.is_undone(login) {
                let at = self.between(&login.span);
                let about = format!("password {}", login.password);
                find(Kind::Undone, about, format!("{:?}, {at}", login.entered));
            }
        }
        Verdict {
            changes,
            unanswered,
            births: self.tokens.len() + self.keys.len(),
            uses: self.uses.len() + self.logins.len(),
            findings,
        }
    }

    fn judge_use(&self, used: &Use) -> Option<Kind> {
        let active = self.activity(&used.span);
        let (shut_out, let_in) = (active == [false], active == [true]);
        let reactivated = self.changes.iter().any(|change| change.what == What::Active(true));
        let accepted_while_out = if reactivated { Kind::Undone } else { Kind::Stale };
        match (used.of, used.said) {
            (Credential::Token(number), Said::Accepted) => {
                let token = &self.tokens[number];
                match self.end_of(number, used.span.begin) {
                    Some(change) if token.made.end < change.asked => Some(Kind::Stale),
                    Some(_during) => Some(Kind::Born),
                    None => shut_out.then_some(accepted_while_out),
                }
            }
            (Credential::Token(number), Said::Refused) => {
                (let_in && !self.may_have_ended(number, used.span.end)).then_some(Kind::Widened)
            }
            (Credential::Key(number), Said::Accepted) => self
                .outlived(number, used)
                .or_else(|| shut_out.then_some(accepted_while_out))
                .or_else(|| self.misjudged(number, used)),
            (Credential::Key(number), Said::Refused) => {
                (let_in && !self.may_be_refused(number, &used.span)).then_some(Kind::Undone)
            }
            (_, Said::Wrong(_)) => Some(Kind::Wrong),
            (_, Said::Nothing) => None,
        }
    }

    /// Whether a login was told what cannot be, after what was set last.
    fn is_undone(&self, login: &Login) -> bool {
        let set = |what: &What| match what {
            What::Password { new, .. } => Some(*new),
            _ => None,
        };
        let passwords = self.possible(0, set, &login.span);
        let active = self.activity(&login.span);
        match login.entered {
            Entered::In => !passwords.contains(&login.password) || active == [false],
            Entered::WrongPassword => passwords == [login.password],
            Entered::Inactive => active == [true],
        }
    }

    /// Whether the user may be active, inactive or either during a request.
    fn activity(&self, span: &Span) -> Vec<bool> {
        let set = |what: &What| match what {
            What::Active(active) => Some(*active),
            _ => None,
        };
        let mut active = self.possible(true, set, span);
        active.sort_unstable();
        active.dedup();
        active
    }

    /// Every value that commands may have left during a request. A command that was over when another was
    /// asked for is overwritten by that one's answer.
    pub fn possible<T>(&self, first: T, set: impl Fn(&What) -> Option<T>, span: &Span) -> Vec<T> {
        let commands: Vec<&Change> =
            self.changes.iter().filter(|change| set(&change.what).is_some()).collect();
        let overwrites = |change: &Change, over: Instant| {
            change.asked >= over && is_by(change.answered(), span.begin)
        };
        let is_overwritten = |over: Option<Instant>| {
            over.is_some_and(|over| commands.iter().any(|change| overwrites(change, over)))
        };
        let mut values: Vec<T> = commands
            .iter()
            .filter(|change| change.asked <= span.end && !is_overwritten(self.last(change)))
            .filter_map(|change| set(&change.what))
            .collect();
        if !is_overwritten(Some(self.begin)) {
            values.push(first);
        }
        values
    }

    /// When a command was over for good: an edge that goes on with what its client has given up reads what it is to be
    /// decided on once more where something newer came.
    fn last(&self, change: &Change) -> Option<Instant> {
        let is_decided_anew = matches!(change.what, What::Enabled(..) | What::Scope(..));
        let goes_on = self.edges_go_on && is_decided_anew && change.answered().is_none();
        change.over().map(|over| if goes_on { over + REQUEST } else { over })
    }

    /// A change, answered by then, after which nobody may accept the token.
    pub fn end_of(&self, number: usize, by: Instant) -> Option<&Change> {
        let token = &self.tokens[number];
        self.changes.iter().find(|change| {
            let Some(answered) = change.answered().filter(|answered| *answered <= by) else {
                return false;
            };
            match change.what {
                What::LogOut(ended) => ended == number,
                What::LogOutAll => token.made.end < change.asked,
                What::Password { by, new } => by != number && token.password < new,
                What::Active(false) => {
                    token.made.begin < answered && !self.may_be_after(token, change)
                }
                _ => false,
            }
        })
    }

    /// Whether the token may have been made after the user was let in again: by a command that was asked for after the
    /// deactivation, or beside it. Of two that are under way together either may be the last.
    fn may_be_after(&self, token: &Token, deactivation: &Change) -> bool {
        self.changes.iter().any(|change| {
            change.what == What::Active(true)
                && change.asked < token.made.end
                && self.reaches(change, deactivation.asked)
        })
    }

    /// Whether anything that was asked for until then may have ended the token.
    fn may_have_ended(&self, number: usize, until: Instant) -> bool {
        let token = &self.tokens[number];
        self.changes.iter().any(|change| {
            change.asked <= until
                && match change.what {
                    What::LogOut(ended) => ended == number,
                    // It ends what there was when the edge asked, on its own time where nobody waits any more.
                    What::LogOutAll => match (change.answered(), change.over()) {
                        (Some(answered), _) => token.made.begin <= answered,
                        (None, Some(given_up)) => token.made.begin <= given_up + REQUEST,
                        (None, None) => true,
                    },
                    What::Password { by, new } => by != number && token.password < new,
                    What::Active(false) => self.reaches(change, token.made.begin),
                    _ => false,
                }
        })
    }

    /// Whether a deactivation or reactivation may take effect after `at`.
    fn reaches(&self, change: &Change, at: Instant) -> bool {
        match (change.answered(), change.over()) {
            (Some(answered), _) => at <= answered,
            (None, None) => true,
            (None, Some(given_up)) => !self.changes.iter().any(|later| {
                matches!(later.what, What::Active(_))
                    && later.asked >= given_up
                    && is_by(later.answered(), at)
            }),
        }
    }

    fn named(&self, credential: Credential) -> String {
        match credential {
            Credential::Token(number) => {
                let token = &self.tokens[number];
                let made = self.between(&token.made);
                format!("token {number} of password {}, made {made}", token.password)
            }
            Credential::Key(number) => {
                let key = &self.keys[number];
                let late = key.not_before.map(|at| self.at(at));
                let made = self.between(&key.made);
                let Key { by, id, replaces, .. } = key;
                format!(
                    "key {number} ({id}, replaces {replaces:?}) by token {by}, made {made}, not before {late:?}"
                )
            }
        }
    }

    /// The changes, one a line.
    fn shown(&self) -> String {
        let line = |change: &Change| {
            let asked = self.at(change.asked);
            let over = match (change.answered(), change.over()) {
                (Some(at), _) => format!("answered {}", self.at(at)),
                (None, Some(at)) => format!("given up {}", self.at(at)),
                (None, None) => "under way".to_owned(),
            };
            format!("    {:?} asked {asked}, {over}\n", change.what)
        };
        self.changes.iter().map(line).collect()
    }

    fn between(&self, span: &Span) -> String {
        format!("{} to {}", self.at(span.begin), self.at(span.end))
    }

    /// Seconds since the story began.
    fn at(&self, moment: Instant) -> String {
        format!("{:.4}", moment.saturating_duration_since(self.begin).as_secs_f64())
    }
}

/// Whether something had happened by then.
fn is_by(happened: Option<Instant>, by: Instant) -> bool {
    happened.is_some_and(|happened| happened <= by)
}

#[cfg(test)]
mod tests;
