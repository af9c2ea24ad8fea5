//! The check against an authority that each test plays, and a memory that is filled by the rules.

use std::sync::Mutex;

use latchkey_contract::lease::{Epoch, Invalidation, Joined, Missed, ReadAt, Renewed, Subject};
use latchkey_contract::{KeyId, KeyPrincipal, UserId};
use latchkey_revocation::{Ask, Bounds, Capacity, Keeper, Next, Reply, Ruling};
use latchkey_runtime::Root;
use latchkey_runtime::supervisor::Running;
use smol_str::SmolStr;

use super::*;
use crate::remembered::Remembered;

type Person = Remembered<KeyPrincipal>;

const HASH: CredentialHash = CredentialHash([7; 32]);
const MEMBER: MemberId = MemberId([1; 16]);
const HERE: Epoch = Epoch { made: 1, timeline: 1 };

/// Says one thing to everybody, as of one snapshot.
struct Says(Arc<Mutex<(ReadAt, Verdict<Person>)>>);

impl Work for Says {
    type Item = (CredentialHash, Option<MemberId>);
    type Answer = Answer<Person>;
    type Error = CallError;
    const MAX_WEIGHT: usize = 1;
    const IN_FLIGHT: usize = 1;
    const MAX_WAITING: usize = 8;

    fn weight(_: &Self::Item) -> usize {
        1
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        assert!(items.iter().all(|(_, member)| member.is_none()), "it is asked as nobody");
        Ok(vec![Standing::Member(self.0.lock().unwrap().clone()); items.len()])
    }
}

struct Bench {
    check: Arc<Check<Person, Says>>,
    authority: Arc<Mutex<(ReadAt, Verdict<Person>)>>,
    keeper: Keeper,
    _running: Running,
}

fn person() -> Person {
    let (key, owner) = (KeyId(1), UserId(2));
    Remembered::new(KeyPrincipal {
        key,
        name: SmolStr::default(),
        owner,
        expires_at: Timestamp(i64::MAX),
    })
}

fn read_at(position: i64) -> ReadAt {
    ReadAt { epoch: HERE, position: Position(position) }
}

/// A member that has applied everything up to 4, and remembers what `ruling` says.
async fn bench(ruling: Ruling<Person>) -> Bench {
    let memory = Arc::new(Memory::new(&Bounds::default(), Capacity::default()));
    let authority = Arc::new(Mutex::new((read_at(4), Verdict::Valid(person()))));
    let (asker, child) = Asker::new("ask", Says(Arc::clone(&authority)));
    let running = Root::start(vec![child]).await.unwrap();
    let check = Arc::new(Check::new("key", memory, Address::new(), asker, Clock::System));
    let mut bench =
        Bench { check, authority, keeper: Keeper::new(&Bounds::default()), _running: running };
    let Next::Send(Ask::Join { nonce, .. }) = bench.keeper.next(bench.now(), || MEMBER) else {
        panic!("it joins first")
    };
    let joined = Joined { epoch: HERE, position: Position(4) };
    bench.keeper.joined(&*bench.check.memory, nonce, joined);
    bench.renew(4, Vec::new());
    let question = bench.check.memory.ask(bench.now()).unwrap();
    let reply = Reply { read_at: read_at(4), ruling };
    bench.check.memory.take(&question, HASH, reply, bench.now(), Timestamp(0));
    bench
}

impl Bench {
    fn now(&self) -> Moment {
        Moment(self.check.clock.lease_nanos())
    }

    fn renew(&mut self, position: i64, changes: Vec<Invalidation<CredentialHash>>) {
        self.keeper.reconnected();
        let now = self.now();
        let Next::Send(Ask::Renew { nonce, .. }) = self.keeper.next(now, || MEMBER) else {
            panic!("it renews")
        };
        let (epoch, position) = (HERE, Position(position));
        let renewed = Renewed { epoch, position, missed: Missed::These(changes) };
        self.keeper.renewed(&*self.check.memory, nonce, Standing::Member(renewed), now);
    }

    fn says(&self, read_at: ReadAt, verdict: Verdict<Person>) {
        *self.authority.lock().unwrap() = (read_at, verdict);
    }

    async fn contradiction(&self, said: &Verdict<()>) -> Option<&'static str> {
        self.check.contradiction(HASH, said, HASH).await
    }
}

fn valid() -> Ruling<Person> {
    Ruling::Valid { value: person(), owner: UserId(2), expires_at: Timestamp(i64::MAX) }
}

fn revoke(position: i64) -> Vec<Invalidation<CredentialHash>> {
    let subject = Subject::Credential(HASH);
    vec![Invalidation { position: Position(position), subject }]
}

#[tokio::test]
async fn what_agrees_or_has_only_expired_is_no_contradiction() {
    let bench = bench(valid()).await;
    for verdict in [Verdict::Valid(person()), Verdict::Expired] {
        bench.says(read_at(4), verdict);
        assert_eq!(bench.contradiction(&Verdict::Valid(())).await, None);
    }
}

#[tokio::test]
async fn an_accept_that_the_authority_denies_with_nothing_left_to_apply_is_one() {
    let bench = bench(valid()).await;
    for verdict in [Verdict::Revoked, Verdict::Unknown, Verdict::Inactive, Verdict::Malformed] {
        bench.says(read_at(4), verdict.clone());
        assert_eq!(bench.contradiction(&Verdict::Valid(())).await, Some(verdict.code()));
    }
}

#[tokio::test]
async fn a_refusal_of_what_is_good_is_one() {
    let revoked = bench(Ruling::Revoked).await;
    assert_eq!(revoked.contradiction(&Verdict::Revoked).await, Some("valid"));
    let unknown = bench(Ruling::Unknown).await;
    assert_eq!(unknown.contradiction(&Verdict::Unknown).await, Some("valid"));
    unknown.says(read_at(4), Verdict::Revoked);
    assert_eq!(unknown.contradiction(&Verdict::Unknown).await, None);
}

#[tokio::test]
async fn a_revoke_on_its_way_is_none_and_one_that_a_renewal_left_out_is() {
    for (changes, is_against) in [(revoke(5), false), (Vec::new(), true)] {
        let mut bench = bench(valid()).await;
        // The revoke is on disk; the member has heard nothing of it.
        bench.says(read_at(5), Verdict::Revoked);
        let check = Arc::clone(&bench.check);
        let said = Verdict::Valid(());
        let checking = check.contradiction(HASH, &said, HASH);
        let renewal = async {
            // It has been asked by then, and looks again after this.
            sleep(PAUSE / 2).await;
            bench.renew(5, changes);
        };
        let (against, ()) = tokio::join!(checking, renewal);
        assert_eq!(against.is_some(), is_against);
    }
}

#[tokio::test]
async fn another_history_is_none() {
    let bench = bench(valid()).await;
    let elsewhere = ReadAt { epoch: Epoch { made: 2, timeline: 1 }, position: Position(9) };
    bench.says(elsewhere, Verdict::Unknown);
    assert_eq!(bench.contradiction(&Verdict::Valid(())).await, None);
}
