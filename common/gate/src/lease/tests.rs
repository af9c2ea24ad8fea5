//! The actor, message by message: what it sends to itself comes to the test, which hands it in.

use std::cell::RefCell;
use std::fmt;
use std::sync::Mutex;

use latchkey_bus::Serving;
use latchkey_contract::authority::WaiterId;
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::{Acknowledge, Invalidate, Invalidation, Revision, Tag};
use latchkey_contract::wire::{CONTRACT, PREVIOUS};
use latchkey_contract::{Refusal, Timestamp, Verdict};
use latchkey_revocation::Reply;
use latchkey_revocation::bounds::Settings;
use latchkey_revocation::{Capacity, Question};
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;
use crate::played::{AT, Counted, EXPIRY, HERE, Played, Told, program, read_at, until};
use crate::remembered::Remembered;

const HASH: CredentialHash = CredentialHash([7; 32]);
const WAITER: WaiterId = WaiterId([3; 8]);
const LEASE_MS: u64 = 60_000;

struct Bench {
    actor: LeaseKeeper<KeysAuthority>,
    state: State,
    told: Told,
    played: Arc<Played>,
    _serving: Serving,
}

/// An actor that has started. Its lease is long, so that no renewal is due by itself.
async fn bench() -> Bench {
    let (bus, played, told) = (Bus::local(), Played::new(), Told::new().await);
    let serving = played.serve_keys(&bus).await;
    let wait = LEASE_MS + Bounds::MIN_MARGIN;
    let times = Settings { lease: LEASE_MS, renewal: LEASE_MS / 2, wait, drift: 0 };
    let bounds = Bounds::new(times).unwrap();
    let deps = LeaseDeps {
        name: "edge",
        bus,
        clock: Clock::manual(0),
        entropy: Entropy::seeded(1),
        bounds,
        memory: Arc::new(Memory::new(&bounds, Capacity::default())),
    };
    let is_first = Arc::new(AtomicBool::new(true));
    let actor = LeaseKeeper::<KeysAuthority> { deps, is_first, authority: PhantomData };
    let state = actor.pre_start(told.address.get().unwrap(), ()).await.unwrap();
    Bench { actor, state, told, played, _serving: serving }
}

/// One that has joined and has a lease.
async fn member() -> Bench {
    let mut bench = bench().await;
    // It hears, has joined, and has renewed.
    for _ in 0..3 {
        bench.take().await;
    }
    assert!(bench.is_live());
    bench
}

impl Bench {
    async fn hear(&mut self, message: Message) {
        let myself = self.told.address.get().unwrap();
        self.actor.handle(myself, message, &mut self.state).await.unwrap();
    }

    /// Hands in what came for the actor next.
    async fn take(&mut self) {
        let message = self.told.next().await;
        self.hear(message).await;
    }

    /// A change, as it is published.
    async fn publish(&mut self, contract: u16, epoch: Epoch, tag: Tag<CredentialHash>, at: i64) {
        let change = Invalidation { revision: Revision(at), tag };
        let message = Invalidating { invalidate: Invalidate { epoch, change }, waiter: WAITER };
        let bytes = wire::encode(&message, contract).unwrap();
        self.actor.deps.bus.publish(KeysAuthority::INVALIDATIONS, bytes.into()).await.unwrap();
    }

    fn member(&self) -> Option<MemberId> {
        self.actor.deps.memory.membership().map(|(member, _)| member)
    }

    fn is_live(&self) -> bool {
        self.actor.deps.memory.is_live(self.actor.now())
    }

    /// Remembers that a credential is good.
    fn remember(&self) {
        let (memory, now) = (&self.actor.deps.memory, self.actor.now());
        let question: Question = memory.ask(now).unwrap();
        let verdict = Judged(Verdict::Valid(Remembered::new(program(1, EXPIRY))));
        let reply = Reply { read_at: read_at(AT), verdict };
        memory.take(&question, HASH, reply, now, Timestamp(0)).unwrap();
    }
}

