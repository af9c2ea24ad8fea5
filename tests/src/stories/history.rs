//! What happened to one user: what was made, what was asked for and answered, and what each use of a
//! credential was told. All times are of the one process that drives the test.

use std::time::Instant;

use crate::nemesis::Said;

/// From a request's sending to its answer, or to the moment in which nobody waited any more.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it was sent.
    pub begin: Instant,
    /// When it was over.
    pub end: Instant,
}

/// A token or a key, by its place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// A session's token.
    Token(usize),
    /// An API key.
    Key(usize),
}

/// A session's token.
#[derive(Debug)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// The number of the password that it was made with. A later password has a higher number.
    pub password: usize,
    /// When it was asked for and got.
    pub made: Span,
}

/// An API key.
#[derive(Debug)]
pub struct Key {
    /// The key itself.
    pub text: String,
    /// Its id.
    pub id: i64,
    /// The token that it was made with.
    pub by: usize,
    /// The key that it replaced, by its place in the history.
    pub replaces: Option<usize>,
    /// The request that made it.
    pub request: String,
    /// When it was asked for and got.
    pub made: Span,
    /// A moment at which it was certainly not yet handed out.
    pub not_before: Option<Instant>,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Ends a session.
    LogOut(usize),
    /// Ends every session.
    LogOutAll,
    /// Sets a password, and ends every session but one.
    Password {
        /// The session that goes on.
        by: usize,
        /// The password's number.
        new: usize,
    },
    /// Shuts the user out, or lets them in again.
    Active(bool),
    /// Ends a key.
    Revoke(usize),
    /// Ends every key of a lineage, by the place of its first.
    EndLineage(usize),
    /// Has a key refused, or accepted again.
    Enabled(usize, bool),
    /// Gives a key the scope that is tried, or takes it away.
    Scope(usize, bool),
    /// Replaces a key; at once, or with a grace that is longer than any story.
    Rotate(usize, Grace),
    /// Holds the user to a ceiling below that scope, or to none of their own.
    Held(bool),
}

/// What becomes of a key that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// It is over.
    None,
    /// It goes on.
    Long,
}

/// A change that was asked for.
#[derive(Debug)]
pub struct Change {
    /// What it does.
    pub what: What,
    /// When it was asked for.
    pub asked: Instant,
    /// When that was over, and whether it was answered then.
    over: Option<(Instant, bool)>,
}

/// A use of a credential.
#[derive(Debug)]
pub struct Use {
    /// What was used.
    pub of: Credential,
    /// Where.
    pub edge: usize,
    /// When.
    pub span: Span,
    /// What was said.
    pub said: Said,
    /// Of a key that was accepted: whether it has the scope that is tried, where that was tried.
    pub scope: Option<bool>,
}

/// What a login was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It was let in.
    In,
    /// The password is wrong.
    WrongPassword,
    /// The user is shut out.
    Inactive,
}

/// A login that was answered.
#[derive(Debug)]
pub struct Login {
    /// The number of its password.
    pub password: usize,
    /// When.
    pub span: Span,
    /// What it was told.
    pub entered: Entered,
}

/// Everything about one user.
#[derive(Debug)]
pub struct History {
    /// Whether an edge goes on with a request whose client has hung up, and decides it anew.
    pub edges_go_on: bool,
    /// When it began. The first password has number 0, and the user is active.
    pub begin: Instant,
    /// The tokens, in the order in which they were got.
    pub tokens: Vec<Token>,
    /// The keys.
    pub keys: Vec<Key>,
    /// The changes, in the order in which they were asked for.
    pub changes: Vec<Change>,
    /// What was told of credentials.
    pub uses: Vec<Use>,
    /// What was told of passwords.
    pub logins: Vec<Login>,
    /// Answers that nobody should ever give.
    pub wrong: Vec<String>,
    /// Keys that were handed out and are not in the database as they were.
    pub lost: Vec<String>,
}

impl Span {
    /// From `begin` to now.
    pub fn since(begin: Instant) -> Self {
        Self { begin, end: Instant::now() }
    }
}

impl What {
    /// What it is called in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogOut(_) => "logouts",
            Self::LogOutAll => "logouts everywhere",
            Self::Password { .. } => "password changes",
            Self::Active(false) => "deactivations",
            Self::Active(true) => "reactivations",
            Self::Revoke(_) => "revokes of new keys",
            Self::EndLineage(_) => "ends of lineages",
            Self::Enabled(_, false) => "disables",
            Self::Enabled(_, true) => "enables",
            Self::Scope(_, false) => "scopes taken away",
            Self::Scope(_, true) => "scopes given back",
            Self::Rotate(_, Grace::None) => "rotations without grace",
            Self::Rotate(_, Grace::Long) => "rotations with grace",
            Self::Held(true) => "ceilings lowered",
            Self::Held(false) => "ceilings cleared",
        }
    }
}

impl Change {
    /// When it was answered, if it was.
    pub fn answered(&self) -> Option<Instant> {
        self.over.filter(|(_, answered)| *answered).map(|(at, _)| at)
    }

    /// When it was answered or given up; `None` while it is under way.
    pub fn over(&self) -> Option<Instant> {
        self.over.map(|(at, _)| at)
    }
}

impl History {
    /// Nothing has happened.
    pub fn begin(edges_go_on: bool) -> Self {
        Self {
            edges_go_on,
            begin: Instant::now(),
            tokens: Vec::new(),
            keys: Vec::new(),
            changes: Vec::new(),
            uses: Vec::new(),
            logins: Vec::new(),
            wrong: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// A change is about to be asked for; its number.
    pub fn asks(&mut self, what: What) -> usize {
        self.changes.push(Change { what, asked: Instant::now(), over: None });
        self.changes.len() - 1
    }

    /// It was answered, or given up.
    pub fn ends(&mut self, change: usize, at: Instant, answered: bool) {
        self.changes[change].over = Some((at, answered));
    }

    /// The first key of a key's lineage.
    pub fn lineage(&self, key: usize) -> usize {
        let mut first = key;
        while let Some(before) = self.keys[first].replaces {
            first = before;
        }
        first
    }

    /// The credentials that were got last: so many tokens, and so many keys.
    pub fn newest(&self, count: usize) -> Vec<Credential> {
        let newest = |all: usize| all.saturating_sub(count)..all;
        let tokens = newest(self.tokens.len()).map(Credential::Token);
        tokens.chain(newest(self.keys.len()).map(Credential::Key)).collect()
    }
}
