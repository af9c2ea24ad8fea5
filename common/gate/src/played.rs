//! What the tests of this crate share: authorities that a test plays on a bus inside the process, and somebody
//! who is told what a keeper is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId, Routes, Serving};
use latchkey_contract::authority::{Authority, Join, Leave, Renew};
use latchkey_contract::identity::{IdentityAuthority, VerifyTokens};
use latchkey_contract::keys::{KeysAuthority, RecordUses, VerifyKeys};
use latchkey_contract::lease::{
    Epoch, Invalidation, Joined, MemberId, MemberResult, Missed, ReadAt, Renewed, Revision,
};
use latchkey_contract::{
    ApiKey, CredentialHash, Detail, Grants, KeyDetail, KeyId, KeyPrefix, Owner, Principal,
    SessionId, Timestamp, UserDetail, UserId, Verdict, Verdicts,
};
use latchkey_runtime::{Address, Child, Root, supervisor::Running};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::lease::Message;

/// The history that everything begins in.
pub(crate) const HERE: Epoch = Epoch { made: 1, timeline: 1 };
/// The last change at the beginning.
pub(crate) const AT: i64 = 4;
/// The owner of every key.
pub(crate) const OWNER: Owner = Owner::User(UserId(2));
/// A text with the form of a token.
pub(crate) const TOKEN: &str = "eyJh.eyJz.c2ln";
/// When everything expires that does not say otherwise.
pub(crate) const EXPIRY: Timestamp = Timestamp(10 * Timestamp::DAY);
/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authority, as the test has it.
pub(crate) struct Played {
    script: Mutex<Script>,
    /// A question is answered when there is a permit.
    gate: Semaphore,
}

/// What it says, and what it has heard.
pub(crate) struct Script {
    /// Of each credential; of any other that it is unknown.
    pub(crate) verdicts: HashMap<CredentialHash, Verdict<Principal>>,
    /// As of this snapshot.
    pub(crate) read_at: ReadAt,
    /// What a renewal is told besides.
    pub(crate) changes: Vec<Invalidation<CredentialHash>>,
    /// Whom it takes for a member, besides nobody.
    pub(crate) knows_members: bool,
    /// Whether it answers whoever asks as nobody.
    pub(crate) knows_nobody: bool,
    /// Who asked, for how many credentials, in which order.
    pub(crate) asked: Vec<(Option<MemberId>, usize)>,
    /// Who joined, with which lease in milliseconds.
    pub(crate) joined: Vec<(MemberId, u64)>,
    /// Who renewed, since when.
    pub(crate) renewed: Vec<(MemberId, Revision)>,
    /// Who left.
    pub(crate) left: Vec<MemberId>,
    /// The uses that were reported.
    pub(crate) uses: Vec<(KeyId, Timestamp)>,
}

impl Played {
    /// One that knows of nothing yet.
    pub(crate) fn new() -> Arc<Self> {
        let script = Script {
            verdicts: HashMap::new(),
            read_at: read_at(AT),
            changes: Vec::new(),
            knows_members: true,
            knows_nobody: true,
            asked: Vec::new(),
            joined: Vec::new(),
            renewed: Vec::new(),
            left: Vec::new(),
            uses: Vec::new(),
        };
        Arc::new(Self { script: Mutex::new(script), gate: Semaphore::new(Semaphore::MAX_PERMITS) })
    }

    pub(crate) fn script<T>(&self, see: impl FnOnce(&mut Script) -> T) -> T {
        see(&mut self.script.lock().unwrap())
    }

    /// Says this of a credential from now on.
    pub(crate) fn says(&self, text: &str, verdict: Verdict<Principal>) {
        self.script(|it| it.verdicts.insert(CredentialHash::of(text), verdict));
    }

    /// Has read everything from now on after so many changes.
    pub(crate) fn is_at(&self, revision: i64) {
        self.script(|it| it.read_at = read_at(revision));
    }

    /// Who asked so far, and for how many credentials.
    pub(crate) fn asked(&self) -> Vec<(Option<MemberId>, usize)> {
        self.script(|it| it.asked.clone())
    }

    /// Answers no question from now on, until [`Self::answer`].
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Answers so many questions.
    pub(crate) fn answer(&self, questions: usize) {
        self.gate.add_permits(questions);
    }

    /// Serves keys.
    pub(crate) async fn serve_keys(self: &Arc<Self>, bus: &Bus) -> Serving {
        let (verify, uses) = (Arc::clone(self), Arc::clone(self));
        let routes = self.routes::<KeysAuthority>();
        let routes = routes.on::<VerifyKeys, _, _>(move |_, ask: VerifyKeys| {
            let played = Arc::clone(&verify);
            async move { Ok(played.verify(&ask.hashes, ask.member).await) }
        });
        let routes = routes.on::<RecordUses, _, _>(move |_, report: RecordUses| {
            uses.script(|it| it.uses.extend(report.uses));
            async { Ok(()) }
        });
        bus.serve(routes).await.unwrap()
    }

    /// Serves tokens.
    pub(crate) async fn serve_tokens(self: &Arc<Self>, bus: &Bus) -> Serving {
        let played = Arc::clone(self);
        let routes = self.routes::<IdentityAuthority>();
        let routes = routes.on::<VerifyTokens, _, _>(move |_, ask: VerifyTokens| {
            let played = Arc::clone(&played);
            let hashes: Vec<_> =
                ask.tokens.iter().map(|token| CredentialHash::of(token.expose())).collect();
            async move { Ok(played.verify(&hashes, ask.member).await) }
        });
        bus.serve(routes).await.unwrap()
    }

