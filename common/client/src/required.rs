//! What is required of a credential besides that it is good.

use std::net::IpAddr;

use latchkey_contract::scope::RequiredScope;
use latchkey_contract::verify::{Denied, Outcome, PrincipalKind, Verified, Verify, VerifyBatch};

/// What is required of a credential besides that it is good. Nothing, until something is said.
///
/// ```
/// # use latchkey_client::Required;
/// // Either both of these, or the other.
/// let required = Required::default().scope("orders:read orders:write").or_scope("admin");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required {
    alternatives: Vec<String>,
    kind: Option<PrincipalKind>,
    environment: Option<String>,
    client: Option<IpAddr>,
}

impl Required {
    /// These scopes too, separated by single spaces: all of them are needed. What is no scope is refused by whoever is
    /// asked, and accepts nobody.
    #[must_use]
    pub fn scope(mut self, scopes: &str) -> Self {
        match self.alternatives.last_mut() {
            Some(last) => {
                last.push(' ');
                last.push_str(scopes);
            }
            None => self.alternatives.push(scopes.to_owned()),
        }
        self
    }

    /// Or, instead of everything that was named before, these scopes, separated by single spaces.
    #[must_use]
    pub fn or_scope(mut self, scopes: &str) -> Self {
        self.alternatives.push(scopes.to_owned());
        self
    }

    /// A user, or a service.
    #[must_use]
    pub fn kind(self, kind: PrincipalKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// A key that was made for this environment.
    #[must_use]
    pub fn environment(self, name: &str) -> Self {
        Self { environment: Some(name.to_owned()), ..self }
    }

    /// The client that shows the credential is at this address. Where it is not said, keys that may be used from some
    /// addresses alone are refused.
    #[must_use]
    pub fn client(self, address: Option<IpAddr>) -> Self {
        Self { client: address, ..self }
    }

    /// What is found of a credential when its kind is looked at, which need not have been asked for.
    pub(crate) fn judged(&self, verified: Verified) -> Verified {
        match &verified.principal {
            Some(principal)
                if verified.outcome == Outcome::Valid
                    && self.kind.is_some_and(|kind| kind != principal.kind) =>
            {
                let denied = Denied { key_id: principal.key_id, user_id: principal.user_id };
                Verified { outcome: Outcome::WrongKind, principal: None, denied: Some(denied) }
            }
            _ => verified,
        }
    }

    /// The kind that is required.
    pub(crate) fn needed_kind(&self) -> Option<PrincipalKind> {
        self.kind
    }

    /// The scopes that are needed: those of one of these texts, all of them.
    pub(crate) fn scopes(&self) -> &[String] {
        &self.alternatives
    }

    /// The kind, where it is asked for: the answer says it, too, so that alone it asks nothing of an edge of the release
    /// before that this could not answer.
    fn asked_kind(&self) -> Option<PrincipalKind> {
        let is_plain = self.alternatives.is_empty() && self.environment.is_none();
        self.kind.filter(|_| !is_plain)
    }

    fn asked_scope(&self) -> Option<RequiredScope> {
        let is_none = self.alternatives.is_empty();
        (!is_none).then(|| RequiredScope(self.alternatives.clone()))
    }

    /// Asks it of one credential.
    pub(crate) fn of_one(&self, ask: Verify) -> Verify {
        Verify {
            required_scope: self.asked_scope(),
            kind: self.asked_kind(),
            environment: self.environment.clone(),
            ip: self.client.map(|address| address.to_string()),
            ..ask
        }
    }

    /// Asks it of many.
    pub(crate) fn of_many(&self, ask: VerifyBatch) -> VerifyBatch {
        VerifyBatch {
            required_scope: self.asked_scope(),
            kind: self.asked_kind(),
            environment: self.environment.clone(),
            ip: self.client.map(|address| address.to_string()),
            ..ask
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_all_needed_until_an_alternative_is_named() {
        let texts = |required: &Required| required.asked_scope().map(|sent| sent.0);
        assert_eq!(texts(&Required::default()), None);
        let both = Required::default().scope("a").scope("b c");
        assert_eq!(texts(&both).unwrap(), ["a b c"]);
        let either = both.or_scope("admin").scope("d");
        assert_eq!(texts(&either).unwrap(), ["a b c", "admin d"]);
        // An empty one is refused, and never none.
        assert_eq!(texts(&Required::default().scope("")).unwrap(), [""]);
        assert_eq!(texts(&Required::default().or_scope("a")).unwrap(), ["a"]);
    }

    #[test]
    fn a_kind_alone_asks_nothing_new() {
        let users = Required::default().kind(PrincipalKind::User);
        assert_eq!(users.of_one(Verify::default()), Verify::default());
        assert_eq!(users.of_many(VerifyBatch::default()), VerifyBatch::default());
        let asked = users.environment("live").of_one(Verify::default());
        assert_eq!(asked.kind, Some(PrincipalKind::User));
        assert_eq!(asked.environment.as_deref(), Some("live"));
        let from = Required::default().client(Some(IpAddr::from([203, 0, 113, 7])));
        assert_eq!(from.of_one(Verify::default()).ip.as_deref(), Some("203.0.113.7"));
    }
}
