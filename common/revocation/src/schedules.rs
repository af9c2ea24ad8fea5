//! The schedules of the protocol's description that the cores can express, each by its name. The model
//! explores these and every other; here one can read them.

use std::hash::{BuildHasherDefault, DefaultHasher};

use latchkey_contract::lease::{
    Acknowledge, Epoch, Invalidate, Invalidation, Joined, MemberId, MemberResult, Missed, ReadAt,
    Renewed, Revision, SharedTag, Tag,
};
use latchkey_contract::{Owner, Timestamp, UserId};

use crate::bounds::{Bounds, Moment};
use crate::cache::{Cache, Capacity, Weigh};
use crate::keeper::{Ask, Keeper, Next};
use crate::revoker::{Commit, Revocation, Step};
use crate::rules::Rules;
use crate::verdict::{CacheableVerdict, Kept, Question, RejectReason, Reply};

mod renewals;
mod tags;

const KEY: u8 = 7;
const OWNER: i64 = 70;
const EPOCH: Epoch = Epoch { made: 1, timeline: 1 };
const MS: u64 = Moment::MILLISECOND;
const EXPIRY: Timestamp = Timestamp(10 * Timestamp::DAY);
const ID: MemberId = MemberId([1; 16]);

/// What is said of [`KEY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Good,
    Disabled,
    Expired,
    Unknown,
    Revoked,
}

impl Weigh for Says {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl CacheableVerdict for Says {
    fn kept(&self) -> Kept {
        match self {
            Self::Good => Kept::AsGood,
            Self::Disabled | Self::Expired | Self::Unknown => Kept::AsRefusal,
            Self::Revoked => Kept::AsFact,
        }
    }

    fn holds_at(&self, wall: Timestamp) -> bool {
        match self {
            Self::Good | Self::Disabled => wall < EXPIRY,
            Self::Expired => wall >= EXPIRY,
            Self::Unknown | Self::Revoked => true,
        }
    }

    fn tags(&self) -> impl Iterator<Item = SharedTag> {
        let is_stored = matches!(self, Self::Good | Self::Disabled | Self::Expired);
        is_stored.then(|| owner(OWNER)).into_iter()
    }
}

fn owner(user: i64) -> SharedTag {
    SharedTag::Owner(Owner::User(UserId(user)))
}

type TestCache = Cache<u8, Says, BuildHasherDefault<DefaultHasher>>;

/// One edge, one clock.
struct Edge {
    keeper: Keeper,
    cache: TestCache,
}

impl Edge {
    /// An edge that has joined at revision 0 and has no lease yet.
    fn joined() -> Self {
        Self::with_tombstones(64)
    }

    fn with_tombstones(tombstones: usize) -> Self {
        let capacity = Capacity { shards: 1, tombstones, tags: tombstones, ..Capacity::default() };
        let bounds = Bounds::default();
        let cache =
            Cache::build(&bounds, capacity, BuildHasherDefault::default(), Rules::default());
        let mut edge = Self { keeper: Keeper::new(&bounds), cache };
        edge.join(ID, EPOCH, 0);
        edge
    }

    fn join(&mut self, id: MemberId, epoch: Epoch, revision: i64) {
        let Next::Send(Ask::Join { nonce, .. }) = self.keeper.next(at(0), || id) else {
            panic!("it does not join")
        };
        let answer = Joined { epoch, revision: Revision(revision) };
        self.keeper.joined(&self.cache, nonce, answer);
    }

    /// Sends a renewal at `now`; its nonce.
    fn ask_to_renew(&mut self, now: u64) -> u64 {
        self.keeper.reconnected();
        match self.keeper.next(at(now), || ID) {
            Next::Send(Ask::Renew { nonce, .. }) => nonce,
            other => panic!("it does not renew: {other:?}"),
        }
    }

    fn renewed(&mut self, nonce: u64, revision: i64, changes: &[(i64, u8)], now: u64) {
        let these = changes.iter().map(|(revision, key)| Invalidation {
            revision: Revision(*revision),
            tag: Tag::Credential(*key),
        });
        let missed = Missed::These(these.collect());
        let answer = Renewed { epoch: EPOCH, revision: Revision(revision), missed };
        self.keeper.renewed(&self.cache, nonce, MemberResult::Member(answer), at(now));
    }