    fn routes<A: Authority>(self: &Arc<Self>) -> Routes {
        let (join, renew, leave) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        Routes::new(A::NAME, "0.0.0", "")
            .on::<Join<A>, _, _>(move |_, ask: Join<A>| {
                let answer = join.script(|it| {
                    it.joined.push((ask.member, ask.lease_ms));
                    Joined { epoch: it.read_at.epoch, revision: it.read_at.revision }
                });
                async move { Ok(answer) }
            })
            .on::<Renew<A>, _, _>(move |_, ask: Renew<A>| {
                let answer = renew.script(|it| {
                    it.renewed.push((ask.member, ask.since));
                    let ReadAt { epoch, revision } = it.read_at;
                    let missed = Missed::These(it.changes.clone());
                    MemberResult::Member(Renewed { epoch, revision, missed })
                });
                async move { Ok(answer) }
            })
            .on::<Leave<A>, _, _>(move |_, ask: Leave<A>| {
                leave.script(|it| it.left.push(ask.member));
                async { Ok(()) }
            })
    }

    async fn verify<A: Authority>(
        &self,
        hashes: &[CredentialHash],
        member: Option<MemberId>,
    ) -> MemberResult<Verdicts<A>> {
        // Read before it waits, as a reply is that is late on its way.
        let answer = self.script(|it| {
            it.asked.push((member, hashes.len()));
            let is_known = if member.is_some() { it.knows_members } else { it.knows_nobody };
            let says = |hash| it.verdicts.get(hash).cloned().unwrap_or(Verdict::Unknown);
            let verdicts = Verdicts::new(it.read_at, hashes.iter().map(says).collect());
            if is_known { MemberResult::Member(verdicts) } else { MemberResult::NotMember }
        });
        self.gate.acquire().await.unwrap().forget();
        answer
    }
}

/// A snapshot of [`HERE`] after so many changes.
pub(crate) fn read_at(revision: i64) -> ReadAt {
    ReadAt { epoch: HERE, revision: Revision(revision) }
}

/// A key's text.
pub(crate) fn key(fill: u8) -> String {
    let key = ApiKey::generate(&KeyPrefix::default(), None, |bytes| bytes.fill(fill));
    key.expose().to_owned()
}

/// A program, until `expires_at`.
pub(crate) fn program(id: i64, expires_at: Timestamp) -> Principal {
    let key = KeyDetail { id: KeyId(id), owner: OWNER, name: "ci".into(), lineage: KeyId(id) };
    let grants = Arc::new(Grants::everything());
    Principal { expires_at, detail: Detail::Key(key), grants }
}

/// A person, by the text of a login or by another one.
pub(crate) fn person(is_original: bool) -> Principal {
    let user = UserDetail {
        id: UserId(7),
        username: "ada".into(),
        email: "ada@example.com".into(),
        session: SessionId([1; 16]),
        is_original,
        is_narrowed: false,
    };
    let grants = Arc::new(Grants::everything());
    Principal { expires_at: EXPIRY, detail: Detail::User(user.into()), grants }
}

/// Somebody who waits long enough.
pub(crate) fn patient() -> Context {
    Context::new(RequestId::new("test"), PATIENCE)
}

/// Waits until `seen` is so, for things that happen in other tasks.
pub(crate) async fn until(mut seen: impl FnMut() -> bool) {
    let waiting = async {
        while !seen() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it never happens");
}

/// Stands in for a keeper's actor and passes on what it is told.
struct Ear(mpsc::UnboundedSender<Message>);

impl Actor for Ear {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.0.send(message).unwrap();
        Ok(())
    }
}

/// What is told to an address.
pub(crate) struct Told {
    pub(crate) address: Address<Message>,
    messages: mpsc::UnboundedReceiver<Message>,
    _running: Running,
}

impl Told {
    pub(crate) async fn new() -> Self {
        let (address, (told, messages)) = (Address::new(), mpsc::unbounded_channel());
        let make = move || (Ear(told.clone()), ());
        let child = Child::new("ear", address.clone(), make);
        let running = Root::start(vec![child]).await.unwrap();
        Self { address, messages, _running: running }
    }

    /// What it is told next, besides timers.
    pub(crate) async fn next(&mut self) -> Message {
        loop {
            let told = timeout(PATIENCE, self.messages.recv()).await.expect("it is told nothing");
            match told.unwrap() {
                Message::Tick(_) => {}
                message => return message,
            }
        }
    }

    /// Everything that it was told before this, besides timers.
    pub(crate) async fn so_far(&mut self) -> Vec<Message> {
        const LAST: u64 = u64::MAX;
        self.address.send(Message::Tick(LAST)).unwrap();
        let mut told = Vec::new();
        loop {
            match self.messages.recv().await.unwrap() {
                Message::Tick(LAST) => return told,
                Message::Tick(_) => {}
                message => told.push(message),
            }
        }
    }
}

/// Counters and gauges of this thread, while somebody holds the guard of
/// [`set_default_local_recorder`](metrics::set_default_local_recorder).
#[derive(Default)]
pub(crate) struct Counted {
    values: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl Counted {
    /// What a counter shows, by its name and the values of its labels.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.value(name.to_owned()).load(Ordering::Relaxed)
    }

    /// What a gauge shows.
    pub(crate) fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.counter(name))
    }

    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}", label.value()));
        self.value(format!("{}{}", key.name(), labels.collect::<String>()))
    }

    fn value(&self, name: String) -> Arc<AtomicU64> {
        Arc::clone(self.values.lock().unwrap().entry(name).or_default())
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
