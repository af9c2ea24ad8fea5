//! Many threads at once: replies that are kept, invalidations that are applied, readers.

#![expect(clippy::print_stdout, reason = "the figures are the point")]

use std::sync::atomic::AtomicBool;
use std::thread;

use latchkey_contract::lease::{Epoch, Invalidate, Invalidation, Joined, ReadAt, SharedTag};
use latchkey_contract::{Owner, UserId};

use super::*;
use crate::keeper::{Ask, Keeper, Next};
use crate::verdict::Kept;

const KEYS: u32 = 4_000;
const OWNERS: u32 = 500;

/// What is said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Good(u32),
    Revoked,
    Unknown,
}

/// What a good answer holds on the heap: more than its slot takes.
const HEAP: usize = 100;

impl Weigh for Says {
    fn heap_bytes(&self) -> usize {
        if matches!(self, Self::Good(_)) { HEAP } else { 0 }
    }
}

impl CacheableVerdict for Says {
    fn kept(&self) -> Kept {
        match self {
            Self::Good(_) => Kept::AsGood,
            Self::Revoked => Kept::AsFact,
            Self::Unknown => Kept::AsRefusal,
        }
    }

    fn holds_at(&self, wall: Timestamp) -> bool {
        wall < Timestamp(1)
    }

    fn tags(&self) -> impl Iterator<Item = SharedTag> {
        let key = match self {
            Self::Good(key) => Some(*key),
            Self::Revoked | Self::Unknown => None,
        };
        key.into_iter().map(owner)
    }
}

/// An authority's database: what was revoked, and the last revision, under one lock.
struct Database {
    revision: Revision,
    revoked: Vec<bool>,
}

struct Stage {
    cache: Cache<u32, Says>,
    database: Mutex<Database>,
    /// Set after the acknowledgement: a revoke may have returned.
    returned: Vec<AtomicBool>,
    over: AtomicBool,
}

fn owner(key: u32) -> SharedTag {
    SharedTag::Owner(Owner::User(UserId(i64::from(key % OWNERS))))
}

fn joined(cache: &Cache<u32, Says>) -> Keeper {
    let mut keeper = Keeper::new(&Bounds::default());
    let Next::Send(Ask::Join { nonce, .. }) = keeper.next(Moment(1), || MemberId([1; 16])) else {
        panic!("it joins first")
    };
    keeper.joined(cache, nonce, Joined { epoch: Epoch::default(), revision: Revision(0) });
    keeper
}

impl Stage {
    /// Asks and keeps replies, each from a snapshot that may be old by then.
    fn fill(&self, from: u32) -> usize {
        let mut kept = 0;
        let mut key = from;
        while !self.over.load(Ordering::Relaxed) {
            key = (key + 7) % KEYS;
            let question = self.cache.ask(Moment(1)).unwrap();
            let (revision, revoked) = {
                let database = self.database.lock().unwrap();
                (database.revision, database.revoked[key as usize])
            };
            let read_at = ReadAt { epoch: Epoch::default(), revision };
            let verdict = if revoked { Says::Revoked } else { Says::Good(key) };
            thread::yield_now();
            let before = self.returned[key as usize].load(Ordering::SeqCst);
            let reply = Reply { read_at, verdict };
            let taken = self.cache.take(&question, key, reply, Moment(1), Timestamp(0));
            let accepted = taken.is_ok() && !revoked;
            assert!(!(before && accepted), "{key} taken after the return");
            kept += usize::from(accepted);
        }
        kept
    }

    /// Looks, and must not find what a revoke has returned for.
    fn read(&self, from: u32) -> usize {
        let mut found = 0;
        let mut key = from;
        while !self.over.load(Ordering::Relaxed) {
            key = (key + 11) % KEYS;
            let before = self.returned[key as usize].load(Ordering::SeqCst);
            let seen = self.cache.look(&key, Moment(1), Timestamp(0), Revision(0));
            let accepted = matches!(seen, Some(Says::Good(_)));
            assert!(!(before && accepted), "{key} found after the return");
            found += usize::from(accepted);
        }
        found
    }

    /// Revokes every key, a few of them by their owner.
    fn revoke_all(&self, keeper: &mut Keeper) {
        for key in 0..KEYS {
            let by_owner = key % 97 == 0;
            let hit: Vec<u32> = if by_owner {
                (0..KEYS).filter(|other| owner(*other) == owner(key)).collect()
            } else {
                vec![key]
            };
            let revision = {
                let mut database = self.database.lock().unwrap();
                for key in &hit {
                    database.revoked[*key as usize] = true;
                }
                database.revision = Revision(database.revision.0 + 1);
                database.revision
            };
            let tag = if by_owner { Tag::Shared(owner(key)) } else { Tag::Credential(key) };
            let change = Invalidation { revision, tag };
            let message = Invalidate { epoch: Epoch::default(), change };
            let acknowledged = keeper.invalidate(&self.cache, &message);
            assert_eq!(acknowledged.unwrap().revision, revision);
            for key in hit {
                self.returned[key as usize].store(true, Ordering::SeqCst);
            }
            thread::yield_now();
        }
    }
}

