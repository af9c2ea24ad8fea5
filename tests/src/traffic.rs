//! Steady traffic against all edges at once, with a journal of what was acknowledged: after a fault it says
//! what was lost, what was answered wrongly, what failed, and when everything worked again.

mod journal;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::account::PASSWORD;
use crate::{Answer, Api, Call, poll, unique};
use journal::{Given, Journal};

/// Clients at the same time.
const CLIENTS: usize = 6;
/// A client asks at most once in this time.
const PACE: Duration = Duration::from_millis(10);
/// Keys of other clients that each story checks.
const OTHERS: usize = 3;
/// Stories without a failure after which a client has full service again.
const CLEAN: usize = 2;
/// Bound on the clients' next story, also while nothing works.
const ROUND: Duration = Duration::from_mins(2);

/// The clients at work.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

/// What a fault did.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests since the fault began.
    pub requests: usize,
    /// Of these, answered 503.
    pub unavailable: usize,
    /// When each of these was answered.
    pub unavailable_at: Vec<Instant>,
    /// Answered 429.
    pub limited: usize,
    /// Without an answer: the connection broke, or no edge took it.
    pub broken: usize,
    /// Sent to the next edge because one took no connections, or broke one on which nothing is written.
    pub rerouted: usize,
    /// Answers that no fault excuses.
    pub wrong: Vec<String>,
    /// Acknowledged writes that are not there.
    pub lost: Vec<String>,
    /// Acknowledged writes that were looked for.
    pub acknowledged: usize,
    /// The longest time that a request took.
    pub slowest: Duration,
    /// When the last request failed.
    pub last_failure: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    edges: Vec<String>,
    journal: Mutex<Journal>,
    records: Mutex<Vec<Record>>,
    wrong: Mutex<Vec<String>>,
    rerouted: AtomicUsize,
    over: AtomicBool,
    /// Of each client, stories since somebody last set it to zero: all, and without a failure in a row.
    stories: [AtomicUsize; CLIENTS],
    clean: [AtomicUsize; CLIENTS],
}

#[derive(Debug, Clone, Copy)]
struct Record {
    start: Instant,
    end: Instant,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answered,
    Unavailable,
    Limited,
    Broken,
}

struct Client {
    shared: Arc<Shared>,
    number: usize,
    edges: Vec<Api>,
    next: usize,
    pace: Interval,
}

impl Traffic {
    /// Starts the clients.
    pub fn start(edges: Vec<String>) -> Self {
        let shared = Arc::new(Shared {
            edges,
            journal: Mutex::default(),
            records: Mutex::default(),
            wrong: Mutex::default(),
            rerouted: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            stories: Default::default(),
            clean: Default::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(Client::new(&shared, number).run());
        }
        Self { shared, clients }
    }

    /// Waits until every client has begun and ended a story, whatever came of it.
    pub async fn round(&self) {
        self.all("another story", ROUND, &self.shared.stories).await;
    }

    /// Waits until every client is served without a failure.
    pub async fn full_service(&self, within: Duration) {
        self.all("full service", within, &self.shared.clean).await;
    }

    /// Waits until each of `counts` has grown by enough.
    async fn all(&self, what: &str, within: Duration, counts: &[AtomicUsize; CLIENTS]) {
        for count in counts {
            count.store(0, Ordering::SeqCst);
        }
        // The first story may have begun before.
        let done = || counts.iter().all(|count| count.load(Ordering::SeqCst) >= CLEAN);
        poll::until_async(what, within, async || done().then_some(())).await;
    }

    /// Ends the traffic, looks for everything that was acknowledged, and reports on what was asked
    /// since `since`.
    pub async fn finish(self, since: Instant) -> Report {
        self.shared.over.store(true, Ordering::SeqCst);
        self.clients.join_all().await;
        let mut report = self.shared.report(since);
        let journal = std::mem::take(&mut *self.shared.journal());
        report.acknowledged = journal.count();
        report.lost = journal.lost(&Api::over(self.shared.edges.clone())).await;
        report
    }
}

impl Report {
    /// Requests that failed, in whatever way.
    pub fn failed(&self) -> usize {
        self.unavailable + self.limited + self.broken
    }

