//! What every handler of the edge shares.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use latchkey_bus::{Bus, Context};
use latchkey_contract::{CallError, Mark, Rpc, Secret};
use latchkey_gate::Gate;
use latchkey_runtime::Entropy;

use crate::endpoints::Endpoints;
use crate::limits::Limits;
use crate::published::Published;
use crate::readiness::EdgeReadiness;
use crate::unshown::UnshownKeys;

/// What the handlers share.
pub struct Edge {
    pub(crate) bus: Bus,
    pub(crate) published: Published,
    /// Which endpoints metadata name.
    pub(crate) endpoints: Endpoints,
    /// Where clients find this, and what tokens have to be issued by for metadata to say so.
    pub(crate) public_url: Option<String>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Limits,
    pub(crate) unshown: Arc<UnshownKeys>,
    pub(crate) readiness: Arc<EdgeReadiness>,
    /// The text of the OpenAPI document.
    pub(crate) description: Bytes,
    pub(crate) entropy: Entropy,
    /// How long one attempt at a change waits.
    pub(crate) change_attempt: Duration,
}

impl Edge {
    /// A mark for one command.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.entropy.bytes())
    }

    /// What one key is made from: 256 random bits.
    pub(crate) fn seed(&self) -> Secret {
        let half = || u128::from_ne_bytes(self.entropy.bytes());
        Secret::new(format!("{:032x}{:032x}", half(), half()))
    }

    /// Asks for a change that is answered when no edge relies on anything older.
    pub(crate) async fn change<R: Rpc>(
        &self,
        context: &Context,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        self.bus.call_waiting(self.change_attempt, context, request).await
    }
}
