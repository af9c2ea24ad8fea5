//! Clients who end one credential after another, and clients who try them all on every edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::ledger::{Credential, Kind, Ledger, Said};
use super::{Dice, hold};
use crate::account::PASSWORD;
use crate::{Api, User, poll};

/// Clients who end credentials, at the same time.
const ENDERS: usize = 12;
/// Clients who try credentials, for each edge.
const TRIERS: usize = 2;
/// One of these asks at most once in this time.
const PACE: Duration = Duration::from_millis(15);
/// Credentials around the next that are tried: that many behind it and twice that many ahead.
const WINDOW: usize = 24;
/// How long an edge is waited for before a credential's end, so that most remember it.
const WARM: Duration = Duration::from_millis(300);
/// How long an impatient client waits for a revoke before it asks another edge.
const IMPATIENT: Duration = Duration::from_millis(120);
/// One in this many is.
const ONE_IN: usize = 4;
/// When a credential is tried on each edge after its end, after the time before.
const AFTERWARDS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(1),
];
/// Tasks of one client that do so, at most.
const MAX_AFTER: usize = 64;
/// How long one who ends credentials rests before the next: there is something to end while faults last.
const REST: Duration = Duration::from_millis(500);
/// Credentials that may end for each time that the cluster is broken: one in this many, which is more than there are
/// kinds of faults. However slow the machine is, there is something to end during each.
const SHARES: usize = 24;
/// Keys that each user has.
const KEYS_EACH: usize = 60;
/// Users and sessions that are made at the same time.
const AT_ONCE: usize = 8;
/// Bound on one answer in the end.
const RECOVERY: Duration = Duration::from_mins(1);

/// The clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    edges: Vec<String>,
    next: AtomicUsize,
    /// From here on, credentials stay as they are until more may end.
    allowed: AtomicUsize,
    ended: AtomicUsize,
    revoked: AtomicUsize,
    under_way: AtomicUsize,
    over: AtomicBool,
}

/// Makes keys and sessions, in no order.
pub async fn prepare(api: &Api, keys: usize, sessions: usize, dice: &mut Dice) -> Vec<Credential> {
    let key = async |owner: &User| {
        let made = api.key(&owner.token, "ends").await;
        Credential { kind: Kind::Key, text: made.key, id: made.id, owner: owner.token.clone() }
    };
    let session = async |owner: &User| {
        let text = api.token(&owner.username, PASSWORD).await;
        Credential { kind: Kind::Token, text, id: 0, owner: owner.token.clone() }
    };
    let mut owners = Vec::new();
    while owners.len() * KEYS_EACH < keys {
        owners.extend(join_all((0..AT_ONCE).map(|_| api.user())).await);
    }
    let mut made = Vec::new();
    while made.len() < keys {
        made.extend(join_all(owners.iter().map(&key)).await);
    }
    made.truncate(keys);
    while made.len() < keys + sessions {
        for some in owners.chunks(AT_ONCE) {
            made.extend(join_all(some.iter().map(&session)).await);
        }
    }
    made.truncate(keys + sessions);
    dice.shuffle(&mut made);
    made
}