    /// Requests that were answered 503 soon enough after one of `begins`.
    pub fn unavailable_after(&self, begins: &[Instant], within: Duration) -> usize {
        let after =
            |at: &&Instant| begins.iter().any(|begin| (*begin..*begin + within).contains(*at));
        self.unavailable_at.iter().filter(after).count()
    }
}

impl Shared {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("no client failed")
    }

    fn wrong(&self) -> MutexGuard<'_, Vec<String>> {
        self.wrong.lock().expect("no client failed")
    }

    /// Everything but what was lost.
    fn report(&self, since: Instant) -> Report {
        let mut report = Report {
            rerouted: self.rerouted.load(Ordering::SeqCst),
            wrong: std::mem::take(&mut *self.wrong()),
            ..Report::default()
        };
        let records = self.records.lock().expect("no client failed");
        for record in records.iter().filter(|record| record.end >= since) {
            report.requests += 1;
            report.slowest = report.slowest.max(record.end - record.start);
            match record.outcome {
                Outcome::Answered => continue,
                Outcome::Unavailable => {
                    report.unavailable += 1;
                    report.unavailable_at.push(record.end);
                }
                Outcome::Limited => report.limited += 1,
                Outcome::Broken => report.broken += 1,
            }
            report.last_failure = report.last_failure.max(Some(record.end));
        }
        report
    }

    fn record(&self, start: Instant, outcome: Outcome) {
        let record = Record { start, end: Instant::now(), outcome };
        self.records.lock().expect("no client failed").push(record);
    }
}

impl Client {
    fn new(shared: &Arc<Shared>, number: usize) -> Self {
        let edges = shared.edges.iter().map(|edge| Api::new(edge)).collect();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { shared: Arc::clone(shared), number, edges, next: number, pace }
    }

    async fn run(mut self) {
        while !self.shared.over.load(Ordering::SeqCst) {
            let clean = self.story().await.is_some();
            let (stories, count) =
                (&self.shared.stories[self.number], &self.shared.clean[self.number]);
            stories.fetch_add(1, Ordering::SeqCst);
            if clean {
                count.fetch_add(1, Ordering::SeqCst);
            } else {
                count.store(0, Ordering::SeqCst);
            }
        }
    }

    /// A user's life. It ends early where a request fails.
    async fn story(&mut self) -> Option<()> {
        let name = unique("fault");
        let body =
            json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        self.write(|api| api.post("/auth/signup").json(&body), 201).await?;
        self.shared.journal().users.push(name.clone());
        let body = json!({"username": name, "password": "not this one"});
        self.write(|api| api.post("/auth/login").json(&body), 401).await?;
        let body = json!({"username": name, "password": PASSWORD});
        let login = self.write(|api| api.post("/auth/login").json(&body), 200).await?;
        let token = login.json()["access_token"].as_str().expect("a token").to_owned();
        self.shared.journal().tokens.push(Given::new(0, &name, &token));
        let token_at = self.position(&token);

        let kept = self.make_key(&token).await?;
        let revoked = self.make_key(&token).await?;
        for key in [&kept, &revoked] {
            self.check_key(key).await?;
        }
        for _ in 0..OTHERS {
            let other = self.some_key();
            self.check_key(&other).await?;
        }
        self.mark(&revoked, |key| key.asked = true);
        self.write(|api| api.delete(&format!("/keys/{}", revoked.id)).bearer(&token), 200).await?;
        self.mark(&revoked, |key| key.ended = true);
        for key in [&revoked, &kept, &revoked] {
            self.check_key(key).await?;
        }
        let list = self.read(|api| api.get("/keys").bearer(&token), &[200]).await?.json();
        let shown =
            |key: &Given| list.as_array()?.iter().find(|shown| shown["id"] == key.id).cloned();
        let is_revoked = |key: &Given| shown(key).map(|shown| shown["is_revoked"] == true);
        if is_revoked(&kept) != Some(false) || is_revoked(&revoked) != Some(true) {
            self.shared.wrong().push(format!("a list that is not up to date: {list}"));
        }
        self.read(|api| api.get("/protected/user").bearer(&token), &[200]).await?;
        self.shared.journal().tokens[token_at].asked = true;
        self.write(|api| api.post("/auth/logout").bearer(&token), 200).await?;
        self.shared.journal().tokens[token_at].ended = true;
        self.read(|api| api.get("/protected/user").bearer(&token), &[401]).await?;
        Some(())
    }

