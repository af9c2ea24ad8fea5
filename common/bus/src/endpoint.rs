//! The child that serves a service's routes for as long as it lives.
//!
//! It holds the value whose drop would stop serving, and notices where a subject is not served any more. When it is
//! stopped, requests in hand are answered first.

use latchkey_runtime::Child;

use crate::{Bus, Routes};

/// Serves `routes`. Each life of the child serves all of them anew.
#[must_use]
pub fn endpoint(name: &'static str, bus: Bus, routes: Routes) -> Child {
    Child::task(name, move |mut context| {
        let (bus, routes) = (bus.clone(), routes.clone());
        async move {
            // While the bus is away, this waits for it.
            let Some(serving) = context.unless_stopped(bus.serve(routes)).await else {
                return Ok(());
            };
            let mut serving = serving?;
            context.up();
            tokio::select! {
                () = context.stopped() => serving.drain().await,
                subject = serving.ended() => {
                    return Err(format!("{subject} is not served any more").into());
                }
            }
            Ok(())
        }
    })
}
