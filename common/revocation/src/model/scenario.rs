//! What may happen in one exploration: the bounds of the model.

use latchkey_contract::UserId;
use latchkey_contract::lease::Subject;

use crate::cache::Capacity;

/// The bounds of one exploration. Everything is explored within them, in every order.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) edges: usize,
    /// L and W in ticks.
    pub(super) lease: u64,
    pub(super) wait: u64,
    /// What may be revoked.
    pub(super) subjects: &'static [Subject<u8>],
    /// Revokes under way at once, and all told.
    pub(super) revokers: usize,
    pub(super) revokes: u8,
    pub(super) crashes: u8,
    pub(super) restarts: u8,
    /// Whether the edges have joined when it begins; and joins besides, all told.
    pub(super) joined: bool,
    pub(super) joins: u8,
    /// Verifications and renewals under way at once, for each edge.
    pub(super) questions: usize,
    pub(super) renewals: usize,
    pub(super) tombstones: usize,
    /// Messages may be delivered and stay.
    pub(super) doubles: bool,
    pub(super) janitor: bool,
    /// The database may fail over, to one that has lost its members.
    pub(super) failovers: u8,
    /// Records of changes may be deleted.
    pub(super) prunes: bool,
    /// A reader may stop between its two steps.
    pub(super) reader: bool,
    /// Revokes may return early.
    pub(super) early: bool,
}

/// The credential that edges ask about.
pub(super) const H: u8 = 0;
/// Its owner; every credential has one of its own.
pub(super) const OWNER_OF_H: UserId = UserId(0);

const H_ALONE: &[Subject<u8>] = &[Subject::Credential(H)];
const H_AND_ANOTHER: &[Subject<u8>] = &[Subject::Credential(H), Subject::Credential(1)];
const OWNER: &[Subject<u8>] = &[Subject::Owner(OWNER_OF_H)];
const OWNER_AND_ANOTHER: &[Subject<u8>] =
    &[Subject::Owner(OWNER_OF_H), Subject::Owner(UserId(1)), Subject::Credential(H)];

const BASE: Scenario = Scenario {
    name: "one edge, one revoke",
    edges: 1,
    lease: 2,
    wait: 2,
    subjects: H_ALONE,
    revokers: 1,
    revokes: 1,
    crashes: 0,
    restarts: 0,
    joined: true,
    joins: 0,
    questions: 1,
    renewals: 1,
    tombstones: 4,
    doubles: true,
    janitor: false,
    failovers: 0,
    prunes: false,
    reader: false,
    early: true,
};

impl Scenario {
    pub(super) fn capacity(&self) -> Capacity {
        Capacity {
            shards: 1,
            entries: 2,
            bytes: 1 << 20,
            facts: 2,
            tombstones: self.tombstones,
            owners: self.tombstones,
        }
    }

    /// The scenario of this name.
    pub(super) fn named(name: &str) -> Self {
        *SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap()
    }
}

/// Small enough to be explored to the end by every `cargo test`.
pub(super) const SCENARIOS: &[Scenario] = &[
    BASE,
    Scenario { name: "overlapping renewals", renewals: 2, ..BASE },
    Scenario { name: "two questions", questions: 2, ..BASE },
    Scenario { name: "a reader that stops", reader: true, ..BASE },
    Scenario { name: "lease and wait alone", early: false, ..BASE },
    Scenario { name: "a longer lease", lease: 3, wait: 3, ..BASE },
    Scenario {
        name: "another key",
        subjects: H_AND_ANOTHER,
        revokers: 2,
        revokes: 2,
        doubles: false,
        ..BASE
    },
    Scenario {
        name: "one tombstone",
        subjects: H_AND_ANOTHER,
        revokers: 1,
        revokes: 2,
        tombstones: 1,
        ..BASE
    },
    Scenario {
        name: "one after another",
        subjects: H_AND_ANOTHER,
        revokes: 2,
        doubles: false,
        early: false,
        ..BASE
    },
    Scenario { name: "records deleted", prunes: true, ..BASE },
    Scenario { name: "crash and retry", revokers: 1, revokes: 2, crashes: 1, ..BASE },
    Scenario { name: "two revokers of one key", revokers: 2, revokes: 2, ..BASE },
    Scenario { name: "a join", joined: false, joins: 2, doubles: false, ..BASE },
    Scenario {
        name: "retirement",
        subjects: H_AND_ANOTHER,
        revokers: 1,
        revokes: 2,
        janitor: true,
        doubles: false,
        ..BASE
    },
    Scenario { name: "restart", joins: 1, restarts: 1, doubles: false, ..BASE },
    Scenario { name: "joins and a restart", joined: false, joins: 2, restarts: 1, ..BASE },
    Scenario { name: "failover", joins: 1, failovers: 1, doubles: false, ..BASE },
    Scenario { name: "an owner", subjects: OWNER, ..BASE },
    Scenario {
        name: "owners, one tombstone",
        subjects: OWNER_AND_ANOTHER,
        revokes: 2,
        tombstones: 1,
        doubles: false,
        ..BASE
    },
    Scenario { name: "two edges", edges: 2, doubles: false, ..BASE },
];

/// What `make model` explores besides, as far as its bound on states goes.
pub(super) const LARGE: &[Scenario] = &[
    Scenario {
        name: "everything, one edge",
        subjects: H_AND_ANOTHER,
        revokers: 2,
        revokes: 3,
        crashes: 1,
        restarts: 1,
        joins: 3,
        renewals: 2,
        tombstones: 1,
        janitor: true,
        prunes: true,
        reader: true,
        ..BASE
    },
    Scenario {
        name: "everything, two edges",
        edges: 2,
        lease: 3,
        wait: 3,
        subjects: OWNER_AND_ANOTHER,
        revokers: 2,
        revokes: 3,
        crashes: 1,
        restarts: 1,
        joins: 4,
        questions: 2,
        renewals: 2,
        tombstones: 1,
        janitor: true,
        failovers: 1,
        prunes: true,
        reader: true,
        ..BASE
    },
];