    async fn make_key(&mut self, token: &str) -> Option<Given> {
        let name = unique("key");
        let body = json!({"name": name});
        let call = |api: &Api| api.post("/keys/create").bearer(token).json(&body);
        let made: Value = self.write(call, 201).await?.json();
        let text = made["key"].as_str().expect("a key");
        let key = Given::new(made["id"].as_i64().expect("an id"), &name, text);
        self.shared.journal().keys.push(key.clone());
        Some(key)
    }

    /// Checks a key, which others may be revoking.
    async fn check_key(&mut self, key: &Given) -> Option<()> {
        let before = self.now(key);
        let call = |api: &Api| api.get("/protected/service").api_key(&key.text);
        let answer = self.read(call, &[200, 401]).await?;
        let after = self.now(key);
        let id = key.id;
        let wrong = match answer.status {
            200 if before.ended => Some(format!("key {id} is accepted after its revoke")),
            200 if answer.json()["service_name"] != key.name => {
                Some(format!("key {id} is taken for another: {}", answer.text()))
            }
            401 if !after.asked => Some(format!("key {id} is good and refused: {}", answer.text())),
            _ => None,
        };
        self.shared.wrong().extend(wrong);
        Some(())
    }

    async fn write(&mut self, call: impl Fn(&Api) -> Call, right: u16) -> Option<Answer> {
        self.ask(false, call, &[right]).await
    }

    async fn read(&mut self, call: impl Fn(&Api) -> Call, right: &[u16]) -> Option<Answer> {
        self.ask(true, call, right).await
    }

    /// Asks one edge, and the next where it takes no connection; a read also where it breaks one, as every
    /// proxy would.
    async fn ask(
        &mut self,
        again: bool,
        call: impl Fn(&Api) -> Call,
        right: &[u16],
    ) -> Option<Answer> {
        self.pace.tick().await;
        let start = Instant::now();
        for _ in 0..self.edges.len() {
            self.next += 1;
            let request = call(&self.edges[self.next % self.edges.len()]);
            match request.try_send().await {
                Ok(answer) => return self.judge(start, answer, right),
                Err(error) if error.is_connect() || (again && !error.is_timeout()) => {
                    self.shared.rerouted.fetch_add(1, Ordering::SeqCst);
                }
                Err(_broken) => break,
            }
        }
        self.shared.record(start, Outcome::Broken);
        None
    }

    fn judge(&self, start: Instant, answer: Answer, right: &[u16]) -> Option<Answer> {
        let outcome = match answer.status {
            503 => Outcome::Unavailable,
            429 => Outcome::Limited,
            _ => Outcome::Answered,
        };
        self.shared.record(start, outcome);
        if outcome != Outcome::Answered {
            return None;
        }
        if !right.contains(&answer.status) {
            let (status, text) = (answer.status, answer.text());
            self.shared.wrong().push(format!("{status} and not {right:?}: {text}"));
            return None;
        }
        Some(answer)
    }

    /// Some client's key, another one each time.
    fn some_key(&self) -> Given {
        let journal = self.shared.journal();
        let at = self.next.wrapping_mul(7_919) % journal.keys.len();
        journal.keys[at].clone()
    }

    fn now(&self, key: &Given) -> Given {
        let journal = self.shared.journal();
        journal.keys.iter().find(|given| given.id == key.id).expect("in the journal").clone()
    }

    fn mark(&self, key: &Given, change: impl FnOnce(&mut Given)) {
        let mut journal = self.shared.journal();
        change(journal.keys.iter_mut().find(|given| given.id == key.id).expect("in the journal"));
    }

    fn position(&self, token: &str) -> usize {
        let journal = self.shared.journal();
        journal.tokens.iter().position(|given| given.text == token).expect("in the journal")
    }
}
