//! Answers whole requests: who do these credentials stand for? The edge serves them on the bus, and a
//! client that remembers asks itself.

use futures_util::future::try_join_all;
use latchkey_bus::Context;
use latchkey_contract::verify::{MinRevision, Verified, VerifiedBatch, Verify, VerifyBatch};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, Failure, FieldError, Refusal, Secret};

use crate::forms::CredentialText;
use crate::gate::Gate;
use crate::requirement::Requirement;

impl Gate {
    /// Who a credential of either kind stands for.
    ///
    /// # Errors
    /// [`Failure::Refused`] where the request breaks a rule; any other where nobody could say.
    pub async fn verify(&self, context: &Context, request: Verify) -> Result<Verified, Failure> {
        let min_revision = request.min_revision.unwrap_or_default();
        let mut faults = faults(request.required_scope.as_ref(), min_revision);
        let Some(credential) = request.credential else {
            faults.insert(0, FieldError::new("credential", "is required and must be a text"));
            return Err(Refusal::Invalid(faults).into());
        };
        if !faults.is_empty() {
            return Err(Refusal::Invalid(faults).into());
        }
        self.verify_text(context, credential.expose(), min_revision).await.map_err(failure)
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
        let min_revision = request.min_revision.unwrap_or_default();
        let mut faults = faults(request.required_scope.as_ref(), min_revision);
        if !(1..=MAX_BATCH).contains(&request.credentials.len()) {
            let message = format!("is required and must hold 1 to {MAX_BATCH} texts");
            faults.insert(0, FieldError::new("credentials", message));
        }
        if !faults.is_empty() {
            return Err(Refusal::Invalid(faults).into());
        }
        let texts = request.credentials.iter().map(Secret::expose);
        let asked = texts.map(|text| self.verify_text(context, text, min_revision));
        let results = try_join_all(asked).await.map_err(failure)?;
        Ok(VerifiedBatch { results })
    }

    /// Who a text stands for, whichever form it has. Any principal meets what the bus can require.
    async fn verify_text(
        &self,
        context: &Context,
        text: &str,
        min_revision: MinRevision,
    ) -> Result<Verified, CallError> {
        Ok(self.decide(context, CredentialText::of(text), min_revision).await?.into())
    }
}

fn faults(scope: Option<&String>, min_revision: MinRevision) -> Vec<FieldError> {
    let required = Requirement::of_scope(scope.map(String::as_str));
    required.err().into_iter().chain(min_revision.faults()).collect()
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Overloaded => Failure::Overloaded,
        absent => Failure::Unavailable(Box::new(absent)),
    }
}