#[test]
fn a_reply_that_races_with_its_invalidation_is_not_kept() {
    let capacity = Capacity { shards: 8, tombstones: 800, tags: 4, ..Capacity::default() };
    let stage = Stage {
        cache: Cache::new(&Bounds::default(), capacity),
        database: Mutex::new(Database {
            revision: Revision(0),
            revoked: vec![false; KEYS as usize],
        }),
        returned: (0..KEYS).map(|_| AtomicBool::new(false)).collect(),
        over: AtomicBool::new(false),
    };
    let mut keeper = joined(&stage.cache);
    thread::scope(|scope| {
        let fillers: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn({
                    let stage = &stage;
                    move || stage.fill(n * 1_000)
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|n| {
                scope.spawn({
                    let stage = &stage;
                    move || stage.read(n * 1_000)
                })
            })
            .collect();
        stage.revoke_all(&mut keeper);
        stage.over.store(true, Ordering::Relaxed);
        let kept: usize = fillers.into_iter().map(|thread| thread.join().unwrap()).sum();
        let found: usize = readers.into_iter().map(|thread| thread.join().unwrap()).sum();
        println!("race: {KEYS} keys revoked, {kept} replies kept, {found} found");
    });
    let good = |key: &u32| stage.cache.look(key, Moment(1), Timestamp(0), Revision(0));
    assert!((0..KEYS).all(|key| !matches!(good(&key), Some(Says::Good(_)))));
    assert_eq!(stage.cache.size().0, 0, "everything was revoked, and goes when it is looked up");
}

#[test]
fn a_flood_of_unknown_keys_evicts_nothing_valid_and_memory_stays_bounded() {
    let capacity = Capacity {
        shards: 4,
        entries: 2_000,
        refusals: 400,
        bytes: 1 << 20,
        ..Capacity::default()
    };
    let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), capacity);
    joined(&cache);
    let question = cache.ask(Moment(1)).unwrap();
    let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(0) };
    let take = |key, verdict| {
        let reply = Reply { read_at, verdict };
        cache.take(&question, key, reply, Moment(1), Timestamp(0)).unwrap();
    };
    for key in 0..1_000 {
        take(key, Says::Good(key));
    }
    let before = cache.size();
    for key in 1_000..101_000 {
        take(key, Says::Unknown);
    }
    assert_eq!(cache.size(), before);
    for key in 0..1_000 {
        let found = cache.look(&key, Moment(1), Timestamp(0), Revision(0));
        assert_eq!(found, Some(Says::Good(key)));
    }
    for key in 200_000..300_000 {
        take(key, Says::Good(key));
    }
    let (entries, bytes) = cache.size();
    assert!(entries <= 2_000 && bytes <= 1 << 20, "{entries} {bytes}");
}

#[test]
fn a_shard_that_a_panic_left_half_written_is_closed_until_the_edge_joins_anew() {
    let cache: Cache<u32, Says> =
        Cache::new(&Bounds::default(), Capacity { shards: 1, ..Capacity::default() });
    joined(&cache);
    let question = cache.ask(Moment(1)).unwrap();
    let reply = || {
        let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(0) };
        Reply { read_at, verdict: Says::Good(1) }
    };
    let take = || cache.take(&question, 1, reply(), Moment(1), Timestamp(0));
    assert_eq!(take(), Ok(()));
    thread::scope(|scope| {
        let broken = scope.spawn(|| {
            let _held = cache.shards[0].lock().unwrap();
            std::panic::resume_unwind(Box::new("half-written"));
        });
        assert!(broken.join().is_err());
    });
    assert_eq!(cache.look(&1, Moment(1), Timestamp(0), Revision(0)), None);
    assert_eq!(take(), Err(RejectReason::OtherMember));
    assert!(cache.is_torn());
    joined(&cache);
    assert!(!cache.is_torn());
    assert_eq!(take(), Ok(()));
}

#[test]
fn a_membership_that_a_panic_left_half_written_is_none_until_the_edge_joins_anew() {
    let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), Capacity::default());
    joined(&cache);
    assert!(cache.ask(Moment(1)).is_some());
    thread::scope(|scope| {
        let broken = scope.spawn(|| {
            let _held = cache.membership.lock().unwrap();
            std::panic::resume_unwind(Box::new("half-written"));
        });
        assert!(broken.join().is_err());
    });
    assert!(cache.is_torn());
    assert_eq!((cache.ask(Moment(1)), cache.membership()), (None, None));
    joined(&cache);
    assert!(!cache.is_torn() && cache.ask(Moment(1)).is_some());
}