    fn invalidate(&mut self, key: u8, revision: i64) -> Option<Acknowledge> {
        self.change(Tag::Credential(key), revision)
    }

    fn change(&mut self, tag: Tag<u8>, revision: i64) -> Option<Acknowledge> {
        let change = Invalidation { revision: Revision(revision), tag };
        self.keeper.invalidate(&self.cache, &Invalidate { epoch: EPOCH, change })
    }

    fn ask(&self, now: u64) -> Question {
        self.cache.ask(at(now)).expect("it is a member")
    }

    fn take(&self, question: &Question, revision: i64, now: u64) -> Result<(), RejectReason> {
        self.cache.take(question, KEY, valid(revision), at(now), Timestamp(0))
    }

    fn look(&self, now: u64) -> Option<Says> {
        self.cache.look(&KEY, at(now), Timestamp(0), Revision(0))
    }
}

fn at(millis: u64) -> Moment {
    Moment(1_000_000 * MS + millis * MS)
}

fn valid(revision: i64) -> Reply<Says> {
    said(Says::Good, revision)
}

fn said(verdict: Says, revision: i64) -> Reply<Says> {
    Reply { read_at: ReadAt { epoch: EPOCH, revision: Revision(revision) }, verdict }
}

fn commit(revision: i64) -> Commit {
    Commit {
        revision: Revision(revision),
        epoch: EPOCH,
        already: false,
        is_confirmed: false,
        early_from: Moment(0),
    }
}

fn revocation(committed: u64, members: &[MemberId]) -> Revocation {
    let mut revocation = Revocation::new(&Bounds::default(), true);
    assert_eq!(revocation.next(at(committed)), Step::Commit);
    revocation.committed(at(committed), commit(1));
    assert_eq!(revocation.next(at(committed)), Step::ReadMembers);
    revocation.members(Some((EPOCH, members.iter().copied())));
    revocation
}

fn is_over(revocation: &Revocation, now: u64) -> bool {
    matches!(revocation.next(at(now)), Step::Return(_))
}

#[test]
fn a_positive_reply_that_is_held_back_until_after_the_return_is_discarded() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    let mut revoke = revocation(10, &[ID]);
    let acknowledged = edge.invalidate(KEY, 1).unwrap();
    revoke.acknowledged(acknowledged.member, acknowledged.epoch, acknowledged.revision);
    assert!(is_over(&revoke, 11));
    assert_eq!(edge.take(&question, 0, 12), Err(RejectReason::Invalidated));
    assert_eq!(edge.look(12), None);
}

#[test]
fn an_edge_that_is_stopped_between_send_and_receipt_discards_the_reply() {
    let edge = Edge::joined();
    let question = edge.ask(0);
    assert_eq!(edge.take(&question, 0, 2_000), Err(RejectReason::TooOld));
    assert_eq!(edge.take(&question, 0, 1_999), Ok(()));
}

#[test]
fn a_reader_that_is_stopped_between_lease_and_entry_does_not_profit_from_a_later_lease() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    // A revoke has returned at 2,210 without this edge; a request begins, and its thread stops.
    let view = edge.cache.view(at(2_300));
    let nonce = edge.ask_to_renew(2_301);
    edge.renewed(nonce, 1, &[(1, KEY)], 2_302);
    let found = edge.cache.look_with(&view, &KEY, Timestamp(0), Revision(0));
    assert_eq!(found, None);
}

#[test]
fn an_edge_that_loses_the_bus_and_keeps_serving_stops_relying_on_its_cache_before_the_wait_is_over()
{
    let mut edge = Edge::joined();
    let nonce = edge.ask_to_renew(0);
    edge.renewed(nonce, 0, &[], 1);
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    let revoke = revocation(1, &[ID]);
    for now in (2..2_201).step_by(7) {
        assert!(!is_over(&revoke, now), "{now}");
    }
    assert_eq!(edge.look(1_999), Some(Says::Good));
    assert_eq!(edge.look(2_000), None);
    assert!(is_over(&revoke, 2_201));
    assert_eq!(revoke.aftermath(at(2_201)).retire, [ID]);
}

