//! What may happen in one exploration: the bounds of the model.

use latchkey_contract::lease::{SharedTag, Tag};
use latchkey_contract::{Owner, UserId};

use crate::cache::Capacity;
use crate::rules::Rules;

/// The bounds of one exploration. Everything is explored within them, in every order.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) edges: usize,
    /// L and W in ticks.
    pub(super) lease: u64,
    pub(super) wait: u64,
    /// Of [`ASKED`], how many credentials edges ask about.
    pub(super) credentials: usize,
    /// What may be revoked.
    pub(super) tags: &'static [Tag<u8>],
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

/// A scenario, and the rules by which it goes on.
pub(super) struct Model {
    pub(super) scenario: Scenario,
    pub(super) rules: Rules,
}

/// The credentials that edges ask about: they share their first tag.
pub(super) const ASKED: [u8; 2] = [H, 2];
pub(super) const H: u8 = 0;

/// The tag that both have, the one that the first alone has, and one that neither has.
const OWNER_OF_H: Tag<u8> = Tag::Shared(shared(0));
const SECOND_OF_H: Tag<u8> = Tag::Shared(shared(50));
const ANOTHER_OWNER: Tag<u8> = Tag::Shared(shared(1));

const H_ALONE: &[Tag<u8>] = &[Tag::Credential(H)];
const H_AND_ANOTHER: &[Tag<u8>] = &[Tag::Credential(H), Tag::Credential(1)];
const OWNER: &[Tag<u8>] = &[OWNER_OF_H];
const BOTH_TAGS: &[Tag<u8>] = &[OWNER_OF_H, SECOND_OF_H];
const OWNER_AND_ANOTHER: &[Tag<u8>] = &[OWNER_OF_H, ANOTHER_OWNER, Tag::Credential(H)];
const OWNER_AND_ALL: &[Tag<u8>] = &[OWNER_OF_H, ANOTHER_OWNER, Tag::All];

const BASE: Scenario = Scenario {
    name: "one edge, one revoke",
    edges: 1,
    lease: 2,
    wait: 2,
    credentials: 1,
    tags: H_ALONE,
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

pub(super) const fn shared(number: i64) -> SharedTag {
    SharedTag::Owner(Owner::User(UserId(number)))
}

impl Scenario {
    pub(super) fn capacity(&self) -> Capacity {
        Capacity {
            shards: 1,
            entries: 2,
            bytes: 1 << 20,
            refusals: 2,
            tombstones: self.tombstones,
            tags: self.tombstones,
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
        tags: H_AND_ANOTHER,
        revokers: 2,
        revokes: 2,
        doubles: false,
        ..BASE
    },
    Scenario {
        name: "one tombstone",
        tags: H_AND_ANOTHER,
        revokers: 1,
        revokes: 2,
        tombstones: 1,
        ..BASE
    },
    Scenario {
        name: "one after another",
        tags: H_AND_ANOTHER,
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
        tags: H_AND_ANOTHER,
        revokers: 1,
        revokes: 2,
        janitor: true,
        doubles: false,
        ..BASE
    },
    Scenario { name: "restart", joins: 1, restarts: 1, doubles: false, ..BASE },
    Scenario { name: "joins and a restart", joined: false, joins: 2, restarts: 1, ..BASE },
    Scenario { name: "failover", joins: 1, failovers: 1, doubles: false, ..BASE },
    Scenario { name: "an owner", tags: OWNER, ..BASE },
    Scenario {
        name: "owners, one tombstone",
        tags: OWNER_AND_ANOTHER,
        revokes: 2,
        tombstones: 1,
        doubles: false,
        ..BASE
    },
    Scenario { name: "two tags", tags: BOTH_TAGS, ..BASE },
    Scenario { name: "two credentials", credentials: 2, tags: OWNER, doubles: false, ..BASE },
    Scenario { name: "everything", tags: &[Tag::All], ..BASE },
    Scenario { name: "a kind that is not known", tags: &[Tag::Unknown(9)], ..BASE },
    Scenario { name: "two edges", edges: 2, doubles: false, ..BASE },
];

/// What `make model` explores besides, as far as its bound on states goes.
pub(super) const LARGE: &[Scenario] = &[
    Scenario {
        name: "everything, one edge",
        tags: H_AND_ANOTHER,
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
        name: "tags and all, two credentials",
        credentials: 2,
        tags: OWNER_AND_ALL,
        revokers: 2,
        revokes: 3,
        crashes: 1,
        questions: 2,
        renewals: 2,
        tombstones: 1,
        prunes: true,
        ..BASE
    },
    Scenario {
        name: "everything, two edges",
        edges: 2,
        lease: 3,
        wait: 3,
        tags: OWNER_AND_ANOTHER,
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
