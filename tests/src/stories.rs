//! Users who go through every change of an account, each with several clients at the same time: logins with
//! the old password while it is changed, keys of an owner who is being deactivated, commands that are given up
//! and come late all the same. What they were told is judged by the oracle in [`judge`].
//!
//! The same stories are told to processes ([`crate::nemesis`]) and inside one ([`crate::miniature`]). What a
//! client can do is a row of [`acts::ACTS`].

pub mod acts;
pub mod front;
pub mod history;
pub mod judge;
mod key_acts;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::nemesis::Dice;
use crate::unique;
use front::{Ask, Front, Reply};
use history::{Credential, History, What};
pub use judge::{Finding, Kind, Verdict};

/// One in so many requests is given up early.
const GIVEN_UP: usize = 3;
/// How long such a request is waited for at least and at most, in milliseconds, and any other.
const IMPATIENT: (usize, usize) = (5, 300);
const PATIENT: Duration = Duration::from_secs(3);
/// Tokens and keys that are tried in the end: so many of each.
const LAST: usize = 15;
/// Findings of one kind that are shown in full.
const SHOWN: usize = 2;
/// Bound on an answer to a signup, and on one in the end, where there was none.
const RECOVERY: Duration = Duration::from_mins(2);
/// The pause between two of these.
const PAUSE: Duration = Duration::from_millis(50);

/// One user, and everything that happens to them.
pub struct Story {
    /// Its number: with the run's seed it says what its clients do.
    pub number: u64,
    front: Arc<Front>,
    username: String,
    history: Mutex<History>,
    passwords: AtomicU64,
    changing_password: AtomicBool,
    changing_activity: AtomicBool,
}

/// One client of a story.
pub struct Client {
    story: Arc<Story>,
    dice: Dice,
    name: String,
    asked: u64,
}

/// How a request is sent.
#[derive(Clone, Debug)]
pub struct Way {
    /// The edge that is asked.
    pub edge: usize,
    /// The request's id: with the run's seed it says what becomes of its messages.
    pub name: String,
    /// How long it is waited for.
    pub patience: Duration,
}

/// How many clients a story has, what each does, and how long they rest in between.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The clients.
    pub clients: usize,
    /// What each of them does before the story ends.
    pub acts: usize,
    /// How long it rests between two acts.
    pub rest: Duration,
}

/// What became of a number of stories.
#[derive(Debug, Default)]
pub struct Told {
    /// The stories.
    pub stories: usize,
    /// Changes that were answered, by kind.
    pub changes: BTreeMap<&'static str, usize>,
    /// Changes without an answer.
    pub unanswered: usize,
    /// Tokens and keys that were made.
    pub births: usize,
    /// Requests with a credential, and logins.
    pub uses: usize,
    /// Whatever the oracle says against them.
    pub findings: Vec<Finding>,
}

impl Story {
    /// Signs a new user up.
    pub async fn begin(front: &Arc<Front>, number: u64) -> Arc<Self> {
        let story = Self {
            number,
            front: Arc::clone(front),
            username: unique("story"),
            history: Mutex::new(History::begin(front.edges_go_on())),
            passwords: AtomicU64::new(1),
            changing_password: AtomicBool::new(false),
            changing_activity: AtomicBool::new(false),
        };
        let (username, password) = (&story.username, story.password(0));
        let email = format!("{username}@example.com");
        let body = json!({"email": email, "username": username, "password": password});
        let end = Instant::now() + RECOVERY;
        for attempt in (0..).take_while(|_| Instant::now() < end) {
            let name = format!("s{number}-signup-{attempt}");
            let way = Way { edge: attempt % front.edges(), name, patience: PATIENT };
            let reply = story.send(&way, &Ask::post("/auth/signup").with(&body)).await;
            match reply.map(|reply| reply.status) {
                // The first attempt may have been taken without an answer.
                Some(201 | 400) => return Arc::new(story),
                None | Some(429 | 503) => tokio::time::sleep(PAUSE).await,
                Some(other) => panic!("{other} to a signup"),
            }
        }
        panic!("story {number}: nobody can sign up");
    }

    /// Has its clients do whatever `seed` says, until each has done so much or the run is `over`; then looks at
    /// every credential once more, and judges.
    pub async fn tell(self: Arc<Self>, seed: u64, pace: Pace, over: &AtomicBool) -> Verdict {
        let clients = (0..pace.clients).map(|client| {
            let name = format!("s{}c{client}", self.number);
            let dice = Dice::of(seed ^ self.number.rotate_left(40) ^ (client as u64) << 56);
            Client { story: Arc::clone(&self), dice, name, asked: 0 }
        });
        join_all(clients.map(async |mut client| {
            for _ in 0..pace.acts {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                client.act().await;
                tokio::time::sleep(pace.rest).await;
            }
        }))
        .await;
        self.front.quiet().await;
        self.end(seed).await;
        self.front.date(&self.history).await;
        self.history().verdict(self.number)
    }

    /// Looks at everything while the user is shut out, after they were let in again, and where no ceiling holds them.
    async fn end(self: &Arc<Self>, seed: u64) {
        let dice = Dice::of(seed.wrapping_add(self.number));
        let name = format!("s{}end", self.number);
        let mut client = Client { story: Arc::clone(self), dice, name, asked: 0 };
        client.try_everything().await;
        for active in [false, true] {
            let end = Instant::now() + RECOVERY;
            while !self.set_active(&client.patient(), active).await && Instant::now() < end {
                tokio::time::sleep(PAUSE).await;
            }
            client.try_everything().await;
        }
        let end = Instant::now() + RECOVERY;
        while !self.set_held(&client.patient(), false).await && Instant::now() < end {
            tokio::time::sleep(PAUSE).await;
        }
        for _ in 0..2 {
            client.try_everything().await;
        }
    }