#[test]
fn a_change_of_many_waits_for_nobody_who_looks_and_looks_at_no_entry() {
    let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), Capacity::default());
    let mut keeper = joined(&cache);
    let question = cache.ask(Moment(1)).unwrap();
    let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(0) };
    for key in 0..KEYS {
        let reply = Reply { read_at, verdict: Says::Good(key) };
        cache.take(&question, key, reply, Moment(1), Timestamp(0)).unwrap();
    }
    // Every shard is being looked at, and stays so until the changes are acknowledged.
    let looking: Vec<_> = cache.shards.iter().map(|shard| shard.lock().unwrap()).collect();
    for (tag, at) in [(Tag::Shared(owner(3)), 1), (Tag::All, 2), (Tag::Unknown(9), 3)] {
        let change = Invalidation { revision: Revision(at), tag };
        let message = Invalidate { epoch: Epoch::default(), change };
        assert!(keeper.invalidate(&cache, &message).is_some());
    }
    drop(looking);
    assert_eq!(cache.size().0, KEYS as usize, "no entry was looked at");
    let found = |key: u32| cache.look(&key, Moment(1), Timestamp(0), Revision(0));
    assert!((0..KEYS).all(|key| found(key).is_none()));
    assert_eq!(cache.size().0, 0);
}

#[test]
fn each_bound_is_of_all_shards_together() {
    const MOST: usize = 40;
    let full = |capacity: Capacity, verdict: fn(u32) -> Says| {
        let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), capacity);
        let mut keeper = joined(&cache);
        let question = cache.ask(Moment(1)).unwrap();
        let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(0) };
        for key in 0..KEYS {
            let reply = Reply { read_at, verdict: verdict(key) };
            cache.take(&question, key, reply, Moment(1), Timestamp(0)).unwrap();
        }
        let (mut refusals, mut tombstones) = (0, 0);
        let sizes = cache.size();
        cache.inspect(|shard| refusals += shard.refusals.len());
        for (key, at) in (0..KEYS).zip(1..) {
            let change = Invalidation { revision: Revision(at), tag: Tag::Credential(key) };
            keeper.invalidate(&cache, &Invalidate { epoch: Epoch::default(), change });
        }
        cache.inspect(|shard| tombstones += shard.tombstones.iter().count());
        (sizes, refusals, tombstones)
    };
    let shards = 4;
    let entries = Capacity { shards, entries: MOST, tombstones: MOST, ..Capacity::default() };
    let ((held, bytes), refusals, tombstones) = full(entries, Says::Good);
    assert_eq!((held, refusals, tombstones), (MOST, 0, MOST));
    let one = bytes / MOST;
    assert_eq!((bytes, one > HEAP + size_of::<Says>()), (one * MOST, true));
    let of_bytes = Capacity { shards, bytes, ..Capacity::default() };
    assert_eq!(full(of_bytes, Says::Good).0, (MOST, bytes));
    let of_refusals = Capacity { shards, refusals: MOST, ..Capacity::default() };
    let (held, refusals, _) = full(of_refusals, |_| Says::Unknown);
    assert_eq!((held, refusals), ((0, 0), MOST));
}

#[test]
fn a_lease_is_over_as_long_after_its_question_as_it_lasts() {
    let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), Capacity::default());
    let lease = Bounds::default().lease();
    joined(&cache);
    assert!(!cache.is_live(Moment(5)));
    cache.extend(Moment(5), Revision(0));
    for (since, is_live) in [(0, true), (lease - 1, true), (lease, false), (lease + 1, false)] {
        assert_eq!(cache.is_live(Moment(5 + since)), is_live, "{since}");
    }
    assert_eq!(cache.membership(), Some((MemberId([1; 16]), Epoch::default())));
    cache.leave();
    assert_eq!((cache.membership(), cache.is_live(Moment(5))), (None, false));
}

#[test]
fn what_says_good_of_what_has_expired_here_is_refused_and_a_refusal_is_taken() {
    let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), Capacity::default());
    joined(&cache);
    let question = cache.ask(Moment(1)).unwrap();
    let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(0) };
    for (verdict, wall, taken) in [
        (Says::Good(1), 0, Ok(())),
        (Says::Good(1), 1, Err(RejectReason::Expired)),
        (Says::Unknown, 0, Ok(())),
        (Says::Unknown, 1, Ok(())),
    ] {
        let reply = Reply { read_at, verdict };
        let said = cache.take(&question, 1, reply, Moment(1), Timestamp(wall));
        assert_eq!(said, taken, "{verdict:?} {wall}");
    }
}

#[test]
fn what_a_test_tears_is_torn() {
    let cache: Cache<u32, Says> = Cache::new(&Bounds::default(), Capacity::default());
    joined(&cache);
    assert!(!cache.is_torn());
    cache.tear();
    assert!(cache.is_torn());
}