#[test]
fn an_edge_that_reconnects_just_after_missing_an_invalidation_learns_of_it_by_its_renewal() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    let held_back = edge.ask(5);
    let nonce = edge.ask_to_renew(10);
    edge.renewed(nonce, 1, &[(1, KEY)], 11);
    assert_eq!(edge.look(12), None);
    assert_eq!(edge.take(&held_back, 0, 12), Err(RejectReason::Invalidated));
}

#[test]
fn an_invalidation_out_of_turn_makes_the_edge_renew_soon_and_leaves_its_position() {
    let mut edge = Edge::joined();
    edge.ask_to_renew(0);
    edge.invalidate(9, 1);
    assert_eq!(edge.keeper.next(at(1), || ID), Next::Wait(at(500)));
    edge.invalidate(8, 3);
    assert_eq!(edge.keeper.revision(), Some(Revision(0)));
    assert!(
        matches!(edge.keeper.next(at(63), || ID), Next::Send(Ask::Renew { since, .. }) if since == Revision(0))
    );
}

#[test]
fn a_retry_of_a_revoke_whose_revoker_died_waits_for_itself() {
    let mut retry = Revocation::new(&Bounds::default(), true);
    retry.committed(at(5_000), Commit { already: true, ..commit(1) });
    retry.members(Some((EPOCH, [ID])));
    assert_eq!(retry.next(at(5_000)), Step::Publish);
    assert!(!is_over(&retry, 7_199));
    assert!(is_over(&retry, 7_200));
    let mut is_confirmed = Revocation::new(&Bounds::default(), true);
    is_confirmed.committed(at(8_000), Commit { already: true, is_confirmed: true, ..commit(1) });
    assert!(is_over(&is_confirmed, 8_000));
}

#[test]
fn two_revokers_of_one_key_are_both_confirmed_by_one_acknowledgement_heard_by_both() {
    let mut edge = Edge::joined();
    let (mut first, mut second) = (revocation(0, &[ID]), revocation(1, &[ID]));
    let acknowledged = edge.invalidate(KEY, 1).unwrap();
    for revoke in [&mut first, &mut second] {
        revoke.acknowledged(acknowledged.member, acknowledged.epoch, acknowledged.revision);
        assert!(is_over(revoke, 2));
    }
    // Of another change it says nothing.
    let mut other = revocation(1, &[ID]);
    other.acknowledged(ID, EPOCH, Revision(2));
    assert!(!is_over(&other, 2));
}

#[test]
fn an_edge_restarted_during_a_revoke_is_waited_for_under_its_old_id() {
    let edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    let mut revoke = revocation(10, &[ID]);
    let mut edge = Edge { keeper: Keeper::new(&Bounds::default()), ..Edge::joined() };
    edge.join(MemberId([2; 16]), EPOCH, 1);
    assert_eq!(edge.look(11), None);
    let acknowledged = edge.invalidate(KEY, 1).unwrap();
    revoke.acknowledged(acknowledged.member, acknowledged.epoch, acknowledged.revision);
    assert!(!is_over(&revoke, 2_209));
    assert!(is_over(&revoke, 2_210));
}

#[test]
fn an_edge_that_joins_during_a_revoke_takes_no_reply_from_before_it() {
    let mut edge = Edge::joined();
    let stale = edge.ask(0);
    edge.keeper.expelled(&edge.cache, ID);
    assert_eq!(edge.cache.ask(at(1)), None);
    edge.join(MemberId([2; 16]), EPOCH, 1);
    assert_eq!(edge.take(&stale, 0, 2), Err(RejectReason::OtherMember));
    let question = edge.ask(2);
    assert_eq!(edge.take(&question, 0, 3), Err(RejectReason::BelowFloor));
    assert_eq!(edge.take(&question, 1, 3), Ok(()));
}

