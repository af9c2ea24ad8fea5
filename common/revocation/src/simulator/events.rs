//! What happens and what is said, by clocks that drift.

use latchkey_contract::lease::{
    Acknowledge, Invalidate, Joined, MemberResult, Renewed, SharedTag, Tag,
};
use latchkey_contract::{Owner, Timestamp, UserId};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::bounds::Moment;
use crate::cache::Weigh;
use crate::keeper::Ask;
use crate::shard::ReadView;
use crate::verdict::{CacheableVerdict, Kept, Question, Reply};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;
pub(super) const OWNERS: i64 = 6;
/// Tags of another kind, so to say.
pub(super) const OTHERS: i64 = 9;

pub(super) fn owner(number: i64) -> SharedTag {
    SharedTag::Owner(Owner::User(UserId(number)))
}

pub(super) fn other(number: i64) -> SharedTag {
    owner(100 + number)
}

/// What is said of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is good, and stands for itself; it has this owner, and hangs on this other tag.
    Valid(u32, SharedTag, SharedTag),
    Revoked,
    /// Its owner is disabled.
    Disabled(SharedTag),
    Unknown,
}

impl Weigh for Says {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl CacheableVerdict for Says {
    fn kept(&self) -> Kept {
        match self {
            Self::Valid(..) => Kept::AsGood,
            Self::Revoked => Kept::AsFact,
            Self::Disabled(_) | Self::Unknown => Kept::AsRefusal,
        }
    }

    /// Nothing expires, however the wall clocks step.
    fn holds_at(&self, _: Timestamp) -> bool {
        true
    }

    fn tags(&self) -> impl Iterator<Item = SharedTag> {
        let (first, second) = match *self {
            Self::Valid(_, owner, other) => (Some(owner), Some(other)),
            Self::Disabled(owner) => (Some(owner), None),
            Self::Revoked | Self::Unknown => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// A clock that starts anywhere and runs up to 1 % fast or slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drifting {
    offset: u64,
    /// Millionths of the true rate.
    rate: u64,
}

impl Drifting {
    pub(super) fn new(rng: &mut SmallRng) -> Self {
        let rate = *[990_000, 1_000_000, 1_010_000, rng.random_range(990_000..=1_010_000)]
            .get(rng.random_range(0..4_usize))
            .unwrap();
        Self { offset: rng.random_range(0..1_000 * SECOND), rate }
    }

    pub(super) fn read(&self, now: u64) -> Moment {
        Moment(self.offset + now * self.rate / 1_000_000)
    }

    /// The true time at which it shows `at`, or just after.
    pub(super) fn when(&self, at: Moment) -> u64 {
        at.0.saturating_sub(self.offset) * 1_000_000 / self.rate + 2
    }
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    KeeperTimer(usize),
    Request {
        edge: usize,
        credential: u32,
    },
    /// The second step of a reader that was stopped between.
    Finish {
        edge: usize,
        life: u32,
        credential: u32,
        view: ReadView,
        began: u64,
    },
    /// One who waits for a shared reply looks at it.
    Judge {
        edge: usize,
        life: u32,
        credential: u32,
        question: Question,
        reply: Reply<Says>,
    },
    Timeout {
        edge: usize,
        credential: u32,
        nonce: u64,
    },
    ToService {
        edge: usize,
        letter: Letter,
    },
    ToEdge {
        edge: usize,
        letter: Letter,
    },
    ToRevokers(Acknowledge),
    Revoke(Tag<u32>),
    /// An owner is disabled, or enabled again.
    Enable(i64, bool),
    RevokerTimer(u64),
    CleanUp(u64),
    Sweep(usize),
    Fault,
    Heal(usize),
    Issue,
}

#[derive(Clone, Debug)]
pub(super) enum Letter {
    Ask(Ask),
    Joined(u64, Joined),
    Renewed(u64, MemberResult<Renewed<u32>>),
    AskVerify { question: Question, credential: u32 },
    Verified { question: Question, credential: u32, answer: MemberResult<Reply<Says>> },
    Invalidate(Invalidate<u32>),
}