thread_local! {
    /// What one test has logged, which runs on one thread.
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Hears what is logged.
struct Ear;

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Ear {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("latchkey")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        SAID.with_borrow_mut(|said| said.push(text));
    }

    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// What this test has logged since it was last asked. For all threads at once: what a subscriber of one thread alone
/// hears depends on who comes first to each line.
fn said() -> impl Fn() -> Vec<String> {
    // Another test may have been faster.
    drop(tracing::subscriber::set_global_default(Ear));
    SAID.take();
    || SAID.take()
}

fn is_remembered(memory: &Memory, now: Moment) -> bool {
    memory.look(&HASH, now, Timestamp(0), Revision::default()).is_some()
}

#[tokio::test]
async fn it_joins_renews_at_once_and_says_good_bye() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let mut bench = member().await;
    let id = bench.member().unwrap();
    assert_eq!(bench.played.script(|it| it.joined.clone()), [(id, LEASE_MS)]);
    assert_eq!(bench.played.script(|it| it.renewed.clone()), [(id, Revision(AT))]);
    assert!((counted.gauge("latchkey_lease_held keys") - 1.0).abs() < f64::EPSILON);
    assert_eq!(counted.counter("latchkey_caches_dropped_total keys"), 0);
    let myself = bench.told.address.get().unwrap();
    bench.actor.post_stop(myself, &mut bench.state).await.unwrap();
    assert_eq!(bench.played.script(|it| it.left.clone()), [id]);
    assert_eq!((bench.member(), bench.is_live()), (None, false));
}

#[tokio::test]
async fn who_never_joined_leaves_nothing() {
    let mut bench = bench().await;
    let myself = bench.told.address.get().unwrap();
    bench.actor.post_stop(myself, &mut bench.state).await.unwrap();
    assert_eq!(bench.played.script(|it| it.left.clone()), []);
}

#[tokio::test]
async fn who_does_not_hear_yet_what_is_revoked_does_not_join() {
    let mut bench = bench().await;
    for told in [Message::Tick(0), Message::OtherEpoch(HERE)] {
        bench.hear(told).await;
    }
    assert_eq!(bench.state.timer, 0, "it asks nothing, and plans nothing");
    bench.take().await;
    assert!(bench.state.timer > 0);
}

#[tokio::test]
async fn that_it_cannot_join_is_said_once_until_it_has() {
    let said = said();
    let mut bench = bench().await;
    bench.take().await;
    let joined = bench.told.next().await;
    let fail = || Message::Joined(u64::MAX, Err(CallError::Timeout));
    for _ in 0..3 {
        bench.hear(fail()).await;
    }
    assert_eq!(said(), ["cannot join: no credential is remembered until it succeeds"]);
    bench.hear(joined).await;
    bench.take().await;
    assert_eq!(said(), ["joined: verified credentials are remembered from now on"]);
    let id = bench.member().unwrap();
    bench.hear(Message::Expelled(id)).await;
    let joined = bench.told.next().await;
    for _ in 0..2 {
        bench.hear(fail()).await;
    }
    bench.hear(joined).await;
    assert_eq!(
        said()[1..],
        [
            "cannot join: no credential is remembered until it succeeds",
            "joined again: verified credentials are remembered from now on"
        ]
    );
}

#[tokio::test]
async fn a_reason_that_follows_another_is_said_too() {
    const CANNOT: &str = "cannot join: no credential is remembered until it succeeds";
    let said = said();
    let mut bench = bench().await;
    bench.take().await;
    let fail = |error: &CallError| Message::Joined(u64::MAX, Err(error.clone()));
    // The authority comes up after the member, and then it says what stays so.
    for error in
        [CallError::NoResponder, CallError::Refused(Refusal::Stale), CallError::NoResponder]
    {
        bench.hear(fail(&error)).await;
        assert_eq!(said(), [CANNOT], "{error}");
        bench.hear(fail(&error)).await;
        assert_eq!(said(), [""; 0], "{error}");
    }
}

