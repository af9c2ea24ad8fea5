//! What becomes of each message, from a seed: the same request's message to the same subject fares the same,
//! whatever else goes on.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use latchkey_bus::faults::{Delivery, Faults, Sent};
use latchkey_contract::Rpc;
use latchkey_contract::keys::{IssueKey, RotateKey};

use crate::nemesis::Dice;

/// What is asked all the time fares better than commands, or nothing would ever be answered.
const OFTEN: [&str; 7] = ["verify", "join", "renew", "leave", "uses", "ready", "telling"];
/// How late a message is, at least and at most, in milliseconds: a slow link, and one that stood still.
const SLOW: (usize, usize) = (1, 60);
const VERY_SLOW: (usize, usize) = (150, 1_500);
/// A process stands still in one of so many of these spans, for a part of it.
const SPAN: Duration = Duration::from_secs(1);
const STILL_IN: usize = 8;
const STILL_MS: (usize, usize) = (50, 700);
/// No message is later than this, twice, and an answer to it once more.
pub const LATEST: Duration = Duration::from_millis(3_500);
/// Messages are dealt with in this many parts.
const PARTS: usize = 1_000;

/// How many of [`PARTS`] messages fare so.
struct Weather {
    slow: usize,
    very_slow: usize,
    lost: usize,
    twice: usize,
    answer_late: usize,
    answer_lost: usize,
}

const COMMANDS: Weather =
    Weather { slow: 100, very_slow: 80, lost: 10, twice: 150, answer_late: 40, answer_lost: 20 };
const QUESTIONS: Weather =
    Weather { slow: 20, very_slow: 3, lost: 3, twice: 10, answer_late: 5, answer_lost: 2 };
const PUBLICATIONS: Weather =
    Weather { slow: 60, very_slow: 8, lost: 15, twice: 20, answer_late: 0, answer_lost: 0 };

/// The plan.
pub struct Plan {
    seed: u64,
    began: Instant,
    on: AtomicBool,
    /// Answers to this subject are lost.
    mute: Mutex<Option<&'static str>>,
    /// How often a request was sent to a subject.
    sent: Mutex<HashMap<(String, &'static str), u64>>,
    /// The earliest moment at which the answer to an issue can have come.
    issued: Mutex<HashMap<String, Instant>>,
    published: AtomicUsize,
    counts: [AtomicUsize; FATES.len()],
}

/// What may become of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Slow,
    VerySlow,
    Lost,
    Twice,
    AnswerLate,
    AnswerLost,
}

const FATES: [(Fate, &str); 7] = [
    (Fate::Fine, "messages delivered at once"),
    (Fate::Slow, "messages late by up to 60 ms"),
    (Fate::VerySlow, "messages late by up to 1.5 s"),
    (Fate::Lost, "messages lost"),
    (Fate::Twice, "messages delivered twice"),
    (Fate::AnswerLate, "answers late by up to 1.5 s"),
    (Fate::AnswerLost, "answers lost"),
];