#[test]
fn ten_thousand_invalidations_are_remembered_or_the_floor_rises() {
    let mut edge = Edge::with_tombstones(100);
    let question = edge.ask(0);
    edge.invalidate(KEY, 1);
    for revision in 2..10_000 {
        let other = u8::try_from(revision % 200).unwrap();
        edge.invalidate(if other == KEY { 201 } else { other }, revision);
    }
    assert!(edge.take(&question, 0, 1).is_err());
    assert_eq!(edge.look(1), None);
    assert_eq!(edge.take(&question, 9_999, 1), Ok(()));
}

#[test]
fn renewals_that_overtake_each_other_neither_lower_the_position_nor_the_lease() {
    let mut edge = Edge::joined();
    let (first, second) = (edge.ask_to_renew(0), edge.ask_to_renew(100));
    let question = edge.ask(0);
    edge.renewed(second, 2, &[(1, 9), (2, 8)], 150);
    edge.take(&question, 2, 150).unwrap();
    edge.renewed(first, 1, &[(1, 9)], 160);
    assert_eq!(edge.keeper.revision(), Some(Revision(2)));
    assert_eq!(edge.look(2_099), Some(Says::Good));
    assert_eq!(edge.look(2_100), None);
}

#[test]
fn another_epoch_makes_the_edge_forget_everything_and_a_revoke_wait() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    let mut other = valid(0);
    other.read_at.epoch.timeline = 2;
    let again = edge.ask(2);
    let taken = edge.cache.take(&again, KEY, other.clone(), at(3), Timestamp(0));
    assert_eq!(taken, Err(RejectReason::OtherEpoch));
    edge.keeper.other_epoch(&edge.cache, other.read_at.epoch);
    assert_eq!((edge.look(4), edge.keeper.member()), (None, None));
    // The members of the new history do not know of those of the old one.
    let mut revoke = Revocation::new(&Bounds::default(), true);
    revoke.committed(at(0), Commit { early_from: at(2_000), ..commit(1) });
    revoke.members(Some((EPOCH, [])));
    assert!(!is_over(&revoke, 1_999));
    assert!(is_over(&revoke, 2_000));
    let mut between = Revocation::new(&Bounds::default(), true);
    between.committed(at(0), commit(1));
    between.members(Some((other.read_at.epoch, [])));
    assert!(!is_over(&between, 2_199));
}

#[test]
fn a_wall_clock_stepped_by_an_hour_changes_nothing_but_expiry() {
    let edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    let hour = 3_600 * Timestamp::SECOND;
    for wall in [Timestamp(-hour), Timestamp(hour), EXPIRY.plus(-1)] {
        assert_eq!(edge.cache.look(&KEY, at(2), wall, Revision(0)), Some(Says::Good));
    }
    for wall in [EXPIRY, EXPIRY.plus(hour)] {
        assert_eq!(edge.cache.look(&KEY, at(2), wall, Revision(0)), None);
    }
    assert_eq!(edge.look(2_000), None);
}

#[test]
fn acknowledgements_that_come_after_the_return_change_nothing() {
    let mut revoke = revocation(0, &[ID]);
    let Step::Return(receipt) = revoke.next(at(2_200)) else { panic!("it has waited") };
    assert_eq!((receipt.edges_confirmed, receipt.waited), (0, 2_200 * MS));
    let before = revoke.aftermath(at(2_200));
    revoke.acknowledged(ID, EPOCH, Revision(2));
    assert_eq!(revoke.aftermath(at(2_200)), before);
}

#[test]
fn an_answer_older_than_the_revision_that_a_caller_names_is_not_given() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 4, 1).unwrap();
    let look =
        |edge: &Edge, revision| edge.cache.look(&KEY, at(2), Timestamp(0), Revision(revision));
    assert_eq!(look(&edge, 4), Some(Says::Good));
    assert_eq!(look(&edge, 5), None);
    let nonce = edge.ask_to_renew(1);
    edge.renewed(nonce, 5, &[(5, 9)], 2);
    assert_eq!(look(&edge, 5), Some(Says::Good));
}
