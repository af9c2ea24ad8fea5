//! The edge's membership at one authority: it joins, renews the lease, applies invalidations and
//! acknowledges them. One actor owns it; it writes to the [`Cache`] that every request
//! reads.
//!
//! The actor asks [`Keeper::next`] what to do after every event, and hands in whatever was answered.

use std::hash::{BuildHasher, Hash};

use latchkey_contract::lease::{
    Acknowledge, Epoch, Invalidate, Joined, MemberId, MemberResult, Missed, Renewed, Revision,
};

use crate::bounds::{Bounds, Moment};
use crate::cache::Cache;
use crate::rules::{Mutant, Rules};
use crate::shard::Membership;
use crate::verdict::CacheableVerdict;

/// Questions under way at most; the oldest is given up for one more.
const MAX_UNDER_WAY: usize = 4;
/// Renewals that something missed asks for come at most so many times as often as regular ones.
const URGENCY: u64 = 8;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Keeper {
    pub(crate) bounds: Bounds,
    pub(crate) rules: Rules,
    pub(crate) state: State,
    pub(crate) under_way: Vec<UnderWay>,
    pub(crate) next_nonce: u64,
    /// Up to here every change has been heard of, in whichever way. Only a hint: P alone counts.
    heard: Revision,
    asked: Option<Moment>,
    urgent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Out,
    In { membership: Membership, revision: Revision },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    pub(crate) nonce: u64,
    pub(crate) sent: Moment,
    /// Who joins; `None` for a renewal.
    pub(crate) joins: Option<MemberId>,
}

/// A question that the actor sends. Its answer is handed in under its nonce; any other is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Join: the answer goes to [`Keeper::joined`].
    Join {
        /// Of the question.
        nonce: u64,
        /// Under this id.
        member: MemberId,
    },
    /// Renew: the answer goes to [`Keeper::renewed`].
    Renew {
        /// Of the question.
        nonce: u64,
        /// Who asks.
        member: MemberId,
        /// What it has applied (P).
        since: Revision,
    },
}

/// What the actor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this at once, then ask again.
    Send(Ask),
    /// Nothing until then, unless something is received.
    Wait(Moment),
}