#[tokio::test]
async fn only_the_last_timer_counts() {
    let mut bench = member().await;
    let last = bench.state.timer;
    assert!(last > 0);
    bench.hear(Message::Tick(last - 1)).await;
    assert_eq!(bench.state.timer, last, "it would set another, and be followed by two");
    bench.hear(Message::Tick(last)).await;
    assert_eq!(bench.state.timer, last + 1);
}

#[tokio::test]
async fn it_renews_when_the_bus_is_back_and_not_while_it_is_there() {
    let mut bench = member().await;
    for _ in 0..3 {
        bench.hear(Message::Tick(bench.state.timer)).await;
    }
    bench.state.connected = false;
    bench.hear(Message::Tick(bench.state.timer)).await;
    assert!(matches!(bench.told.next().await, Message::Renewed(_, Ok(_))));
    assert_eq!(bench.played.script(|it| it.renewed.len()), 2);
}

#[tokio::test]
async fn a_change_is_applied_and_then_acknowledged_by_the_contract_that_told_of_it() {
    for contract in [CONTRACT, PREVIOUS] {
        let mut bench = member().await;
        bench.remember();
        let member = bench.member().unwrap();
        let (heard, memory) =
            (Arc::new(Mutex::new(Vec::new())), Arc::clone(&bench.actor.deps.memory));
        let (told, clock) = (Arc::clone(&heard), bench.actor.deps.clock.clone());
        let hear: MessageHandler = Arc::new(move |_, payload: Bytes| {
            let still = is_remembered(&memory, Moment(clock.lease_nanos()));
            let said = wire::decode::<Acknowledge>(&payload, Contracts::OWN).unwrap();
            told.lock().unwrap().push((said, still));
        });
        let bus = bench.actor.deps.bus.clone();
        let subject = WAITER.subject::<KeysAuthority>(bus.user());
        let _hearing = bus.subscribe(&subject, hear, Box::new(|| {})).await.unwrap();
        assert!(is_remembered(&bench.actor.deps.memory, bench.actor.now()));
        bench.publish(contract, HERE, Tag::Credential(HASH), 5).await;
        bench.take().await;
        let acknowledge = Acknowledge { member, epoch: HERE, revision: Revision(5) };
        assert_eq!(*heard.lock().unwrap(), [((contract, acknowledge), false)]);
        assert_eq!(bench.state.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(bench.member(), Some(member));
    }
}

#[tokio::test]
async fn a_change_of_another_history_makes_it_forget_everything_and_join_anew() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let mut bench = member().await;
    bench.remember();
    let before = bench.member();
    bench.publish(CONTRACT, Epoch { made: 2, timeline: 1 }, Tag::Credential(HASH), 5).await;
    bench.take().await;
    assert_eq!(bench.member(), None);
    assert!(!is_remembered(&bench.actor.deps.memory, bench.actor.now()));
    assert_eq!(counted.counter("latchkey_caches_dropped_total keys"), 1);
    assert!(counted.gauge("latchkey_lease_held keys").abs() < f64::EPSILON);
    bench.take().await;
    assert!(bench.member().is_some() && bench.member() != before, "under another id");
}

#[tokio::test]
async fn what_is_published_and_cannot_be_read_is_counted_and_asked_for() {
    let mut bench = member().await;
    let bus = bench.actor.deps.bus.clone();
    bus.publish(KeysAuthority::INVALIDATIONS, Bytes::from_static(b"?")).await.unwrap();
    assert_eq!(bench.state.waiting.load(Ordering::Relaxed), 1);
    let message = bench.told.next().await;
    assert!(matches!(message, Message::Unreadable));
    bench.hear(message).await;
    assert_eq!(bench.state.waiting.load(Ordering::Relaxed), 0);
    let (now, renewal) = (bench.actor.now(), bench.actor.deps.bounds.renewal());
    let Next::Wait(until) = bench.state.keeper.next(now, || panic!("it is a member")) else {
        panic!("it has asked a moment ago")
    };
    assert!(until.since(now) < renewal / 2, "sooner than it would by itself");
}

