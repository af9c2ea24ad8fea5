//! The self-check: now and then, what memory has answered is asked of its authority too, in the background.
//! The two may differ while a change is on its way. Where they still do when memory has applied every
//! change that the authority knew of, revoked does not mean revoked: that is an alarm, and everything
//! is forgotten. Each verifier has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use latchkey_bus::Limit;
use latchkey_contract::lease::{MemberId, MemberResult, Revision};
use latchkey_contract::{CallError, CredentialHash, Grants, Timestamp, Verdict};
use latchkey_revocation::Moment;
use latchkey_runtime::batch::{BatchClient, Work};
use latchkey_runtime::{Address, Clock};
use metrics::{Counter, counter};
use tokio::time::sleep;

use crate::ask::{Answer, ask};
use crate::lease::{Memory, Message};
use crate::remembered::Remembered;

/// One of so many answers from memory is checked, unless a check is under way.
const EVERY: u64 = 1_024;
/// How often memory is looked at after an answer that contradicts it, and how long between: together longer
/// than the longest renewal, after which it has applied what the authority knew of.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);
/// What ends by itself within so many milliseconds is not checked: its authority's clock may be past that
/// moment already, and its row deleted.
const SOON: i64 = 5 * 60 * Timestamp::SECOND;
/// Answers that have to contradict memory one after the other: a credential may end and come back meanwhile.
const CONTRADICTIONS: u32 = 2;
/// What the log calls an answer that grants something else than memory does.
const OTHER_RIGHTS: &str = "other_rights";

/// What is said of a credential, as far as it is compared.
type Said = Verdict<Arc<Grants>>;

/// Checks one kind of credential.
pub(crate) struct Check<W: Work> {
    kind: &'static str,
    memory: Arc<Memory>,
    keeper: Address<Message>,
    asker: BatchClient<W>,
    clock: Clock,
    answered: AtomicU64,
    under_way: Limit,
    checks: Counter,
    disagreements: Counter,
}

impl<T, W> Check<W>
where
    T: Clone + Send + 'static,
    W: Work<Item = (T, Option<MemberId>), Answer = Result<Answer, CallError>, Error = CallError>,
{
    pub(crate) fn new(
        kind: &'static str,
        memory: Arc<Memory>,
        keeper: Address<Message>,
        asker: BatchClient<W>,
        clock: Clock,
    ) -> Self {
        let checks = counter!("latchkey_cache_checks_total", "kind" => kind);
        let disagreements = counter!("latchkey_cache_disagreements_total", "kind" => kind);
        checks.increment(0);
        disagreements.increment(0);
        let (answered, under_way) = (AtomicU64::new(0), Limit::new(1));
        Self { kind, memory, keeper, asker, clock, answered, under_way, checks, disagreements }
    }

    /// Counts an answer from memory; every so many begins a check, which no request waits for.
    pub(crate) fn answered(
        self: &Arc<Self>,
        hash: CredentialHash,
        said: &Verdict<Remembered>,
        item: impl Fn() -> T,
    ) {
        if self.answered.fetch_add(1, Ordering::Relaxed) % EVERY != EVERY - 1 {
            return;
        }
        let soon = Timestamp(self.clock.unix_millis()).plus(SOON);
        if matches!(said, Verdict::Valid(principal) if principal.expires_at < soon) {
            return;
        }
        let Some(permit) = self.under_way.try_enter() else { return };
        let (check, said, item) = (Arc::clone(self), rights(said.clone()), item());
        #[expect(clippy::disallowed_methods, reason = "one at a time, and bounded in time")]
        tokio::spawn(async move {
            check.run(hash, said, item).await;
            drop(permit);
        });
    }

    async fn run(&self, hash: CredentialHash, said: Said, item: T) {
        let mut answer = None;
        for _ in 0..CONTRADICTIONS {
            answer = self.contradiction(hash, &said, item.clone()).await;
            if answer.is_none() {
                return;
            }
        }
        self.disagreements.increment(1);
        let (kind, remembered) = (self.kind, said.code());
        tracing::error!(
            kind,
            remembered,
            answer,
            "memory and authority disagree: everything is forgotten"
        );
        if let Some((member, _)) = self.memory.membership() {
            // Where the keeper is gone, the memory is nobody's before long.
            let _ = self.keeper.send(Message::Doubted(member));
        }
    }

    /// What the authority says against memory, if memory stands by what it said.
    async fn contradiction(
        &self,
        hash: CredentialHash,
        said: &Said,
        item: T,
    ) -> Option<&'static str> {
        let Ok(MemberResult::Member((read_at, answer))) = ask(&self.asker, (item, None)).await
        else {
            return None;
        };
        self.checks.increment(1);
        if self.memory.membership().is_none_or(|(_, epoch)| epoch != read_at.epoch) {
            // Positions of another history cannot be compared.
            let _ = self.keeper.send(Message::OtherEpoch(read_at.epoch));
            return None;
        }
        let against = contradicts(said, &rights(answer))?;
        self.stands_by(hash, said, read_at.revision).await.then_some(against)
    }

    /// Whether memory goes on saying so when it has applied every change up to `revision`.
    async fn stands_by(&self, hash: CredentialHash, said: &Said, revision: Revision) -> bool {
        for _ in 0..LOOKS {
            if self.look(hash, revision).as_ref() == Some(said) {
                return true;
            }
            if self.look(hash, Revision::default()).as_ref() != Some(said) {
                return false;
            }
            sleep(PAUSE).await;
        }
        false
    }

    fn look(&self, hash: CredentialHash, min_revision: Revision) -> Option<Said> {
        let (now, wall) = (self.clock.lease_nanos(), self.clock.unix_millis());
        let found = self.memory.look(&hash, Moment(now), Timestamp(wall), min_revision)?;
        Some(rights(found.0))
    }
}

/// What a credential may do.
fn rights(verdict: Verdict<Remembered>) -> Said {
    verdict.map(|principal| Arc::clone(&principal.grants))
}

/// What the authority says where it denies what memory said, or grants something else. Expiry is no matter of the
/// protocol: the two go by clocks of their own.
fn contradicts(said: &Said, answer: &Said) -> Option<&'static str> {
    let is_against = match (said, answer) {
        (Verdict::Valid(granted), Verdict::Valid(told)) if !may_the_same(granted, told) => {
            return Some(OTHER_RIGHTS);
        }
        (Verdict::Valid(_), _) => !matches!(answer, Verdict::Valid(_) | Verdict::Expired(_)),
        (Verdict::Expired(_), _) => false,
        _ => matches!(answer, Verdict::Valid(_)),
    };
    is_against.then(|| answer.code())
}

/// Whether two that hold these are let through by the same requirements.
fn may_the_same(one: &Grants, other: &Grants) -> bool {
    let rights = |of: &Grants| (of.scopes.clone(), of.allowed_ips.clone(), of.environment.clone());
    rights(one) == rights(other)
}

#[cfg(test)]
mod tests;
