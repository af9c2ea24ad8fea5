//! The state of the model: clocks that all show the same, a database, edges, revokers, messages.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use latchkey_contract::Timestamp;
use latchkey_contract::lease::{
    Acknowledge, Epoch, Invalidate, Invalidation, Joined, MemberId, MemberResult, Renewed,
    Revision, SharedTag, Tag,
};

use super::scenario::{ASKED, Scenario, shared};
use crate::authority::{self, Changes, MemberState, Snapshot};
use crate::bounds::{Bounds, Moment};
use crate::cache::Cache;
use crate::janitor::Janitor;
use crate::keeper::{Ask, Keeper};
use crate::revoker::{Aftermath, EpochWatch, Revocation};
use crate::rules::Rules;
use crate::shard::ReadView;
use crate::verdict::{Kept, Question, Reply};

pub(super) type Hasher = BuildHasherDefault<DefaultHasher>;
/// Credentials are one byte.
pub(super) type TestCache = Cache<u8, Small, Hasher>;

/// A verdict without a heap: a credential is good, or was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Small {
    Valid(u8),
    Revoked,
}

impl crate::Weigh for Small {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl crate::CacheableVerdict for Small {
    fn kept(&self) -> Kept {
        match self {
            Self::Valid(_) => Kept::AsGood,
            Self::Revoked => Kept::AsFact,
        }
    }

    /// Nothing expires in the model.
    fn holds_at(&self, _: Timestamp) -> bool {
        true
    }

    fn tags(&self) -> impl Iterator<Item = SharedTag> {
        let of = match self {
            Self::Valid(credential) => Some(tags_of(*credential)),
            Self::Revoked => None,
        };
        of.into_iter().flatten()
    }
}

/// The shared tags of a credential: the first is one that every other credential has too, the second is its own.
pub(super) fn tags_of(credential: u8) -> [SharedTag; 2] {
    [shared(i64::from(credential % 2)), shared(50 + i64::from(credential))]
}

/// Whether a change with this tag ends a credential.
pub(super) fn ends(tag: Tag<u8>, credential: u8) -> bool {
    match tag {
        Tag::Credential(other) => other == credential,
        Tag::Shared(tag) => tags_of(credential).contains(&tag),
        Tag::All | Tag::Unknown(_) => true,
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) now: Moment,
    pub(super) edges: Vec<Arc<Edge>>,
    pub(super) db: Arc<Db>,
    /// The database as the standby has it.
    pub(super) standby: Option<Arc<Db>>,
    /// A set, in order: what is sent twice while it is under way is there once.
    pub(super) net: Vec<Arc<Message>>,
    pub(super) revokers: Vec<Arc<Revoker>>,
    pub(super) janitor: Option<Janitor>,
    pub(super) watch: EpochWatch,
    /// Whether a change that ended it has returned, for each credential that edges ask about.
    pub(super) returned: [bool; ASKED.len()],
    pub(super) left: Left,
    pub(super) next_member: u8,
}

/// What must not happen once a revoke has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// An edge accepts the credential by a reply.
    ByReply,
    /// An edge accepts the credential from its cache.
    FromCache,
    /// A reader that began after the return accepts.
    ByReader,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) revokes: u8,
    pub(super) crashes: u8,
    pub(super) restarts: u8,
    pub(super) joins: u8,
    pub(super) failovers: u8,
}

pub(super) struct Edge {
    pub(super) keeper: Keeper,
    pub(super) cache: TestCache,
    pub(super) asked: Vec<(Question, u8)>,
    pub(super) reading: Option<Reading>,
    /// Acknowledged and not applied: a mutant alone leaves something here.
    pub(super) unapplied: Option<Invalidate<u8>>,
}

/// A reader between its two steps. It began after a revoke returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) view: ReadView,
    /// For the mutant that looks at the entry first: whether it saw one.
    pub(super) saw_entry: bool,
}

impl Clone for Edge {
    fn clone(&self) -> Self {
        Self {
            keeper: self.keeper.clone(),
            cache: self.cache.copy(),
            asked: self.asked.clone(),
            reading: self.reading,
            unapplied: self.unapplied,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Revoker {
    pub(super) tag: Tag<u8>,
    pub(super) core: Revocation,
    /// Taken, and not committed: with revisions from a sequence.
    pub(super) number: Option<Revision>,
    pub(super) aftermath: Option<Aftermath>,
}

impl Revoker {
    /// Whether it has returned, or is about credentials that nobody asks about.
    pub(super) fn is_over(&self) -> bool {
        self.aftermath.is_some() || !ASKED.iter().any(|credential| ends(self.tag, *credential))
    }
}

/// Something under way. `edge` is the process, not the member: a reply finds a restarted edge too, and
/// is dropped there for its nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    AskJoin {
        edge: u8,
        nonce: u64,
        member: MemberId,
    },
    Joined {
        edge: u8,
        nonce: u64,
        answer: Joined,
    },
    AskRenew {
        edge: u8,
        nonce: u64,
        member: MemberId,
        since: Revision,
    },
    /// The list is read, the revision is not: a mutant's.
    HalfRenewed {
        edge: u8,
        nonce: u64,
        half: MemberResult<Renewed<u8>>,
    },
    Renewed {
        edge: u8,
        nonce: u64,
        answer: MemberResult<Renewed<u8>>,
    },
    AskVerify {
        edge: u8,
        question: Question,
        credential: u8,
    },
    Verified {
        edge: u8,
        question: Question,
        credential: u8,
        answer: MemberResult<Reply<Small>>,
    },
    Invalidate {
        edge: u8,
        message: Invalidate<u8>,
    },
    Acknowledge(Acknowledge),
}

#[derive(Clone, Debug)]
pub(super) struct Db {
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
    pub(super) revoked: Vec<Revoked>,
    pub(super) members: Vec<(MemberId, MemberState)>,
    pub(super) pruned: Revision,
}

/// A change that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revoked {
    pub(super) change: Invalidation<u8>,
    pub(super) is_confirmed: bool,
}

