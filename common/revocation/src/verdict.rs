//! What is asked of an authority about one credential, what it answers, and what becomes of the answer.

use latchkey_contract::Timestamp;
use latchkey_contract::lease::{MemberId, ReadAt, SharedTag};

use crate::bounds::Moment;
use crate::table::Weigh;

/// A question to the authority, from before it is sent until its reply is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// On whose behalf: it goes with the question, and the authority answers none but members.
    pub member: MemberId,
    /// Tells this question's reply from any other.
    pub nonce: u64,
    pub(crate) sent: Moment,
}

/// What the authority answers to a member about one credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply<V> {
    /// The snapshot that it was read from.
    pub read_at: ReadAt,
    /// What it says.
    pub verdict: V,
}

/// What an authority says of a credential, as far as a cache is concerned. All that it depends on and that can
/// change while the credential lives is named here, and is computed from what it says.
pub trait CacheableVerdict: Clone + Weigh {
    /// How it is kept.
    fn kept(&self) -> Kept;
    /// Whether it is still true when the wall clock shows this, as far as time alone goes.
    fn holds_at(&self, wall: Timestamp) -> bool;
    /// The tags, besides its credential, of changes that may make it untrue.
    fn tags(&self) -> impl Iterator<Item = SharedTag>;
}

/// How an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It accepts: under the lease.
    AsGood,
    /// It refuses, and that may change: under the lease, bounded apart.
    AsRefusal,
    /// It refuses, and stays true: without a lease, bounded with the refusals.
    AsFact,
    /// Not at all: it rests on something that no change names.
    Not,
}

/// Why a reply decides nothing: ask again, a bounded number of times, then answer 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The edge has joined anew since it asked, or is no member.
    OtherMember,
    /// It is of another epoch: tell [`Keeper::other_epoch`](crate::Keeper::other_epoch).
    OtherEpoch,
    /// Its question was sent a lease ago.
    TooOld,
    /// Its snapshot is older than what the edge remembers one by one.
    BelowFloor,
    /// The credential, or something else that it depends on, was changed after the snapshot.
    Invalidated,
    /// It says "valid" of what has expired by the edge's wall clock: refuse it as expired, and do not
    /// ask again.
    Expired,
}
