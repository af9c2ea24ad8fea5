//! The services of the simulation and their one database.

use std::collections::{BTreeMap, BTreeSet};

use latchkey_contract::lease::{Epoch, Invalidation, MemberId, Revision, Tag};

use super::events::{self, Drifting, OTHERS, OWNERS, Says};
use crate::authority::{MemberState, Snapshot};
use crate::bounds::Bounds;
use crate::janitor::Janitor;
use crate::revoker::{EpochWatch, Revocation};
use crate::rules::Rules;

pub(super) struct Service {
    pub(super) clock: Drifting,
    pub(super) watch: EpochWatch,
    pub(super) janitor: Janitor,
    pub(super) revokes: BTreeMap<u64, Revoke>,
}

pub(super) struct Revoke {
    pub(super) core: Revocation,
    pub(super) what: What,
    /// Once it has returned there is only the aftermath.
    pub(super) is_over: bool,
    /// When its one timer rings.
    pub(super) timer: u64,
}

/// What a change is.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// Whatever has this tag is revoked.
    Revoke(Tag<u32>),
    /// An owner is disabled or enabled; the number is the oracle's.
    Set { owner: i64, enabled: bool, setting: u64 },
}

impl What {
    pub(super) fn tag(self) -> Tag<u32> {
        match self {
            Self::Revoke(tag) => tag,
            Self::Set { owner, .. } => Tag::Shared(events::owner(owner)),
        }
    }
}

pub(super) struct Db {
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
    pub(super) pruned: Revision,
    /// Each one's owner, and what revoked it.
    pub(super) credentials: Vec<(i64, Option<Revision>)>,
    disabled: BTreeSet<i64>,
    /// The changes, and whether each is settled.
    pub(super) changes: Vec<(Invalidation<u32>, bool)>,
    pub(super) members: BTreeMap<MemberId, (MemberState, u64)>,
}

impl Service {
    pub(super) fn new(clock: Drifting, bounds: &Bounds, rules: Rules) -> Self {
        Self {
            clock,
            watch: EpochWatch::default(),
            janitor: Janitor::build(bounds, rules),
            revokes: BTreeMap::new(),
        }
    }
}

impl Db {
    pub(super) fn new() -> Self {
        Self {
            epoch: Epoch { made: 7, timeline: 1 },
            revision: Revision(0),
            pruned: Revision(0),
            credentials: Vec::new(),
            disabled: BTreeSet::new(),
            changes: Vec::new(),
            members: BTreeMap::new(),
        }
    }

    pub(super) fn issue(&mut self) {
        let owner = i64::try_from(self.credentials.len()).unwrap() % OWNERS;
        self.credentials.push((owner, None));
    }

    pub(super) fn owner(&self, credential: u32) -> i64 {
        self.credentials.get(credential as usize).map_or(-1, |(owner, _)| *owner)
    }

    pub(super) fn exists(&self, credential: u32) -> bool {
        (credential as usize) < self.credentials.len()
    }

    /// The members are lost, the changes are not.
    pub(super) fn fail_over(&mut self) {
        self.epoch.timeline += 1;
        self.members.clear();
    }

    pub(super) fn snapshot(&self, member: MemberId) -> Snapshot {
        let membership = self.members.get(&member).map(|(state, _)| *state);
        Snapshot { membership, epoch: self.epoch, revision: self.revision }
    }

    pub(super) fn verdict(&self, credential: u32) -> Says {
        match self.credentials.get(credential as usize) {
            None => Says::Unknown,
            Some((_, Some(_))) => Says::Revoked,
            Some((owner, None)) if self.disabled.contains(owner) => {
                Says::Disabled(events::owner(*owner))
            }
            Some((owner, None)) => {
                let other = events::other(i64::from(credential) % OTHERS);
                Says::Valid(credential, events::owner(*owner), other)
            }
        }
    }

    /// The transaction of a change: its revision, and whether that is an old one, and settled.
    pub(super) fn commit(&mut self, what: What) -> (Revision, bool, bool) {
        if let What::Revoke(Tag::Credential(credential)) = what
            && let Some((_, Some(revision))) = self.credentials.get(credential as usize)
        {
            let by = self.changes.iter().find(|(change, _)| change.revision == *revision);
            let is_confirmed = by.is_some_and(|(_, is_confirmed)| *is_confirmed);
            return (*revision, true, is_confirmed);
        }
        self.revision = Revision(self.revision.0 + 1);
        match what {
            What::Revoke(tag) => {
                for credential in self.of(tag) {
                    let (_, revoked) = &mut self.credentials[credential as usize];
                    revoked.get_or_insert(self.revision);
                }
            }
            What::Set { owner, enabled: true, .. } => {
                self.disabled.remove(&owner);
            }
            What::Set { owner, enabled: false, .. } => {
                self.disabled.insert(owner);
            }
        }
        let change = Invalidation { revision: self.revision, tag: what.tag() };
        self.changes.push((change, false));
        (self.revision, false, false)
    }

    pub(super) fn of(&self, tag: Tag<u32>) -> Vec<u32> {
        let all = 0..u32::try_from(self.credentials.len()).unwrap();
        all.filter(|credential| match tag {
            Tag::Credential(other) => *credential == other,
            Tag::Shared(tag) => {
                let owner = events::owner(self.credentials[*credential as usize].0);
                tag == owner || tag == events::other(i64::from(*credential) % OTHERS)
            }
            Tag::All | Tag::Unknown(_) => true,
        })
        .collect()
    }
}
