//! Answers other services on the bus: who does this credential stand for? Through the same gate as HTTP.

use std::sync::Arc;

use latchkey_bus::{Bus, Routes, endpoint};
use latchkey_contract::verify::{Verify, VerifyBatch};
use latchkey_gate::Gate;
use latchkey_runtime::Child;

use crate::name::NAME;

/// The child that serves the two subjects.
pub(crate) fn child(bus: Bus, gate: &Arc<Gate>) -> Child {
    endpoint("edge endpoint", bus, routes(gate))
}

fn routes(gate: &Arc<Gate>) -> Routes {
    let (one, many) = (Arc::clone(gate), Arc::clone(gate));
    Routes::new(NAME, env!("CARGO_PKG_VERSION"), "Who a credential stands for")
        .on::<Verify, _, _>(move |context, request| {
            let gate = Arc::clone(&one);
            async move { gate.verify(&context, request).await }
        })
        .on::<VerifyBatch, _, _>(move |context, request| {
            let gate = Arc::clone(&many);
            async move { gate.verify_batch(&context, request).await }
        })
}

#[cfg(test)]
mod tests;
