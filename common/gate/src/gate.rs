//! Who a credential stands for: the one way to know. The edge's extractors and its `v1.verify` ask it.
//!
//! A malformed credential is refused here without asking anyone. What is remembered is answered from
//! memory while the lease allows it. Everything else is asked of its authority, together with whatever
//! else queued up while the last question was under way.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::{Authority, IdentityAuthority, KeysAuthority};
use latchkey_contract::identity::MAX_TOKEN;
use latchkey_contract::lease::{MemberId, Position};
use latchkey_contract::{
    ApiKey, CallError, CredentialHash, KeyPrincipal, Secret, Timestamp, UserPrincipal, Verdict,
};
use latchkey_runtime::batch::{Asker, Work};
use latchkey_runtime::{Address, Child, Clock, periodic};

use crate::Deps;
use crate::ask::{AskKeys, AskTokens};
use crate::config::MemoryConfig;
use crate::desk::{Answer, Desk, Principal};
use crate::judged::Judged;
use crate::lease::{self, Memory};
use crate::remembered::Remembered;
use crate::usage::UsageReporter;

/// The gate.
pub struct Gate {
    keys: Desk<Remembered<KeyPrincipal>, AskKeys>,
    tokens: Desk<Remembered<UserPrincipal>, AskTokens>,
    usage: Arc<UsageReporter>,
    clock: Clock,
    judged: [Judged; 2],
}

impl Gate {
    /// The gate, and its actors in the order they start: they keep its leases, ask for it, and report uses.
    #[must_use]
    pub fn new(config: &MemoryConfig, deps: &Deps) -> (Self, Vec<Child>) {
        let mut children = Vec::new();
        let keys = desk::<KeysAuthority, _, _, _>(
            config,
            deps,
            ["key", "lease of keys", "ask keys"],
            AskKeys { bus: deps.bus.clone() },
            &mut children,
        );
        let tokens = desk::<IdentityAuthority, _, _, _>(
            config,
            deps,
            ["token", "lease of tokens", "ask tokens"],
            AskTokens { bus: deps.bus.clone() },
            &mut children,
        );
        let usage = Arc::new(UsageReporter::new(deps));
        children.push(periodic::child("usage reporter", Arc::clone(&usage)));
        let judged = [Judged::of("key"), Judged::of("token")];
        (Self { keys, tokens, usage, clock: deps.clock.clone(), judged }, children)
    }

    /// Who an API key stands for, as of the revision `least` or a later one.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the key is not accepted.
    pub async fn key(
        &self,
        context: &Context,
        text: &str,
        least: Position,
    ) -> Result<Verdict<Remembered<KeyPrincipal>>, CallError> {
        let judged = self.judge_key(context, text, least).await;
        self.judged[0].count(&judged);
        judged
    }

    async fn judge_key(
        &self,
        context: &Context,
        text: &str,
        least: Position,
    ) -> Result<Verdict<Remembered<KeyPrincipal>>, CallError> {
        let Ok(hash) = ApiKey::hash_of(text) else { return Ok(Verdict::Malformed) };
        let verdict = self.keys.decide(context, hash, least, || hash).await?;
        if let Verdict::Valid(principal) = &verdict {
            self.usage.note(principal, Timestamp(self.clock.unix_millis()));
        }
        Ok(verdict)
    }

    /// Who an API key stands for, where that is remembered: at once, and as [`key`](Self::key) would
    /// answer. `None` for everything else, which only `key` can judge.
    #[must_use]
    pub fn remembered_key(&self, text: &str) -> Option<Remembered<KeyPrincipal>> {
        let now = Timestamp(self.clock.unix_millis());
        let hash = ApiKey::hash_of(text).ok()?;
        let principal = self.keys.remembered(hash, now, || hash)?;
        self.judged[0].count_valid();
        self.usage.note(&principal, now);
        Some(principal)
    }

    /// Who an access token stands for, where that is remembered: as
    /// [`remembered_key`](Self::remembered_key).
    #[must_use]
    pub fn remembered_token(&self, text: &str) -> Option<Remembered<UserPrincipal>> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let now = Timestamp(self.clock.unix_millis());
        let item = || Secret::new(text.to_owned());
        let principal = self.tokens.remembered(CredentialHash::of(text), now, item)?;
        self.judged[1].count_valid();
        Some(principal)
    }

    /// Who an access token stands for, as of the revision `least` or a later one.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the token is not accepted.
    pub async fn token(
        &self,
        context: &Context,
        text: &str,
        least: Position,
    ) -> Result<Verdict<Remembered<UserPrincipal>>, CallError> {
        let judged = if is_compact_jws(text) {
            let hash = CredentialHash::of(text);
            let item = || Secret::new(text.to_owned());
            self.tokens.decide(context, hash, least, item).await
        } else {
            Ok(Verdict::Malformed)
        };
        self.judged[1].count(&judged);
        judged
    }
}

/// The desk for one kind of credential, with its actors. The keeper of the lease starts first, so that
/// it stops last: after every request.
fn desk<A, P, T, W>(
    config: &MemoryConfig,
    deps: &Deps,
    [kind, lease_name, asker_name]: [&'static str; 3],
    work: W,
    children: &mut Vec<Child>,
) -> Desk<P, W>
where
    A: Authority,
    P: Principal,
    T: Clone + Send + 'static,
    W: Work<Item = (T, Option<MemberId>), Answer = Answer<P>, Error = CallError>,
{
    let memory = Arc::new(memory(config));
    let keeper = if config.enabled {
        let desk = lease::Desk {
            name: deps.name,
            bus: deps.bus.clone(),
            clock: deps.clock.clone(),
            entropy: deps.entropy.clone(),
            bounds: config.bounds,
            memory: Arc::clone(&memory),
        };
        let (keeper, child) = lease::child::<A, P>(lease_name, desk);
        children.push(child);
        keeper
    } else {
        // Nobody joins, so nothing is ever remembered.
        Address::new()
    };
    let (asker, child) = Asker::new(asker_name, work);
    children.push(child);
    Desk::new(kind, memory, keeper, asker, deps.clock.clone())
}

#[cfg(debug_assertions)]
fn memory<P: Principal>(config: &MemoryConfig) -> Memory<P> {
    if config.without_lease {
        return Memory::without_lease(&config.bounds, config.capacity);
    }
    Memory::new(&config.bounds, config.capacity)
}

#[cfg(not(debug_assertions))]
fn memory<P: Principal>(config: &MemoryConfig) -> Memory<P> {
    Memory::new(&config.bounds, config.capacity)
}

/// Three parts of base64url without padding (RFC 7515 §7.1), and not too long to look at.
fn is_compact_jws(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= MAX_TOKEN && text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_seen_without_asking() {
        assert!(is_compact_jws("eyJh.eyJz.c2ln"));
        let long = format!("a.b.{}", "c".repeat(MAX_TOKEN));
        for text in ["", "a.b", "a.b.c.d", "a..c", "a.b.", "a.b=.c", "a.b.c ", "a.b.ç", &long] {
            assert!(!is_compact_jws(text), "{text}");
        }
    }
}
