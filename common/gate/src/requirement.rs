//! What a request requires of whoever sent it, judged in one place for the edge, the bus and the client: after the
//! look-up, by the principal that was accepted, and anew for every request. Nothing of it is remembered, and what is
//! remembered has nothing of it: the memory holds what a credential may do, never what somebody asked of it.

use std::net::IpAddr;

use latchkey_contract::scope::ScopeRequirement;
use latchkey_contract::verify::{Outcome, PrincipalKind};
use latchkey_contract::{Detail, Principal};

use crate::forms::Form;

/// What a request requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement<'a> {
    /// Which forms of credential are looked at, the one that wins first.
    forms: &'static [Form],
    /// What the principal has to be; `None`: either.
    kind: Option<PrincipalKind>,
    /// What environment a key has to be made for; a user's token is for none.
    environment: Option<&'a str>,
    scopes: Needed<'a>,
}

/// The scopes that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needed<'a> {
    Nothing,
    /// The scope by which keys are managed: a key needs it, and a token that was narrowed at login.
    ToManage(&'a str),
    AnyOf(&'a ScopeRequirement),
}

/// What the scopes begin with by which keys are managed. A key that has none of them is for users' services, and is told
/// that only users manage keys.
const MANAGING: &str = "latchkey:keys:";

/// Why a good credential is not enough, in the order in which it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// It stands for another kind than this one, which is required.
    WrongKind(PrincipalKind),
    /// It is a user's, or was made for another environment.
    WrongEnvironment,
    /// It may not be used from where the client is, or nobody knows where that is.
    IpDenied,
    /// Its scopes are not [those that are needed](Requirement::scopes).
    InsufficientScope,
}

impl<'a> Requirement<'a> {
    /// Whoever it is, by token or key. A token that is accepted wins.
    pub const ANYBODY: Self = Self {
        forms: &[Form::Token, Form::Key],
        kind: None,
        environment: None,
        scopes: Needed::Nothing,
    };
    /// A user. A key is no credential here.
    pub const USER: Self =
        Self { forms: &[Form::Token], kind: Some(PrincipalKind::User), ..Self::ANYBODY };
    /// A service. A token is no credential here.
    pub const SERVICE: Self =
        Self { forms: &[Form::Key], kind: Some(PrincipalKind::Service), ..Self::ANYBODY };

    /// One of this kind, by whatever credential: who is of the other kind is told so.
    #[must_use]
    pub const fn of_kind(kind: PrincipalKind) -> Self {
        Self { kind: Some(kind), ..Self::ANYBODY }
    }

    /// Whoever manages keys: a user, or a key of theirs that holds `scope`; a token that was narrowed needs it, too.
    #[must_use]
    pub const fn managing(scope: &'a str) -> Self {
        Self { scopes: Needed::ToManage(scope), ..Self::ANYBODY }
    }

    /// A key that acts on itself and holds `scope`. A token is no credential here.
    #[must_use]
    pub const fn managing_itself(scope: &'a str) -> Self {
        Self { scopes: Needed::ToManage(scope), ..Self::SERVICE }
    }

    /// The same of one of this kind, where one is named.
    #[must_use]
    pub const fn and_kind(self, kind: Option<PrincipalKind>) -> Self {
        Self { kind, ..self }
    }

    /// The same of a key that was made for this environment, where one is named.
    #[must_use]
    pub const fn and_environment(self, environment: Option<&'a str>) -> Self {
        Self { environment, ..self }
    }

    /// The same with these scopes, where they are named.
    #[must_use]
    pub const fn and_scopes(self, scopes: Option<&'a ScopeRequirement>) -> Self {
        let scopes = match scopes {
            Some(scopes) => Needed::AnyOf(scopes),
            None => Needed::Nothing,
        };
        Self { scopes, ..self }
    }

    /// Which forms of credential are looked at, the one that wins first.
    #[must_use]
    pub fn forms(self) -> &'static [Form] {
        self.forms
    }

    /// What the principal has to be; `None`: either.
    #[must_use]
    pub fn kind(self) -> Option<PrincipalKind> {
        self.kind
    }

    /// The scope by which keys are managed, where they are.
    #[must_use]
    pub fn manages(self) -> Option<&'a str> {
        match self.scopes {
            Needed::ToManage(scope) => Some(scope),
            Needed::Nothing | Needed::AnyOf(_) => None,
        }
    }

    /// The scopes that are needed: those of one of these texts, all of them.
    pub fn scopes(self) -> impl Iterator<Item = &'a str> {
        let any_of = match self.scopes {
            Needed::AnyOf(any_of) => Some(any_of.alternatives()),
            Needed::Nothing | Needed::ToManage(_) => None,
        };
        self.manages().into_iter().chain(any_of.into_iter().flatten())
    }

    /// Whether a principal that was accepted is enough, used by a client at the address that `client` says, if anybody
    /// knows it. It is asked only about a key that may not be used from anywhere.
    ///
    /// # Errors
    /// [`Unmet`] says what it lacks, the first in the order of judgement.
    pub fn judge(
        self,
        principal: &Principal,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<(), Unmet> {
        let grants = &*principal.grants;
        if let Some(kind) = self.kind
            && kind != principal.kind()
        {
            return Err(Unmet::WrongKind(kind));
        }
        // Where keys act on themselves, no user would be told anything else.
        if let Needed::ToManage(_) = self.scopes
            && self.kind.is_none()
            && principal.kind() == PrincipalKind::Service
            && !grants.scopes.iter().any(|own| own.starts_with(MANAGING))
        {
            return Err(Unmet::WrongKind(PrincipalKind::User));
        }
        if self.environment.is_some_and(|named| grants.environment.as_deref() != Some(named)) {
            return Err(Unmet::WrongEnvironment);
        }
        if !grants.allowed_ips.is_empty() && !grants.allowed_ips.allow(client()) {
            return Err(Unmet::IpDenied);
        }
        let is_enough = match self.scopes {
            Needed::Nothing => true,
            Needed::ToManage(scope) => manages_all(principal) || grants.scopes.cover(scope),
            Needed::AnyOf(needed) => needed.is_met_by(&grants.scopes),
        };
        if is_enough { Ok(()) } else { Err(Unmet::InsufficientScope) }
    }
}

/// Whether it is a user who may do with their keys whatever they like.
fn manages_all(principal: &Principal) -> bool {
    match &principal.detail {
        Detail::User(user) => !user.is_narrowed,
        Detail::Key(_) => false,
    }
}

impl From<Unmet> for Outcome {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::WrongKind(_) => Self::WrongKind,
            Unmet::WrongEnvironment => Self::WrongEnvironment,
            Unmet::IpDenied => Self::IpDenied,
            Unmet::InsufficientScope => Self::InsufficientScope,
        }
    }
}

#[cfg(test)]
mod tests;
