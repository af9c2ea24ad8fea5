//! The actor that serves a service's routes for as long as it lives.
//!
//! It holds the value whose drop would stop serving; when it ends, requests in hand are answered first.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{Bus, Routes, Serving};

/// Serves routes while it runs. Each of its lives serves them anew.
pub struct Endpoint {
    /// Where to serve.
    pub bus: Bus,
    /// What to serve.
    pub routes: Routes,
}

/// An endpoint is told nothing; it only lives and ends.
pub enum Nothing {}

impl Actor for Endpoint {
    type Msg = Nothing;
    type State = Option<Serving>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Some(self.bus.serve(self.routes.clone()).await?))
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        serving: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(serving) = serving.take() {
            serving.drain().await;
        }
        Ok(())
    }
}
