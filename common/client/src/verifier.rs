//! Whom credentials stand for: asked of the edges each time, or remembered in this process. One verifier
//! serves a whole process: it is cheap to clone.

use std::mem;
use std::sync::Arc;

use latchkey_bus::{Bus, Context, Limit, RequestId};
use latchkey_contract::verify::{MinRevision, Verified, VerifiedBatch, Verify, VerifyBatch};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, Rpc, Secret};
use latchkey_runtime::Entropy;

use crate::connect::{ConnectError, MEMBER, Options, USER, connect, unique};
use crate::memory::{Memory, Remembering};
use crate::required::Required;

/// Questions under way at the same time at most; beyond, [`CallError::Overloaded`] at once.
const MAX_IN_FLIGHT: u32 = 1_024;
/// Bytes of the credentials in one message at most; it holds 64 KiB.
const MAX_PART: usize = 48 * 1_024;

/// Says whom credentials stand for.
#[derive(Clone)]
pub struct Verifier {
    source: Source,
    min_revision: Option<MinRevision>,
}

#[derive(Clone)]
enum Source {
    Edges(Arc<Edges>),
    Memory(Arc<Remembering>),
}

/// Asks the edges, each time.
struct Edges {
    bus: Bus,
    limit: Limit,
    entropy: Entropy,
}

impl Verifier {
    /// Connects as the user `verifier`, and asks an edge each time. The connection is made again whenever
    /// it is lost; a server that is away is waited for.
    ///
    /// # Errors
    /// [`ConnectError`] where the server is there and refuses.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        Ok(Self::on(connect(options, USER).await?))
    }

    /// Connects as the user `member`, and remembers answers as an edge does: this process joins identity
    /// and keys, keeps a lease at each, forgets what they say has ended, and confirms that. A revoke or
    /// logout waits for it, so that what this process accepts is good by the same rule as at an edge.
    /// [`Verifier::close`] ends it in good order; a process that is killed or cut off holds up revokes
    /// for as long as the lease lasts.
    ///
    /// # Errors
    /// [`ConnectError`] where the server is there and refuses, or the lease is of no use.
    pub async fn remembering(options: Options, memory: Memory) -> Result<Self, ConnectError> {
        let bus = connect(options, MEMBER).await?;
        let remembering = Remembering::start(bus, memory).await?;
        Ok(Self { source: Source::Memory(Arc::new(remembering)), min_revision: None })
    }

    /// Asks an edge each time, on a bus that the process has already.
    #[must_use]
    pub fn on(bus: Bus) -> Self {
        let edges = Edges { bus, limit: Limit::new(MAX_IN_FLIGHT), entropy: Entropy::System };
        Self { source: Source::Edges(Arc::new(edges)), min_revision: None }
    }

    /// The same verifier, whose answers are of these revisions or later ones: those of changes that the
    /// caller knows of. Where an authority has not reached one, nobody can say.
    #[must_use]
    pub fn at_least(&self, revision: MinRevision) -> Self {
        Self { min_revision: Some(revision), ..self.clone() }
    }

    /// Whom an access token or an API key stands for, within 3 seconds.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say. The credential is then not to be accepted.
    pub async fn verify(&self, credential: Secret) -> Result<Verified, CallError> {
        self.verify_for(credential, &Required::default()).await
    }

    /// The same, and whether that is enough for what is asked for.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify); [`CallError::Refused`] where what is required is nothing that can be.
    pub async fn verify_for(
        &self,
        credential: Secret,
        required: &Required,
    ) -> Result<Verified, CallError> {
        let request = Verify { min_revision: self.min_revision, ..Verify::of(credential) };
        let request = required.of_one(request);
        match &self.source {
            Source::Edges(edges) => edges.ask(&request).await,
            Source::Memory(memory) => memory.verify(request).await,
        }
        .map(|verified| required.judged(verified))
    }

    /// The same for 1 to 100 credentials; the answers come in the same order.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say of one of them; none is then to be accepted.
    pub async fn verify_batch(&self, credentials: Vec<Secret>) -> Result<Vec<Verified>, CallError> {
        self.verify_batch_for(credentials, &Required::default()).await
    }

    /// The same, and whether each is enough for what is asked for.
    ///
    /// # Errors
    /// As for [`verify_batch`](Self::verify_batch) and [`verify_for`](Self::verify_for).
    pub async fn verify_batch_for(
        &self,
        credentials: Vec<Secret>,
        required: &Required,
    ) -> Result<Vec<Verified>, CallError> {
        let expected = credentials.len();
        let request =
            VerifyBatch { min_revision: self.min_revision, ..VerifyBatch::of(credentials) };
        let request = required.of_many(request);
        let batch = match &self.source {
            Source::Edges(edges) => edges.verify_batch(request).await?,
            Source::Memory(memory) => memory.verify_batch(request).await?,
        };
        if batch.results.len() != expected {
            return Err(CallError::Unreadable);
        }
        Ok(batch.results.into_iter().map(|verified| required.judged(verified)).collect())
    }

    /// Ends what remembers, for every clone: it reports the last uses of keys, forgets everything and says
    /// so, and no revoke waits for it any more. Of what is asked afterwards nobody can say. One that
    /// remembers nothing has nothing to end. To drop the last clone does the same in the background.
    pub async fn close(self) {
        if let Source::Memory(memory) = &self.source {
            memory.close().await;
        }
    }

    /// Credentials that one batch holds at most.
    pub const MAX_BATCH: usize = MAX_BATCH;
}

impl Edges {
    /// In as many messages as the credentials' bytes take; too many are left to the edge to refuse.
    async fn verify_batch(&self, mut request: VerifyBatch) -> Result<VerifiedBatch, CallError> {
        let credentials = mem::take(&mut request.credentials);
        let mut results = Vec::with_capacity(credentials.len());
        for credentials in parts(credentials) {
            let part = VerifyBatch { credentials, ..request.clone() };
            results.extend(self.ask(&part).await?.results);
        }
        Ok(VerifiedBatch { results })
    }

    async fn ask<R: Rpc>(&self, request: &R) -> Result<R::Reply, CallError> {
        let _permit = self.limit.try_enter().ok_or(CallError::Overloaded)?;
        let context = Context::new(RequestId::new(&unique(&self.entropy)), R::TIMEOUT);
        self.bus.call(&context, request).await
    }
}

/// Parts that fit a message each, in their order; one where there are more or fewer than a batch may hold.
fn parts(credentials: Vec<Secret>) -> Vec<Vec<Secret>> {
    if credentials.len() > MAX_BATCH {
        return vec![credentials];
    }
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for credential in credentials {
        let more = credential.expose().len();
        if bytes > 0 && bytes + more > MAX_PART {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(credential);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_goes_in_parts_that_fit_a_message_and_keeps_its_order() {
        let text = |at: usize| format!("{at:04}{}", "x".repeat(4_000));
        let long: Vec<Secret> = (0..MAX_BATCH).map(|at| Secret::new(text(at))).collect();
        let parts = parts(long.clone());
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.iter().map(|it| it.expose().len()).sum::<usize>() <= MAX_PART);
        }
        assert_eq!(parts.concat(), long);
    }

    #[test]
    fn short_ones_go_together_and_what_an_edge_refuses_is_left_to_it() {
        for count in [0, 1, MAX_BATCH, MAX_BATCH + 1] {
            let parts = parts(vec![Secret::new("x".repeat(50)); count]);
            assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [count]);
        }
    }
}