impl Plan {
    /// The plan of a seed. Until [`begin`](Self::begin) every message is delivered at once.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            began: Instant::now(),
            on: AtomicBool::new(false),
            mute: Mutex::default(),
            sent: Mutex::default(),
            issued: Mutex::default(),
            published: AtomicUsize::new(0),
            counts: Default::default(),
        }
    }

    /// From now on messages fare as the seed says.
    pub fn begin(&self) {
        self.on.store(true, Ordering::SeqCst);
    }

    /// From now on they are delivered at once.
    pub fn end(&self) {
        self.on.store(false, Ordering::SeqCst);
    }

    /// From now on answers to this subject are lost, or to none.
    pub fn mute(&self, subject: Option<&'static str>) {
        *self.mute.lock().unwrap_or_else(PoisonError::into_inner) = subject;
    }

    fn is_mute(&self, subject: &str) -> bool {
        *self.mute.lock().unwrap_or_else(PoisonError::into_inner) == Some(subject)
    }

    /// The earliest moment at which the answer to this issue can have come.
    pub fn issued(&self, request: &str) -> Option<Instant> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner).get(request).copied()
    }

    /// What became of the messages.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::SeqCst));
        FATES.iter().map(|(_, name)| *name).zip(counts).collect()
    }

    fn fate(&self, weather: &Weather, dice: &mut Dice) -> Fate {
        let mut rolled = dice.below(PARTS);
        let parts = [
            (Fate::Slow, weather.slow),
            (Fate::VerySlow, weather.very_slow),
            (Fate::Lost, weather.lost),
            (Fate::Twice, weather.twice),
            (Fate::AnswerLate, weather.answer_late),
            (Fate::AnswerLost, weather.answer_lost),
        ];
        let mut fate = Fate::Fine;
        for (other, part) in parts {
            if rolled < part {
                fate = other;
                break;
            }
            rolled -= part;
        }
        let place = FATES.iter().position(|(other, _)| *other == fate).unwrap_or_default();
        self.counts[place].fetch_add(1, Ordering::SeqCst);
        fate
    }

    /// How long a process still stands still: messages lie in it meanwhile.
    fn stands_still(&self, process: u32) -> Duration {
        let since = self.began.elapsed();
        let span = since.as_millis() / SPAN.as_millis();
        let within = since.saturating_sub(SPAN * u32::try_from(span).unwrap_or(u32::MAX));
        let mut dice = self.dice(&(process, span));
        if process == 0 || dice.below(STILL_IN) > 0 {
            return Duration::ZERO;
        }
        between(STILL_MS, &mut dice).saturating_sub(within)
    }

    fn dice(&self, about: &impl Hash) -> Dice {
        let mut hasher = DefaultHasher::new();
        (self.seed, about).hash(&mut hasher);
        Dice::of(hasher.finish())
    }

    /// The number of this sending of a request to a subject.
    fn count(&self, sent: &Sent<'_>) -> u64 {
        let key = (sent.request_id.as_str().to_owned(), sent.subject);
        let mut all = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(key).or_default();
        *count += 1;
        *count
    }

    fn note_issue(&self, sent: &Sent<'_>, deliveries: &[Delivery]) {
        let answered = deliveries.iter().filter_map(|copy| Some(copy.late + copy.answer?)).min();
        let makes_a_key = [IssueKey::SUBJECT, RotateKey::SUBJECT].contains(&sent.subject);
        let Some(answered) = answered.filter(|_| makes_a_key) else { return };
        let (request, at) = (sent.request_id.as_str().to_owned(), Instant::now() + answered);
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let first = issued.entry(request).or_insert(at);
        *first = at.min(*first);
    }
}

impl Faults for Plan {
    fn request(&self, sent: &Sent<'_>) -> Vec<Delivery> {
        let number = self.count(sent);
        let mut dice = self.dice(&(sent.request_id.as_str(), sent.subject, number));
        let to = dice.below(sent.to.len());
        let at_once = Delivery { to, late: Duration::ZERO, answer: Some(Duration::ZERO) };
        if self.is_mute(sent.subject) {
            return vec![Delivery { answer: None, ..at_once }];
        }
        if !self.on.load(Ordering::SeqCst) {
            return vec![at_once];
        }
        let is_often = OFTEN.iter().any(|end| sent.subject.ends_with(end));
        let weather = if is_often { QUESTIONS } else { COMMANDS };
        let mut copies = match self.fate(&weather, &mut dice) {
            Fate::Fine => vec![at_once],
            Fate::Slow => vec![Delivery { late: between(SLOW, &mut dice), ..at_once }],
            Fate::VerySlow => vec![Delivery { late: between(VERY_SLOW, &mut dice), ..at_once }],
            Fate::Lost => Vec::new(),
            Fate::Twice => {
                let late = between(VERY_SLOW, &mut dice);
                let other = dice.below(sent.to.len());
                vec![at_once, Delivery { to: other, late, ..at_once }]
            }
            Fate::AnswerLate => {
                vec![Delivery { answer: Some(between(VERY_SLOW, &mut dice)), ..at_once }]
            }
            Fate::AnswerLost => vec![Delivery { answer: None, ..at_once }],
        };
        for copy in &mut copies {
            copy.late = copy.late.max(self.stands_still(sent.to[copy.to]));
        }
        self.note_issue(sent, &copies);
        copies
    }

    fn publication(&self, subject: &str, from: u32, to: u32) -> Vec<Duration> {
        if !self.on.load(Ordering::SeqCst) {
            return vec![Duration::ZERO];
        }
        let number = self.published.fetch_add(1, Ordering::SeqCst);
        let mut dice = self.dice(&(subject, from, to, number));
        let still = self.stands_still(to);
        let mut copies = match self.fate(&PUBLICATIONS, &mut dice) {
            Fate::Slow => vec![between(SLOW, &mut dice)],
            Fate::VerySlow => vec![between(VERY_SLOW, &mut dice)],
            Fate::Lost => Vec::new(),
            Fate::Twice => vec![Duration::ZERO, between(VERY_SLOW, &mut dice)],
            Fate::Fine | Fate::AnswerLate | Fate::AnswerLost => vec![Duration::ZERO],
        };
        for late in &mut copies {
            *late = (*late).max(still);
        }
        copies
    }
}

/// A time between two numbers of milliseconds.
fn between((least, most): (usize, usize), dice: &mut Dice) -> Duration {
    Duration::from_millis((least + dice.below(most - least)) as u64)
}