impl Db {
    fn new() -> Self {
        Self {
            epoch: Epoch { made: 1, timeline: 0 },
            revision: Revision(0),
            revoked: Vec::new(),
            members: Vec::new(),
            pruned: Revision(0),
        }
    }

    pub(super) fn snapshot(&self, member: MemberId) -> Snapshot {
        let row = self.members.iter().find(|(id, _)| *id == member);
        Snapshot {
            membership: row.map(|(_, state)| *state),
            epoch: self.epoch,
            revision: self.revision,
        }
    }

    pub(super) fn changes(&self, since: Revision) -> Changes<u8> {
        let mut rows: Vec<_> = self.revoked.iter().map(|row| row.change).collect();
        rows.retain(|change| change.revision > since);
        rows.sort_by_key(|change| change.revision);
        Changes { rows, pruned: self.pruned }
    }

    pub(super) fn verify(
        &self,
        rules: Rules,
        member: MemberId,
        credential: u8,
    ) -> MemberResult<Reply<Small>> {
        let ended = self.revoked.iter().any(|row| ends(row.change.tag, credential));
        let verdict = if ended { Small::Revoked } else { Small::Valid(credential) };
        match authority::verify_by(rules, &self.snapshot(member), verdict) {
            MemberResult::NotMember => MemberResult::NotMember,
            MemberResult::Member((read_at, verdict)) => {
                MemberResult::Member(Reply { read_at, verdict })
            }
        }
    }
}

/// A place in a list of the model, which are all short.
pub(super) fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

pub(super) const WALL: Timestamp = Timestamp(0);

pub(super) fn member(number: u8) -> MemberId {
    let mut id = [0; 16];
    id[0] = number;
    MemberId(id)
}

impl Edge {
    pub(super) fn new(scenario: &Scenario, rules: Rules) -> Self {
        let bounds = Bounds::ticks(scenario.lease, scenario.wait);
        Self {
            keeper: Keeper::build(&bounds, rules),
            cache: Cache::build(&bounds, scenario.capacity(), Hasher::default(), rules),
            asked: Vec::new(),
            reading: None,
            unapplied: None,
        }
    }
}

impl World {
    /// Where everything begins: nobody has joined, nothing was revoked, the epoch is an old one.
    pub(super) fn new(scenario: &Scenario, rules: Rules) -> Self {
        let bounds = Bounds::ticks(scenario.lease, scenario.wait);
        // Ages are counted back from here.
        let now = Moment(1_000);
        let mut watch = EpochWatch::default();
        let db = Db::new();
        watch.early_from(Moment(0), db.epoch, false, &bounds);
        let mut world = Self {
            now,
            edges: (0..scenario.edges).map(|_| Arc::new(Edge::new(scenario, rules))).collect(),
            db: Arc::new(db),
            standby: None,
            net: Vec::new(),
            revokers: Vec::new(),
            janitor: scenario.janitor.then(|| Janitor::build(&bounds, rules)),
            watch,
            returned: [false; ASKED.len()],
            left: Left {
                revokes: scenario.revokes,
                crashes: scenario.crashes,
                restarts: scenario.restarts,
                joins: scenario.joins,
                failovers: scenario.failovers,
            },
            next_member: 0,
        };
        if scenario.joined {
            world.join_all();
        }
        world
    }

    fn join_all(&mut self) {
        let (epoch, revision) = (self.db.epoch, self.db.revision);
        for at in 0..u8::try_from(self.edges.len()).unwrap() {
            let (now, id) = (self.now, member(at));
            let edge = self.edge(at);
            let Ask::Join { nonce, member } = edge.keeper.ask_to_join(now, id) else { return };
            edge.keeper.joined(&edge.cache, nonce, Joined { epoch, revision });
            self.db().members.push((member, MemberState::Member));
        }
    }

    pub(super) fn send(&mut self, message: Message) {
        if !self.net.iter().any(|other| **other == message) {
            self.net.push(Arc::new(message));
        }
    }

    pub(super) fn db(&mut self) -> &mut Db {
        Arc::make_mut(&mut self.db)
    }

    pub(super) fn revoker(&mut self, at: usize) -> &mut Revoker {
        Arc::make_mut(&mut self.revokers[at])
    }

    pub(super) fn edge(&mut self, edge: u8) -> &mut Edge {
        Arc::make_mut(&mut self.edges[usize::from(edge)])
    }
}
