//! Answers whole requests: who do these credentials stand for, and is that enough? The edge serves them on the bus, and a
//! client that remembers asks itself.

use std::net::IpAddr;

use futures_util::future::try_join_all;
use latchkey_bus::Context;
use latchkey_contract::credential::KeyEnvironment;
use latchkey_contract::scope::{RequiredScope, ScopeRequirement};
use latchkey_contract::verify::{
    MinRevision, PrincipalKind, Verified, VerifiedBatch, Verify, VerifyBatch,
};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, Failure, FieldError, Refusal, Secret, Verdict};

use crate::forms::CredentialText;
use crate::gate::Gate;
use crate::requirement::Requirement;

/// What a request asks for besides a good credential.
struct Terms {
    scopes: Option<ScopeRequirement>,
    kind: Option<PrincipalKind>,
    environment: Option<String>,
    client: Option<IpAddr>,
    min_revision: MinRevision,
}

impl Gate {
    /// Who a credential of either kind stands for.
    ///
    /// # Errors
    /// [`Failure::Refused`] where the request breaks a rule; any other where nobody could say.
    pub async fn verify(&self, context: &Context, request: Verify) -> Result<Verified, Failure> {
        let Verify { credential, required_scope, kind, environment, ip, min_revision } = request;
        let read = Terms::read(required_scope, kind, environment, ip, min_revision);
        let Some(credential) = credential else {
            let mut faults = read.err().unwrap_or_default();
            faults.insert(0, FieldError::new("credential", "is required and must be a text"));
            return Err(Refusal::Invalid(faults).into());
        };
        let terms = read.map_err(Refusal::Invalid)?;
        self.verify_text(context, credential.expose(), &terms).await.map_err(failure)
    }

    /// The same for many. One answer that cannot be had leaves the whole batch without one.
    ///
    /// # Errors
    /// As for [`Gate::verify`].
    pub async fn verify_batch(
        &self,
        context: &Context,
        request: VerifyBatch,
    ) -> Result<VerifiedBatch, Failure> {
        let VerifyBatch { credentials, required_scope, kind, environment, ip, min_revision } =
            request;
        let read = Terms::read(required_scope, kind, environment, ip, min_revision);
        if !(1..=MAX_BATCH).contains(&credentials.len()) {
            let mut faults = read.err().unwrap_or_default();
            let message = format!("is required and must hold 1 to {MAX_BATCH} texts");
            faults.insert(0, FieldError::new("credentials", message));
            return Err(Refusal::Invalid(faults).into());
        }
        let terms = read.map_err(Refusal::Invalid)?;
        let texts = credentials.iter().map(Secret::expose);
        let asked = texts.map(|text| self.verify_text(context, text, &terms));
        let results = try_join_all(asked).await.map_err(failure)?;
        Ok(VerifiedBatch { results })
    }

    /// Who a text stands for, whichever form it has, and whether that is enough.
    async fn verify_text(
        &self,
        context: &Context,
        text: &str,
        terms: &Terms,
    ) -> Result<Verified, CallError> {
        let credential = CredentialText::of(text);
        let verdict = self.decide(context, credential, terms.min_revision).await?;
        let Verdict::Valid(principal) = &verdict else { return Ok(verdict.into()) };
        Ok(match self.judge(credential.form, terms.requirement(), principal, || terms.client) {
            Ok(()) => verdict.into(),
            Err(unmet) => Verified::denied(unmet.into(), principal),
        })
    }
}

impl Terms {
    /// What the fields of a request say.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    fn read(
        required_scope: Option<RequiredScope>,
        kind: Option<PrincipalKind>,
        environment: Option<String>,
        ip: Option<String>,
        min_revision: Option<MinRevision>,
    ) -> Result<Self, Vec<FieldError>> {
        let min_revision = min_revision.unwrap_or_default();
        let mut faults = Vec::new();
        let scopes = required_scope.map(|sent| sent.read()).transpose();
        let scopes = scopes.unwrap_or_else(|error| {
            faults.push(FieldError::new("required_scope", error.to_string()));
            None
        });
        if environment.as_ref().is_some_and(|name| KeyEnvironment::parse(name).is_err()) {
            faults.push(FieldError::new("environment", "must be the name of an environment"));
        }
        let client = ip.map(|text| text.parse()).transpose().unwrap_or_else(|_no_address| {
            let message = "must be an address, like 203.0.113.7 or 2001:db8::7";
            faults.push(FieldError::new("ip", message));
            None
        });
        faults.extend(min_revision.faults());
        let terms = Self { scopes, kind, environment, client, min_revision };
        if faults.is_empty() { Ok(terms) } else { Err(faults) }
    }

    fn requirement(&self) -> Requirement<'_> {
        Requirement::ANYBODY
            .and_kind(self.kind)
            .and_environment(self.environment.as_deref())
            .and_scopes(self.scopes.as_ref())
    }
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Overloaded => Failure::Overloaded,
        absent => Failure::Unavailable(Box::new(absent)),
    }
}

#[cfg(test)]
mod tests;
