//! What a request requires of whoever sent it, judged in one place for the edge, the bus and the client: after the
//! look-up, by the principals that were accepted.

use latchkey_contract::verify::PrincipalKind;
use latchkey_contract::{Detail, FieldError, Principal};

use crate::forms::Form;

/// What a request requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Which forms of credential are looked at, the one that wins first.
    forms: &'static [Form],
    /// What the principal has to be; `None`: either.
    kind: Option<PrincipalKind>,
    /// The scope by which keys are managed: a key needs it, and a token that was narrowed at login.
    manages: Option<&'static str>,
}

/// What the scopes begin with by which keys are managed. A key that has none of them is for users' services, and is told
/// that only users manage keys.
const MANAGING: &str = "latchkey:keys:";

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// No credential of those that are looked at was accepted.
    NotAccepted,
    /// One was, and stands for another kind than this one, which is required.
    WrongKind(PrincipalKind),
    /// One was, and does not hold this scope.
    InsufficientScope(&'static str),
}

impl Requirement {
    /// Whoever it is, by token or key. A token that is accepted wins.
    pub const ANYBODY: Self = Self { forms: &[Form::Token, Form::Key], kind: None, manages: None };
    /// A user. A key is no credential here.
    pub const USER: Self =
        Self { forms: &[Form::Token], kind: Some(PrincipalKind::User), manages: None };
    /// A service. A token is no credential here.
    pub const SERVICE: Self =
        Self { forms: &[Form::Key], kind: Some(PrincipalKind::Service), manages: None };

    /// One of this kind, by whatever credential: who is of the other kind is told so.
    #[must_use]
    pub const fn of_kind(kind: PrincipalKind) -> Self {
        Self { kind: Some(kind), ..Self::ANYBODY }
    }

    /// Whoever manages keys: a user, or a key of theirs that holds `scope`; a token that was narrowed needs it, too.
    #[must_use]
    pub const fn managing(scope: &'static str) -> Self {
        Self { manages: Some(scope), ..Self::ANYBODY }
    }

    /// What a request on the bus requires that names this scope.
    ///
    /// # Errors
    /// No credential has a scope, so none has the one that is required; whoever asks is to know why.
    pub fn of_scope(scope: Option<&str>) -> Result<Self, FieldError> {
        let message = "is reserved: credentials have no scopes yet, leave it out";
        match scope {
            None => Ok(Self::ANYBODY),
            Some(_) => Err(FieldError::new("required_scope", message)),
        }
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
    pub fn manages(self) -> Option<&'static str> {
        self.manages
    }

    /// Whether a principal that was accepted may manage keys, where that is required.
    ///
    /// # Errors
    /// [`Unmet`]
    pub fn judge_managing(self, principal: &Principal) -> Result<(), Unmet> {
        let Some(scope) = self.manages else { return Ok(()) };
        let is_whole = match &principal.detail {
            Detail::User(user) => !user.is_narrowed,
            Detail::Key(_) => false,
        };
        let scopes = &principal.grants.scopes;
        if is_whole || scopes.cover(scope) {
            return Ok(());
        }
        let is_known_to_manage = scopes.iter().any(|own| own.starts_with(MANAGING));
        match principal.kind() {
            PrincipalKind::Service if !is_known_to_manage => {
                Err(Unmet::WrongKind(PrincipalKind::User))
            }
            _ => Err(Unmet::InsufficientScope(scope)),
        }
    }

    /// The first of the principals that were accepted which meets it.
    ///
    /// # Errors
    /// [`Unmet`]
    pub fn judge<P>(
        self,
        accepted: impl IntoIterator<Item = P>,
        kind_of: impl Fn(&P) -> PrincipalKind,
    ) -> Result<P, Unmet> {
        let mut unmet = Unmet::NotAccepted;
        for principal in accepted {
            match self.kind {
                Some(kind) if kind_of(&principal) != kind => unmet = Unmet::WrongKind(kind),
                _ => return Ok(principal),
            }
        }
        Err(unmet)
    }
}

#[cfg(test)]
mod tests {
    use PrincipalKind::{Service, User};

    use super::*;

    #[test]
    fn the_first_that_fits_is_let_through_and_whoever_is_of_the_wrong_kind_is_told_so() {
        let judge = |requirement: Requirement, accepted: &[PrincipalKind]| {
            requirement.judge(accepted.to_vec(), |kind| *kind)
        };
        for requirement in [Requirement::ANYBODY, Requirement::USER, Requirement::SERVICE] {
            assert_eq!(judge(requirement, &[]), Err(Unmet::NotAccepted));
        }
        assert_eq!(judge(Requirement::ANYBODY, &[Service, User]), Ok(Service));
        for (kind, other) in [(User, Service), (Service, User)] {
            let requirement = Requirement::of_kind(kind);
            assert_eq!(judge(requirement, &[other, kind]), Ok(kind));
            assert_eq!(judge(requirement, &[other]), Err(Unmet::WrongKind(kind)));
        }
        assert_eq!(judge(Requirement::USER, &[Service]), Err(Unmet::WrongKind(User)));
    }

    #[test]
    fn what_is_looked_at_and_what_the_principal_has_to_be() {
        for (requirement, forms, kind) in [
            (Requirement::ANYBODY, &[Form::Token, Form::Key][..], None),
            (Requirement::USER, &[Form::Token], Some(User)),
            (Requirement::SERVICE, &[Form::Key], Some(Service)),
            (Requirement::of_kind(User), &[Form::Token, Form::Key], Some(User)),
            (Requirement::of_kind(Service), &[Form::Token, Form::Key], Some(Service)),
        ] {
            assert_eq!((requirement.forms(), requirement.kind()), (forms, kind));
        }
    }

    #[test]
    fn a_scope_that_nobody_has_is_refused_and_none_requires_nothing() {
        assert_eq!(Requirement::of_scope(None), Ok(Requirement::ANYBODY));
        assert_eq!(Requirement::of_scope(Some("")).unwrap_err().field, "required_scope");
    }

    #[test]
    fn keys_are_managed_by_users_and_by_keys_and_narrowed_tokens_that_hold_the_scope() {
        use latchkey_contract::scope::Scopes;
        use latchkey_contract::{Grants, UserDetail};

        use crate::played::{EXPIRY, person, program};
        const READ: &str = "latchkey:keys:read";
        let of = |principal: Principal, scopes: &str| {
            let grants = Grants { scopes: Scopes::parse(scopes).unwrap(), ..Grants::default() };
            Principal { grants: grants.into(), ..principal }
        };
        let narrowed = || {
            let Detail::User(user) = person(true).detail else { panic!("a person is a user") };
            let user = UserDetail { is_narrowed: true, ..*user };
            Principal { detail: Detail::User(user.into()), ..person(true) }
        };
        let key = || program(1, EXPIRY);
        for (principal, judged) in [
            (of(person(true), ""), Ok(())),
            (of(narrowed(), READ), Ok(())),
            (of(narrowed(), "*"), Err(Unmet::InsufficientScope(READ))),
            (of(narrowed(), ""), Err(Unmet::InsufficientScope(READ))),
            (of(key(), READ), Ok(())),
            (of(key(), "latchkey:keys:*"), Ok(())),
            (of(key(), "*"), Err(Unmet::WrongKind(User))),
            (of(key(), ""), Err(Unmet::WrongKind(User))),
            (of(key(), "latchkey:keys:write"), Err(Unmet::InsufficientScope(READ))),
        ] {
            assert_eq!(Requirement::managing(READ).judge_managing(&principal), judged);
            assert_eq!(Requirement::ANYBODY.judge_managing(&principal), Ok(()));
        }
    }
}