#[tokio::test]
async fn what_waits_to_be_applied_has_a_bound() {
    let mut told = Told::new().await;
    let waiting = Arc::new(AtomicUsize::new(MAX_WAITING - 1));
    let actor = told.address.get().unwrap();
    let hear = hear("edge", Contracts::OWN, actor.clone(), Arc::clone(&waiting));
    for _ in 0..2 {
        hear("", Bytes::from_static(b"?"));
        assert_eq!(waiting.load(Ordering::Relaxed), MAX_WAITING);
    }
    assert_eq!(told.so_far().await.len(), 1);
    waiting.store(0, Ordering::Relaxed);
    actor.stop_and_wait(None, None).await.unwrap();
    hear("", Bytes::from_static(b"?"));
    assert_eq!(waiting.load(Ordering::Relaxed), 0, "it has not been put into a queue");
}

#[tokio::test]
async fn who_doubts_its_memory_leaves_and_no_other_member_does() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let mut bench = member().await;
    let id = bench.member().unwrap();
    bench.hear(Message::Doubted(MemberId([9; 16]))).await;
    assert_eq!(bench.member(), Some(id));
    assert_eq!(counted.counter("latchkey_caches_dropped_total keys"), 0);
    bench.hear(Message::Doubted(id)).await;
    assert_eq!(bench.member(), None);
    until(|| bench.played.script(|it| !it.left.is_empty())).await;
    assert_eq!(bench.played.script(|it| it.left.clone()), [id]);
    assert_eq!(counted.counter("latchkey_caches_dropped_total keys"), 1);
    bench.take().await;
    assert!(bench.member().is_some_and(|member| member != id));
}

#[tokio::test]
async fn it_forgets_everything_where_an_answer_says_that_it_is_no_member_or_of_another_history() {
    let (mine, other) = (HERE, Epoch { made: 2, timeline: 1 });
    let mut bench = member().await;
    let id = bench.member().unwrap();
    for harmless in [Message::Expelled(MemberId([9; 16])), Message::OtherEpoch(mine)] {
        bench.hear(harmless).await;
        assert_eq!(bench.member(), Some(id));
    }
    bench.hear(Message::Expelled(id)).await;
    assert_eq!(bench.member(), None);
    let mut bench = member().await;
    bench.hear(Message::OtherEpoch(other)).await;
    assert_eq!(bench.member(), None);
    let mut bench = member().await;
    bench.state.connected = false;
    bench.hear(Message::Tick(bench.state.timer)).await;
    let Message::Renewed(nonce, _) = bench.told.next().await else { panic!("it renews") };
    bench.hear(Message::Renewed(nonce, Ok(MemberResult::NotMember))).await;
    assert_eq!(bench.member(), None);
}

#[tokio::test]
async fn a_question_that_fails_changes_nothing_and_is_asked_again_later() {
    let mut bench = bench().await;
    bench.take().await;
    let Message::Joined(nonce, Ok(joined)) = bench.told.next().await else { panic!("it joins") };
    bench.hear(Message::Joined(nonce, Err(CallError::Timeout))).await;
    bench.hear(Message::Joined(nonce, Ok(joined))).await;
    assert_eq!(bench.member(), None, "that question was given up");
    let mut bench = member().await;
    bench.state.connected = false;
    bench.hear(Message::Tick(bench.state.timer)).await;
    let Message::Renewed(nonce, _) = bench.told.next().await else { panic!("it renews") };
    bench.hear(Message::Renewed(nonce, Err(CallError::Timeout))).await;
    assert!(bench.member().is_some() && bench.is_live());
}