impl Load {
    /// Starts the clients.
    pub fn start(edges: Vec<String>, ledger: &Arc<Ledger>, dice: &mut Dice) -> Self {
        let shared = Arc::new(Shared {
            ledger: Arc::clone(ledger),
            edges,
            next: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            revoked: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let mut clients = JoinSet::new();
        for _ in 0..ENDERS {
            clients.spawn(Arc::clone(&shared).end_all(Dice::of(dice.roll())));
        }
        for edge in 0..shared.edges.len() {
            for _ in 0..TRIERS {
                clients.spawn(Arc::clone(&shared).try_all(edge, Dice::of(dice.roll())));
            }
        }
        Self { shared, clients }
    }

    /// Credentials whose end was promised.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// Of these, the keys.
    pub fn revoked(&self) -> usize {
        self.shared.revoked.load(Ordering::SeqCst)
    }

    /// Lets some more credentials end.
    pub fn allow_more(&self) {
        let share = self.shared.ledger.count().div_ceil(SHARES);
        self.shared.allowed.fetch_add(share, Ordering::SeqCst);
    }

    /// Lets all the others end, too.
    pub fn allow_all(&self) {
        self.shared.allowed.store(self.shared.ledger.count(), Ordering::SeqCst);
    }

    /// Lets some more end where somebody waits for it and none may: most of a share came to nothing.
    fn allow_enough(&self) {
        if self.shared.next.load(Ordering::SeqCst) >= self.shared.allowed.load(Ordering::SeqCst) {
            self.shared.allowed.fetch_add(ENDERS, Ordering::SeqCst);
        }
    }

    /// Whether no credential is left.
    pub fn is_spent(&self) -> bool {
        self.shared.next.load(Ordering::SeqCst) >= self.shared.ledger.count()
    }

    /// Waits until a revoke or logout is under way.
    pub async fn under_way(&self, within: Duration) {
        let some = || {
            self.allow_enough();
            self.shared.under_way.load(Ordering::SeqCst) > 0 || self.is_spent()
        };
        poll::until_async("a revoke", within, async || some().then_some(())).await;
    }

    /// Waits until some more credentials have ended.
    pub async fn progress(&self, more: usize, within: Duration) {
        let goal = self.ended() + more;
        let enough = || {
            self.allow_enough();
            self.ended() >= goal || self.is_spent()
        };
        poll::until_async("revokes that return", within, async || enough().then_some(())).await;
    }

    /// Lets every client end what it has begun.
    pub async fn finish(self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
    }
}

impl Shared {
    /// The next credential that is to end, if there is one that may.
    fn take(&self) -> Option<usize> {
        let end = self.allowed.load(Ordering::SeqCst).min(self.ledger.count());
        let further = |next: usize| (next < end).then_some(next + 1);
        self.next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, further).ok()
    }

    async fn end_all(self: Arc<Self>, mut dice: Dice) {
        let apis: Vec<Api> = self.edges.iter().map(|edge| Api::new(edge)).collect();
        let mut after = JoinSet::new();
        while !self.over.load(Ordering::SeqCst) {
            let Some(number) = self.take() else {
                hold(PACE).await;
                continue;
            };
            let warm = |edge| timeout(WARM, attempt(&self.ledger, &apis[edge], number, edge));
            // An edge that stands still is not waited for.
            drop(join_all((0..apis.len()).map(warm)).await);
            self.under_way.fetch_add(1, Ordering::SeqCst);
            let promised = end(&self.ledger, &apis, number, &mut dice).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            self.ended.fetch_add(usize::from(promised), Ordering::SeqCst);
            let is_key = self.ledger.credential(number).kind == Kind::Key;
            self.revoked.fetch_add(usize::from(promised && is_key), Ordering::SeqCst);
            for (edge, api) in apis.iter().enumerate() {
                let (ledger, api) = (Arc::clone(&self.ledger), api.clone());
                after.spawn(async move {
                    for pause in AFTERWARDS {
                        hold(pause).await;
                        attempt(&ledger, &api, number, edge).await;
                    }
                });
            }
            while after.len() > MAX_AFTER {
                after.join_next().await.expect("some").expect("no client failed");
            }
            hold(REST).await;
        }
        after.join_all().await;
    }

    async fn try_all(self: Arc<Self>, edge: usize, mut dice: Dice) {
        let api = Api::new(&self.edges[edge]);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.over.load(Ordering::SeqCst) {
            pace.tick().await;
            let next = self.next.load(Ordering::SeqCst);
            let number = (next + dice.below(3 * WINDOW)).saturating_sub(WINDOW);
            attempt(&self.ledger, &api, number.min(self.ledger.count() - 1), edge).await;
        }
    }
}

/// Tries a credential on an edge, and notes what it said.
pub async fn attempt(ledger: &Ledger, api: &Api, number: usize, edge: usize) -> Said {
    let credential = ledger.credential(number);
    let start = Instant::now();
    let call = match credential.kind {
        Kind::Key => api.get("/protected/service").api_key(&credential.text),
        Kind::Token => api.get("/protected/user").bearer(&credential.text),
    };
    let said = Said::of(call.try_send().await.ok().map(|answer| answer.status));
    ledger.note(number, edge, start, said);
    said
}

/// Asks one edge after another for a credential's end until it is promised. A token that is refused
/// meanwhile cannot ask again: that is not promised, and the answer is no.
pub async fn end(ledger: &Ledger, apis: &[Api], number: usize, dice: &mut Dice) -> bool {
    let credential = ledger.credential(number);
    let is_key = credential.kind == Kind::Key;
    let mut patience = Some(IMPATIENT).filter(|_| is_key && dice.below(ONE_IN) == 0);
    let begin = Instant::now();
    loop {
        let api = &apis[dice.below(apis.len())];
        let call = match credential.kind {
            Kind::Key => api.delete(&format!("/keys/{}", credential.id)).bearer(&credential.owner),
            Kind::Token => api.post("/auth/logout").bearer(&credential.text),
        };
        ledger.asks(number);
        let answer = match patience.take() {
            Some(short) => timeout(short, call.try_send()).await.ok(),
            None => Some(call.try_send().await),
        };
        match answer.and_then(Result::ok).map(|answer| answer.status) {
            Some(200) => {
                ledger.promised(number);
                return true;
            }
            Some(401) if !is_key => return false,
            None | Some(429 | 503) => {}
            Some(other) => panic!("credential {number}: {other} to a request to end it"),
        }
        assert!(begin.elapsed() < RECOVERY * 2, "credential {number} cannot be ended");
        hold(PACE).await;
    }
}

/// Looks at every credential on every edge once more, when nothing is broken any more: how many ends that
/// were promised do not hold, and how many credentials that nobody ended are refused.
pub async fn lost(ledger: &Ledger, edges: &[String]) -> (usize, usize) {
    let apis: Vec<Api> = edges.iter().map(|edge| Api::new(edge)).collect();
    let (mut undone, mut refused) = (0, 0);
    for number in 0..ledger.count() {
        let (asked, promised) = ledger.state(number);
        let said = join_all(apis.iter().enumerate().map(async |(edge, api)| {
            let ask = async || {
                let said = attempt(ledger, api, number, edge).await;
                (said != Said::Nothing).then_some(said)
            };
            poll::until_async("an answer without faults", RECOVERY, ask).await
        }))
        .await;
        undone += usize::from(promised && said.iter().any(|said| *said != Said::Refused));
        refused += usize::from(!asked && said.iter().any(|said| *said != Said::Accepted));
    }
    (undone, refused)
}
