//! Who a credential stands for: the one way to know. The edge's fast path and extractors ask it ([`Gate::look`], then
//! [`Gate::ask`]), and so do its `v1.verify` and the client ([`Gate::decide`]).
//!
//! A malformed credential is refused here without asking anyone. What is remembered is answered from
//! memory while the lease allows it. Everything else is asked of its authority, together with whatever
//! else queued up while the last question was under way.

use std::net::IpAddr;
use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::identity::IdentityAuthority;
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::Revision;
use latchkey_contract::verify::MinRevision;
use latchkey_contract::{CallError, Timestamp, Verdict};
use latchkey_runtime::batch::BatchClient;
use latchkey_runtime::{Address, Child, Clock, periodic};

use crate::Deps;
use crate::ask::AskAuthority;
use crate::cached_verifier::{CachedVerifier, Looked, Name};
use crate::config::MemoryConfig;
use crate::forms::{CredentialText, Form, OfForm};
use crate::lease::{self, LeaseDeps, Memory};
use crate::remembered::Remembered;
use crate::requirement::{Requirement, Unmet};
use crate::usage::UsageReporter;

/// The gate.
pub struct Gate {
    keys: CachedVerifier<KeysAuthority>,
    tokens: CachedVerifier<IdentityAuthority>,
    usage: Arc<UsageReporter>,
    clock: Clock,
}

impl Gate {
    /// The gate, and its actors in the order they start: they keep its leases, ask for it, and report uses.
    #[must_use]
    pub fn new(config: &MemoryConfig, deps: &Deps) -> (Self, Vec<Child>) {
        let mut children = deps.bus.upkeep();
        let keys = verifier(config, deps, ["lease of keys", "ask keys"], &mut children);
        let tokens = verifier(config, deps, ["lease of tokens", "ask tokens"], &mut children);
        let usage = Arc::new(UsageReporter::new(deps));
        children.push(periodic::child("usage reporter", Arc::clone(&usage)));
        (Self { keys, tokens, usage, clock: deps.clock.clone() }, children)
    }

    /// Who a credential stands for, as of the revision that `min_revision` names for its authority, or a later one. What is
    /// good counts as used, and as verified, when it is [judged](Self::judge).
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then it is not accepted.
    pub async fn decide(
        &self,
        context: &Context,
        credential: CredentialText<'_>,
        min_revision: MinRevision,
    ) -> Result<Verdict<Remembered>, CallError> {
        match credential.form {
            Form::Key => {
                self.keys.decide(context, credential, min_revision.keys.unwrap_or_default()).await
            }
            Form::Token => {
                self.tokens
                    .decide(context, credential, min_revision.identity.unwrap_or_default())
                    .await
            }
        }
    }

    /// What is known of a credential without asking anyone: at once, and as [`decide`](Self::decide) would answer.
    /// What is not known [`ask`](Self::ask) answers.
    #[must_use]
    pub fn look(&self, credential: CredentialText<'_>) -> Looked {
        let now = self.now();
        match credential.form {
            Form::Key => self.keys.look(credential, now),
            Form::Token => self.tokens.look(credential, now),
        }
    }

    /// Who a credential stands for of which a look has said nothing but its name: without hashing it again, or
    /// looking again.
    ///
    /// # Errors
    /// As for [`decide`](Self::decide).
    pub async fn ask(
        &self,
        context: &Context,
        credential: CredentialText<'_>,
        Name(name): Name,
    ) -> Result<Verdict<Remembered>, CallError> {
        let any = Revision::default();
        match credential.form {
            Form::Key => self.keys.ask(context, credential, name, any).await,
            Form::Token => self.tokens.ask(context, credential, name, any).await,
        }
    }

    /// Whether a principal that was accepted by a credential of this form is enough for a request, as
    /// [`Requirement::judge`] says. It counts as that: a key is used where it is let through.
    ///
    /// # Errors
    /// [`Unmet`] says what it lacks.
    pub fn judge(
        &self,
        form: Form,
        requirement: Requirement<'_>,
        principal: &Remembered,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<(), Unmet> {
        let judged = requirement.judge(principal, client);
        match form {
            Form::Key => self.keys.judged(judged),
            Form::Token => self.tokens.judged(judged),
        }
        if judged.is_ok() {
            self.usage.note(principal, || self.now());
        }
        judged
    }

    /// The tests' own: leaves what is remembered of keys as a panic in the middle of a change would.
    #[cfg(debug_assertions)]
    pub fn tear(&self) {
        self.keys.tear();
    }

    /// Whether anything is answered from memory at this moment: there is a lease of one authority at least.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.keys.is_live() || self.tokens.is_live()
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.unix_millis())
    }
}

/// The verifier of one form of credential, with its actors. The keeper of the lease starts first, so that
/// it stops last: after every request.
fn verifier<A: OfForm>(
    config: &MemoryConfig,
    deps: &Deps,
    [lease_name, asker_name]: [&'static str; 2],
    children: &mut Vec<Child>,
) -> CachedVerifier<A> {
    let memory = Arc::new(memory(config));
    let keeper = if config.enabled {
        let lease = LeaseDeps {
            name: deps.name,
            bus: deps.bus.clone(),
            clock: deps.clock.clone(),
            entropy: deps.entropy.clone(),
            bounds: config.bounds,
            memory: Arc::clone(&memory),
        };
        let (keeper, child) = lease::child::<A>(lease_name, lease);
        children.push(child);
        keeper
    } else {
        // Nobody joins, so nothing is ever remembered.
        Address::new()
    };
    let (asker, child) = BatchClient::new(asker_name, AskAuthority::on(deps.bus.clone()));
    children.push(child);
    CachedVerifier::new(memory, keeper, asker, deps.clock.clone())
}

#[cfg(debug_assertions)]
fn memory(config: &MemoryConfig) -> Memory {
    if config.without_lease {
        return Memory::without_lease(&config.bounds, config.capacity);
    }
    Memory::new(&config.bounds, config.capacity)
}

#[cfg(not(debug_assertions))]
fn memory(config: &MemoryConfig) -> Memory {
    Memory::new(&config.bounds, config.capacity)
}

#[cfg(test)]
mod tests;
