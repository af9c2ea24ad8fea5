//! What a request requires of whoever sent it, judged in one place for the edge, the bus and the client: after the
//! look-up, by the principals that were accepted.

use latchkey_contract::FieldError;
use latchkey_contract::verify::PrincipalKind;

use crate::forms::Form;

/// What a request requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Which forms of credential are looked at, the one that wins first.
    forms: &'static [Form],
    /// What the principal has to be; `None`: either.
    kind: Option<PrincipalKind>,
}

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// No credential of those that are looked at was accepted.
    NotAccepted,
    /// One was, and stands for another kind than this one, which is required.
    WrongKind(PrincipalKind),
}

impl Requirement {
    /// Whoever it is, by token or key. A token that is accepted wins.
    pub const ANYBODY: Self = Self { forms: &[Form::Token, Form::Key], kind: None };
    /// A user. A key is no credential here.
    pub const USER: Self = Self { forms: &[Form::Token], kind: Some(PrincipalKind::User) };
    /// A service. A token is no credential here.
    pub const SERVICE: Self = Self { forms: &[Form::Key], kind: Some(PrincipalKind::Service) };

    /// One of this kind, by whatever credential: who is of the other kind is told so.
    #[must_use]
    pub const fn of_kind(kind: PrincipalKind) -> Self {
        Self { kind: Some(kind), ..Self::ANYBODY }
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
}