    /// The text of the password with this number.
    fn password(&self, number: usize) -> String {
        let mixed = Dice::of(self.number ^ (number as u64) << 32).roll();
        format!("pass {number} {mixed:016x}")
    }

    /// Sends a request; `None` where no answer came, or nobody waited for it.
    async fn send(&self, way: &Way, ask: &Ask<'_>) -> Option<Reply> {
        timeout(way.patience, self.front.send(way, ask)).await.ok().flatten()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no client failed")
    }
}

impl Client {
    /// One act, of those that there are.
    async fn act(&mut self) {
        let all: usize = acts::ACTS.iter().map(|act| act.weight).sum();
        let mut rolled = self.dice.below(all);
        for act in acts::ACTS {
            if rolled < act.weight {
                (act.run)(self).await;
                return;
            }
            rolled -= act.weight;
        }
    }

    /// Any edge, and now and then little patience.
    fn way(&mut self) -> Way {
        self.asked += 1;
        let (least, most) = IMPATIENT;
        let short = Duration::from_millis((least + self.dice.below(most - least)) as u64);
        let patience = if self.dice.below(GIVEN_UP) == 0 { short } else { PATIENT };
        let edge = self.dice.below(self.story.front.edges());
        Way { edge, name: format!("{}-{}", self.name, self.asked), patience }
    }

    /// A way that is waited for.
    fn patient(&mut self) -> Way {
        Way { patience: PATIENT, ..self.way() }
    }

    /// Tries the newest credentials, each on any edge, until each was answered.
    async fn try_everything(&mut self) {
        let credentials = self.story.history().newest(LAST);
        let ways: Vec<(Way, Credential)> =
            credentials.into_iter().map(|credential| (self.patient(), credential)).collect();
        join_all(ways.iter().map(|(way, one)| self.story.insist(way, *one))).await;
    }
}

impl Story {
    /// Uses a credential until there is an answer to go by.
    async fn insist(&self, way: &Way, credential: Credential) {
        let end = Instant::now() + RECOVERY;
        for attempt in (0_usize..).take_while(|_| Instant::now() < end) {
            let way = Way { name: format!("{}.{attempt}", way.name), ..way.clone() };
            if self.try_out(&way, credential).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.history().wrong.push(format!("{credential:?}: no answer at edge {}", way.edge));
    }

    /// Asks for a change and notes what came of it; whether it was answered.
    async fn change(&self, what: What, asking: impl Future<Output = bool>) -> bool {
        let number = self.history().asks(what);
        let answered = asking.await;
        self.history().ends(number, Instant::now(), answered);
        answered
    }
}

/// Tells stories, so many at a time, until `enough`; each has the next number, or the same where it is to be
/// told `again`.
pub async fn run(
    front: &Arc<Front>,
    seed: u64,
    (at_once, pace): (usize, Pace),
    (first, again): (u64, bool),
    enough: impl Fn(&Told) -> bool,
) -> Told {
    let (mut told, mut telling) = (Told::default(), JoinSet::new());
    let (mut next, over) = (first, Arc::new(AtomicBool::new(false)));
    loop {
        let is_enough = enough(&told);
        over.fetch_or(is_enough, Ordering::SeqCst);
        while !is_enough && telling.len() < at_once {
            let (front, over, number) = (Arc::clone(front), Arc::clone(&over), next);
            telling.spawn(async move {
                let story = Story::begin(&front, number).await;
                story.tell(seed, pace, &over).await
            });
            next += u64::from(!again);
        }
        tokio::select! {
            ended = telling.join_next() => match ended {
                Some(verdict) => told.add(verdict.expect("no story failed")),
                None => return told,
            },
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

impl Told {
    /// Adds what became of one more.
    pub fn add(&mut self, verdict: Verdict) {
        self.stories += 1;
        for (name, count) in verdict.changes {
            *self.changes.entry(name).or_default() += count;
        }
        self.unanswered += verdict.unanswered;
        self.births += verdict.births;
        self.uses += verdict.uses;
        self.findings.extend(verdict.findings);
    }

    /// Changes that were answered.
    pub fn answered(&self) -> usize {
        self.changes.values().sum()
    }

    /// How many credentials, or passwords, a kind of finding is about.
    pub fn count(&self, kind: Kind) -> usize {
        let of_kind = self.findings.iter().filter(|finding| finding.kind == kind);
        let mut about: Vec<_> = of_kind.map(|finding| (finding.story, &finding.about)).collect();
        about.sort_unstable();
        about.dedup();
        about.len()
    }

    /// Some findings of each kind, in full; empty where there is none at all.
    pub fn shown(&self) -> Vec<String> {
        let show = |finding: &Finding| {
            let Finding { story, kind, text, .. } = finding;
            format!("story {story}: {}: {text}", kind.name())
        };
        let of_kind = |kind| self.findings.iter().filter(move |finding| finding.kind == kind);
        Kind::ALL.into_iter().flat_map(|kind| of_kind(kind).take(SHOWN)).map(show).collect()
    }

    /// The whole as rows of a table.
    pub fn rows(&self) -> Vec<(String, usize)> {
        let mut rows = vec![("users who went through changes".to_owned(), self.stories)];
        rows.extend(self.changes.iter().map(|(name, count)| (format!("{name}, answered"), *count)));
        rows.push(("changes without an answer".to_owned(), self.unanswered));
        rows.push(("tokens and keys born".to_owned(), self.births));
        rows.push(("requests of these, and logins".to_owned(), self.uses));
        rows.extend(Kind::ALL.map(|kind| (kind.name().to_owned(), self.count(kind))));
        rows
    }
}
