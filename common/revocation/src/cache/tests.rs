//! Many threads at once: replies that are kept, invalidations that are applied, readers.

#![expect(clippy::print_stdout, reason = "the figures are the point")]

use std::sync::atomic::AtomicBool;
use std::thread;

use latchkey_contract::lease::{Epoch, Invalidate, Invalidation, Joined};

use super::*;
use crate::keeper::{Ask, Keeper, Next};

const KEYS: u32 = 4_000;
const OWNERS: u32 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nobody;

impl Weigh for Nobody {
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// An authority's database: what was revoked, and the last position, under one lock.
struct Database {
    position: Position,
    revoked: Vec<bool>,
}

struct Stage {
    cache: Cache<u32, Nobody>,
    database: Mutex<Database>,
    /// Set after the acknowledgement: a revoke may have returned.
    returned: Vec<AtomicBool>,
    over: AtomicBool,
}

fn owner(key: u32) -> UserId {
    UserId(i64::from(key % OWNERS))
}

fn joined(cache: &Cache<u32, Nobody>) -> Keeper {
    let mut keeper = Keeper::new(&Bounds::default());
    let Next::Send(Ask::Join { nonce, .. }) = keeper.next(Moment(1), || MemberId([1; 16])) else {
        panic!("it joins first")
    };
    keeper.joined(cache, nonce, Joined { epoch: Epoch::default(), position: Position(0) });
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
            let (position, revoked) = {
                let database = self.database.lock().unwrap();
                (database.position, database.revoked[key as usize])
            };
            let read_at = ReadAt { epoch: Epoch::default(), position };
            let ruling = if revoked {
                Ruling::Revoked
            } else {
                Ruling::Valid { value: Nobody, owner: owner(key), expires_at: Timestamp(1) }
            };
            thread::yield_now();
            let before = self.returned[key as usize].load(Ordering::SeqCst);
            let reply = Reply { read_at, ruling };
            let taken = self.cache.take(&question, key, reply, Moment(1), Timestamp(0));
            assert!(!(before && taken == Taken::Accept(Nobody)), "{key} taken after the return");
            kept += usize::from(taken == Taken::Accept(Nobody));
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
            let seen = self.cache.look(&key, Moment(1), Timestamp(0), Position(0));
            assert!(!(before && seen == Found::Valid(Nobody)), "{key} found after the return");
            found += usize::from(seen == Found::Valid(Nobody));
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
            let position = {
                let mut database = self.database.lock().unwrap();
                for key in &hit {
                    database.revoked[*key as usize] = true;
                }
                database.position = Position(database.position.0 + 1);
                database.position
            };
            let subject =
                if by_owner { Subject::Owner(owner(key)) } else { Subject::Credential(key) };
            let change = Invalidation { position, subject };
            let message = Invalidate { epoch: Epoch::default(), change };
            let acknowledged = keeper.invalidate(&self.cache, &message);
            assert_eq!(acknowledged.unwrap().position, position);
            for key in hit {
                self.returned[key as usize].store(true, Ordering::SeqCst);
            }
            thread::yield_now();
        }
    }
}

#[test]
fn a_reply_that_races_with_its_invalidation_is_not_kept() {
    let capacity = Capacity { shards: 8, tombstones: 800, owners: 4, ..Capacity::default() };
    let stage = Stage {
        cache: Cache::new(&Bounds::default(), capacity),
        database: Mutex::new(Database {
            position: Position(0),
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
    assert_eq!(stage.cache.size().0, 0, "everything was revoked");
}

#[test]
fn a_flood_of_unknown_keys_evicts_nothing_valid_and_memory_stays_bounded() {
    let capacity =
        Capacity { shards: 4, entries: 2_000, facts: 400, bytes: 1 << 20, ..Capacity::default() };
    let cache: Cache<u32, Nobody> = Cache::new(&Bounds::default(), capacity);
    joined(&cache);
    let question = cache.ask(Moment(1)).unwrap();
    let read_at = ReadAt { epoch: Epoch::default(), position: Position(0) };
    let valid = |key| {
        let ruling = Ruling::Valid { value: Nobody, owner: owner(key), expires_at: Timestamp(1) };
        Reply { read_at, ruling }
    };
    for key in 0..1_000 {
        cache.take(&question, key, valid(key), Moment(1), Timestamp(0));
    }
    let before = cache.size();
    for key in 1_000..101_000 {
        let reply = Reply { read_at, ruling: Ruling::Unknown };
        cache.take(&question, key, reply, Moment(1), Timestamp(0));
    }
    assert_eq!(cache.size(), before);
    for key in 0..1_000 {
        let found = cache.look(&key, Moment(1), Timestamp(0), Position(0));
        assert_eq!(found, Found::Valid(Nobody));
    }
    for key in 200_000..300_000 {
        cache.take(&question, key, valid(key), Moment(1), Timestamp(0));
    }
    let (entries, bytes) = cache.size();
    assert!(entries <= 2_000 && bytes <= 1 << 20, "{entries} {bytes}");
}

#[test]
fn a_shard_that_a_panic_left_half_written_is_closed_until_the_edge_joins_anew() {
    let cache: Cache<u32, Nobody> =
        Cache::new(&Bounds::default(), Capacity { shards: 1, ..Capacity::default() });
    joined(&cache);
    let question = cache.ask(Moment(1)).unwrap();
    let reply = || {
        let read_at = ReadAt { epoch: Epoch::default(), position: Position(0) };
        let expires_at = Timestamp(1);
        Reply { read_at, ruling: Ruling::Valid { value: Nobody, owner: UserId(1), expires_at } }
    };
    let take = || cache.take(&question, 1, reply(), Moment(1), Timestamp(0));
    assert_eq!(take(), Taken::Accept(Nobody));
    thread::scope(|scope| {
        let broken = scope.spawn(|| {
            let _held = cache.shards[0].lock().unwrap();
            std::panic::resume_unwind(Box::new("half-written"));
        });
        assert!(broken.join().is_err());
    });
    assert_eq!(cache.look(&1, Moment(1), Timestamp(0), Position(0)), Found::Ask);
    assert_eq!(take(), Taken::Again(Why::OtherMember));
    joined(&cache);
    assert_eq!(take(), Taken::Accept(Nobody));
}
