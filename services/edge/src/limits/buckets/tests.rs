use std::cell::Cell;
use std::hash::Hasher;

use super::*;

const QUOTA: Quota = Quota { burst: 100, interval: NonZeroU64::new(1_000).unwrap() };
const SECOND: u64 = 1_000;
const GROUP: u64 = 1_000_000;
/// Clients of a flood: twice what the table holds.
const FLOOD: u64 = 200_000;

thread_local! {
    /// How often a client was hashed: whoever looks at a client's entry, moves or copies it, hashes it.
    static HASHED: Cell<usize> = const { Cell::new(0) };
}

/// A client; a million of them are a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Client(u64);

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        HASHED.set(HASHED.get() + 1);
        self.0.hash(state);
    }
}

impl Grouped for Client {
    fn group(&self) -> impl Hash {
        self.0 / GROUP
    }
}

fn buckets() -> Buckets<Client> {
    Buckets::new(QUOTA)
}

/// So many requests of `client` are let through at `now`, and how long the next one has to wait.
fn drain(buckets: &Buckets<Client>, client: Client, now: u64) -> (u64, u64) {
    let mut passed = 0;
    loop {
        match buckets.take(client, 1, now) {
            Ok(()) => passed += 1,
            Err(wait) => return (passed, wait),
        }
    }
}

/// Has so many clients ask once each, at `now`.
fn flood(buckets: &Buckets<Client>, first: u64, now: u64) {
    for number in first..first + FLOOD {
        let _ = buckets.take(Client(number), 1, now);
    }
}

fn clients(buckets: &Buckets<Client>) -> usize {
    buckets.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
}

#[test]
fn a_hundred_pass_at_once_and_one_more_each_second() {
    let (buckets, client) = (buckets(), Client(1));
    assert_eq!(drain(&buckets, client, 5), (100, SECOND));
    assert_eq!(drain(&buckets, client, 5), (0, SECOND), "a refused one costs nothing");
    assert_eq!(drain(&buckets, client, 505), (0, 500));
    assert_eq!(drain(&buckets, client, 5 + SECOND), (1, SECOND));
    assert_eq!(drain(&buckets, client, 5 + 11 * SECOND), (10, SECOND));
    assert_eq!(drain(&buckets, client, 5 + 1_000 * SECOND), (100, SECOND));
    assert_eq!(drain(&buckets, Client(2), 5), (100, SECOND), "others have their own");
}

#[test]
fn a_bucket_is_never_forgotten_before_it_is_full() {
    let (buckets, client) = (buckets(), Client(1));
    let mut now = 1_000_000;
    assert_eq!(drain(&buckets, client, now).0, 100);
    // Whatever pauses it makes, what passes is what the seconds gave.
    for pause in [1, 50, 99, 100, 7, 100, 63, 98] {
        now += pause * SECOND;
        flood(&buckets, now, now);
        assert_eq!(drain(&buckets, client, now).0, pause, "after {pause} s");
    }
}

#[test]
fn a_flood_of_clients_is_remembered_within_the_bound_and_goes_again() {
    let buckets = buckets();
    flood(&buckets, 0, 0);
    let full = clients(&buckets);
    assert!(full <= SHARDS * PER_SHARD, "{full}");
    assert_eq!(full, SHARDS * PER_SHARD, "a bound that is used");
    // Whoever came in the second before has asked once only: the places are free again.
    for turn in 1..=3 {
        flood(&buckets, turn * FLOOD, turn * SECOND);
        assert_eq!(clients(&buckets), full);
        let first = Client(turn * FLOOD);
        assert_eq!(drain(&buckets, first, turn * SECOND).0, 99, "it has a bucket of its own");
    }
}

#[test]
fn a_full_table_turns_nobody_away_and_gives_a_flood_nothing() {
    let buckets = buckets();
    flood(&buckets, 0, 0);
    // Others come meanwhile. Two groups may share a bucket, but seldom do.
    let others = (1..=10).map(|group| drain(&buckets, Client(group * GROUP), 0));
    let served = others.filter(|drained| *drained == (100, SECOND)).count();
    assert!(served >= 8, "{served} of 10");
    // Whoever makes up client after client in one group has one bucket for all of them.
    let fresh = 20 * GROUP..20 * GROUP + 1_000;
    let passed = fresh.filter(|number| buckets.take(Client(*number), 1, 0).is_ok()).count();
    assert!(passed <= 100, "{passed}");
}

#[test]
fn a_request_costs_the_same_whether_the_table_is_empty_or_full() {
    let buckets = buckets();
    // The most that a part copies when it grows, which is seldom.
    let (most, usual) = (2 * PER_SHARD, 6);
    let mut total = 0;
    for turn in 0..3 {
        // In the end the places of full buckets are taken, and those of others looked at in vain.
        for number in 0..FLOOD {
            HASHED.set(0);
            let _ = buckets.take(Client(turn * FLOOD + number), 1, turn * SECOND);
            let hashed = HASHED.get();
            assert!(hashed <= most, "{hashed} hashes in one request");
            total += hashed;
        }
    }
    let average = total / usize::try_from(3 * FLOOD).unwrap();
    assert!(average < usual, "{average} hashes a request");
}

#[test]
fn several_at_once_are_let_through_together_or_not_at_all() {
    let (buckets, client) = (buckets(), Client(1));
    assert_eq!(buckets.take(client, 60, 0), Ok(()));
    // There are 40 left, and 20 more come in 20 seconds.
    assert_eq!(buckets.take(client, 60, 0), Err(20 * SECOND));
    assert_eq!(buckets.take(client, 40, 0), Ok(()), "what was refused has cost nothing");
    assert_eq!(buckets.take(client, 1, 0), Err(SECOND));
    assert_eq!(buckets.take(client, 100, 100 * SECOND), Ok(()));
}
