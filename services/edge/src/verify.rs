//! Answers other services on the bus: who does this credential stand for? Through the same gate as HTTP.

use std::sync::Arc;

use futures_util::future::try_join_all;
use latchkey_bus::{Bus, Context, Endpoint, Routes};
use latchkey_contract::verify::{MinRevision, Verified, VerifiedBatch, Verify, VerifyBatch};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, Failure, FieldError, Refusal, Secret};
use latchkey_gate::Gate;
use latchkey_runtime::{Address, Child};

use crate::NAME;

/// The actor that serves the two subjects.
pub(crate) fn child(bus: Bus, gate: Arc<Gate>) -> Child {
    Child::new("edge endpoint", Address::new(), move || {
        (Endpoint { bus: bus.clone(), routes: routes(&gate) }, ())
    })
}

fn routes(gate: &Arc<Gate>) -> Routes {
    let (one, many) = (Arc::clone(gate), Arc::clone(gate));
    Routes::new(NAME, env!("CARGO_PKG_VERSION"), "Who a credential stands for")
        .on::<Verify, _, _>(move |context, request| verify(Arc::clone(&one), context, request))
        .on::<VerifyBatch, _, _>(move |context, request| {
            verify_batch(Arc::clone(&many), context, request)
        })
}

async fn verify(gate: Arc<Gate>, context: Context, request: Verify) -> Result<Verified, Failure> {
    let least = request.min_revision.unwrap_or_default();
    let mut faults = faults(request.required_scope.as_ref(), least);
    let Some(credential) = request.credential else {
        faults.insert(0, FieldError::new("credential", "is required and must be a text"));
        return Err(Refusal::Invalid(faults).into());
    };
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults).into());
    }
    gate.either(&context, credential.expose(), least).await.map_err(failure)
}

/// One answer that cannot be had leaves the whole batch without one.
async fn verify_batch(
    gate: Arc<Gate>,
    context: Context,
    request: VerifyBatch,
) -> Result<VerifiedBatch, Failure> {
    let least = request.min_revision.unwrap_or_default();
    let mut faults = faults(request.required_scope.as_ref(), least);
    if !(1..=MAX_BATCH).contains(&request.credentials.len()) {
        let message = format!("is required and must hold 1 to {MAX_BATCH} texts");
        faults.insert(0, FieldError::new("credentials", message));
    }
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults).into());
    }
    let texts = request.credentials.iter().map(Secret::expose);
    let asked = texts.map(|text| gate.either(&context, text, least));
    let results = try_join_all(asked).await.map_err(failure)?;
    Ok(VerifiedBatch { results })
}

/// No credential has a scope, so none has the required one; whoever asks is to know why.
fn faults(required: Option<&String>, least: MinRevision) -> Vec<FieldError> {
    let message = "is reserved: credentials have no scopes yet, leave it out";
    let scope = required.map(|_| FieldError::new("required_scope", message));
    scope.into_iter().chain(least.faults()).collect()
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Overloaded => Failure::Overloaded,
        absent => Failure::Unavailable(Box::new(absent)),
    }
}

#[cfg(test)]
mod tests;