impl Keeper {
    /// A keeper that has not joined.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        Self::build(bounds, Rules::default())
    }

    pub(crate) fn build(bounds: &Bounds, rules: Rules) -> Self {
        Self {
            bounds: *bounds,
            rules,
            state: State::Out,
            under_way: Vec::new(),
            next_nonce: 0,
            heard: Revision::default(),
            asked: None,
            urgent: false,
        }
    }

    /// What to do at `now`. `fresh` makes an id of 128 random bits; it is called for each join.
    pub fn next(&mut self, now: Moment, fresh: impl FnOnce() -> MemberId) -> Next {
        let renewal = self.bounds.renewal();
        let pause = if self.urgent { renewal / URGENCY } else { renewal };
        let due = self.asked.map_or(now, |asked| asked.plus(pause));
        if now < due {
            return Next::Wait(due);
        }
        Next::Send(match self.state {
            State::Out => self.ask_to_join(now, fresh()),
            State::In { membership, revision } => self.ask_to_renew(now, membership, revision),
        })
    }

    /// The bus is back: renew at once.
    pub fn reconnected(&mut self) {
        self.urgent = true;
        self.asked = None;
    }

    /// Something was published that could not be read: renew soon, which tells what it was.
    pub fn missed(&mut self) {
        self.urgent = true;
    }

    /// Takes the answer to a join.
    pub fn joined<C, V, S>(&mut self, cache: &Cache<C, V, S>, nonce: u64, answer: Joined)
    where
        C: Copy + Eq + Hash,
        V: CacheableVerdict,
        S: BuildHasher + Clone,
    {
        let Some(UnderWay { joins: Some(member), .. }) = self.close(nonce) else { return };
        let membership = Membership { member, epoch: answer.epoch };
        self.state = State::In { membership, revision: answer.revision };
        self.under_way.clear();
        self.heard = answer.revision;
        // The first renewal gives the lease.
        self.asked = None;
        cache.enter(membership, answer.revision);
    }

    /// Takes the answer to a renewal.
    pub fn renewed<C, V, S>(
        &mut self,
        cache: &Cache<C, V, S>,
        nonce: u64,
        answer: MemberResult<Renewed<C>>,
        now: Moment,
    ) where
        C: Copy + Eq + Hash,
        V: CacheableVerdict,
        S: BuildHasher + Clone,
    {
        let Some(UnderWay { joins: None, sent, .. }) = self.close(nonce) else { return };
        let State::In { membership, revision } = self.state else { return };
        let MemberResult::Member(renewed) = answer else { return self.leave(cache) };
        if renewed.epoch != membership.epoch {
            return self.leave(cache);
        }
        let stamp = if self.rules.breaks(Mutant::StampAtReceipt) { now } else { sent };
        // First out, then the lease: see the crate's documentation.
        match renewed.missed {
            Missed::These(changes) => {
                for change in changes {
                    cache.invalidate(change.tag, change.revision, revision);
                }
            }
            Missed::TooMany => cache.drop_all(renewed.revision),
        }
        let revision = revision.max(renewed.revision);
        self.state = State::In { membership, revision };
        self.heard = self.heard.max(revision);
        cache.extend(stamp, revision);
    }

    /// A question found no answer.
    pub fn failed(&mut self, nonce: u64) {
        self.close(nonce);
    }

    /// Applies an invalidation; when it returns, the acknowledgement may be sent. `None`: send nothing.
    pub fn invalidate<C, V, S>(
        &mut self,
        cache: &Cache<C, V, S>,
        message: &Invalidate<C>,
    ) -> Option<Acknowledge>
    where
        C: Copy + Eq + Hash,
        V: CacheableVerdict,
        S: BuildHasher + Clone,
    {
        let State::In { membership, revision } = self.state else { return None };
        if message.epoch != membership.epoch {
            self.leave(cache);
            return None;
        }
        let at = message.change.revision;
        if !self.rules.breaks(Mutant::AcknowledgeBeforeApplying) {
            cache.invalidate(message.change.tag, at, revision);
        }
        if at.0 == self.heard.0 + 1 {
            self.heard = at;
        } else if at > self.heard {
            // Something was missed.
            self.urgent = true;
        }
        if self.rules.breaks(Mutant::InvalidateMovesPosition) {
            self.state = State::In { membership, revision: revision.max(at) };
        }
        Some(Acknowledge { member: membership.member, epoch: membership.epoch, revision: at })
    }

    /// The authority has told `member` that it is none: forget everything and join anew.
    pub fn expelled<C, V, S>(&mut self, cache: &Cache<C, V, S>, member: MemberId)
    where
        C: Copy + Eq + Hash,
        V: CacheableVerdict,
        S: BuildHasher + Clone,
    {
        if self.member() == Some(member) {
            self.leave(cache);
        }
    }

    /// An answer of `epoch` was received: if it is not that of the membership, forget everything and
    /// join anew.
    pub fn other_epoch<C, V, S>(&mut self, cache: &Cache<C, V, S>, epoch: Epoch)
    where
        C: Copy + Eq + Hash,
        V: CacheableVerdict,
        S: BuildHasher + Clone,
    {
        if matches!(self.state, State::In { membership, .. } if membership.epoch != epoch) {
            self.leave(cache);
        }
    }

    /// Under which id it is a member, if it is.
    #[must_use]
    pub fn member(&self) -> Option<MemberId> {
        match self.state {
            State::Out => None,
            State::In { membership, .. } => Some(membership.member),
        }
    }

    /// What it has applied (P).
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        match self.state {
            State::Out => None,
            State::In { revision, .. } => Some(revision),
        }
    }

    pub(crate) fn ask_to_join(&mut self, now: Moment, member: MemberId) -> Ask {
        let nonce = self.open(now, Some(member));
        Ask::Join { nonce, member }
    }

    pub(crate) fn ask_to_renew(
        &mut self,
        now: Moment,
        membership: Membership,
        since: Revision,
    ) -> Ask {
        let nonce = self.open(now, None);
        Ask::Renew { nonce, member: membership.member, since }
    }

    fn leave<C, V, S>(&mut self, cache: &Cache<C, V, S>)
    where
        C: Copy + Eq + Hash,
        V: CacheableVerdict,
        S: BuildHasher + Clone,
    {
        self.state = State::Out;
        self.under_way.clear();
        self.asked = None;
        cache.leave();
    }

    fn open(&mut self, sent: Moment, joins: Option<MemberId>) -> u64 {
        if self.under_way.len() >= MAX_UNDER_WAY {
            self.under_way.remove(0);
        }
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        self.under_way.push(UnderWay { nonce, sent, joins });
        self.asked = Some(sent);
        self.urgent = false;
        nonce
    }

    fn close(&mut self, nonce: u64) -> Option<UnderWay> {
        let at = self.under_way.iter().position(|question| question.nonce == nonce)?;
        Some(self.under_way.remove(at))
    }
}
