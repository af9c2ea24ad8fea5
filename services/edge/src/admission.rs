//! Who is let in when more is asked than can be done, and how long those wait who are turned away.
//!
//! What is dear (a password's hash, a new key, a list) waits here, in order and for a bounded time, before
//! anything of it is read: while it waits it costs nothing. A gate lets in as many as are answered soon. Those
//! who come back at once after a refusal have their next one later: a client that repeats without a pause
//! costs as little as one that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Method;
use latchkey_runtime::Clock;
use latchkey_runtime::metrics::register_gauge;
use metrics::{Counter, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::patterns::Patterns;

/// How long a request waits to be let in: each half of it at least, so that those who came at once are not
/// turned away at once, and come back at once.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long an answer that turns somebody away is held back, where there are many of them: likewise.
const HOLD: Duration = Duration::from_millis(900);
/// Refusals that are not held back: so many at once, and one more each time so long has passed (ns).
const REFUSALS_AT_ONCE: u64 = 100;
const REFUSAL_EACH: u64 = 20_000_000;
/// An answer comes soon, whatever its lane, if it takes no longer than so many times as long as one that had
/// its gate to itself, which counts up to a bound: a database that is far away is not an overload.
const TIMES_ALONE: u32 = 4;
const MAX_ALONE: Duration = Duration::from_millis(250);
/// Requests that a gate lets in at the same time: at first, at least and at most.
const FIRST_PLACES: usize = 64;
const MIN_PLACES: usize = 8;
const MAX_PLACES: usize = 2_048;
/// The pause between two lines of the log about requests that were turned away, in milliseconds.
const LOG_PAUSE: i64 = 10_000;

/// One kind of dear work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Logins, signups, changes of password: a hash each.
    Passwords,
    /// New keys: a write each.
    NewKeys,
    /// Lists of keys: up to a thousand rows each.
    Lists,
}

/// The gates, and what refusals wait for.
pub(crate) struct Admission {
    gates: [Gate; 3],
    /// The dear methods of each pattern, in their order.
    lanes: Box<[Vec<(Method, Lane)>]>,
    /// When all refusals so far would have been told, had each waited for its time (ns).
    refused_until: AtomicU64,
    clock: Clock,
    spread: Spread,
    unsaid: AtomicU64,
    said_at: AtomicI64,
}

#[derive(Clone)]
struct Gate {
    spread: Arc<Spread>,
    places: Arc<Semaphore>,
    max: Arc<AtomicUsize>,
    patience: Duration,
    hold: Duration,
    /// Where an answer takes no longer, one more may be let in: whoever answers has room.
    soon: Duration,
    /// How long the last good answer took that had the gate to itself, in nanoseconds.
    alone: Arc<AtomicU64>,
    turned_away: Counter,
}

/// Spreads what would happen at once.
#[derive(Default)]
struct Spread(AtomicU64);

/// A place among those who were let in.
pub(crate) struct Permit<'a> {
    gate: &'a Gate,
    held: OwnedSemaphorePermit,
    others_wait: bool,
    begun: Instant,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Passwords, Self::NewKeys, Self::Lists];

    fn name(self) -> &'static str {
        match self {
            Self::Passwords => "passwords",
            Self::NewKeys => "new_keys",
            Self::Lists => "lists",
        }
    }

    /// How long an answer takes where there is room: some hashes, some writes.
    fn soon(self) -> Duration {
        match self {
            Self::Passwords => Duration::from_millis(250),
            Self::NewKeys | Self::Lists => Duration::from_millis(25),
        }
    }
}

impl Admission {
    /// Open gates for the dear among the routes on `patterns`: path, method and lane of each.
    pub(crate) fn new(patterns: &Patterns, dear: &[(&str, &Method, Lane)], clock: Clock) -> Self {
        let lanes_of = |pattern: &&str| {
            let there = dear.iter().filter(|(path, ..)| path == pattern);
            there.map(|(_, method, lane)| ((*method).clone(), *lane)).collect()
        };
        Self {
            gates: Lane::ALL.map(Gate::new),
            lanes: patterns.all().iter().map(lanes_of).collect(),
            refused_until: AtomicU64::new(0),
            clock,
            spread: Spread::default(),
            unsaid: AtomicU64::new(0),
            said_at: AtomicI64::new(i64::MIN),
        }
    }

    /// The lane of a request on the route at this place, if it is dear. HEAD is as dear as GET, whose handler answers it.
    pub(crate) fn lane(&self, route: usize, method: &Method) -> Option<Lane> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.lanes.get(route)?.iter().find(|(dear, _)| dear == method).map(|(_, lane)| *lane)
    }

    /// Waits to be let in; `None` where that takes too long.
    pub(crate) async fn enter(&self, lane: Lane) -> Option<Permit<'_>> {
        let gate = &self.gates[lane as usize];
        let place = gate.enter().await;
        if place.is_none() {
            gate.turned_away.increment(1);
            self.warn_of_shedding();
        }
        place
    }

    /// Holds an answer back that turns somebody away, if there were many before it.
    pub(crate) async fn hold(&self) {
        if self.are_many() {
            tokio::time::sleep(self.spread.over(HOLD)).await;
        }
    }

    /// Counts a refusal; whether there were many of late.
    fn are_many(&self) -> bool {
        let now = self.clock.lease_nanos();
        let next = |until: u64| {
            let until = until.max(now) + REFUSAL_EACH;
            (until - now <= REFUSALS_AT_ONCE * REFUSAL_EACH).then_some(until)
        };
        self.refused_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_err()
    }

    /// Says now and then how many were turned away: a line for each would cost more than the refusal.
    fn warn_of_shedding(&self) {
        let unsaid = self.unsaid.fetch_add(1, Ordering::Relaxed) + 1;
        let (now, before) = (self.clock.unix_millis(), self.said_at.load(Ordering::Relaxed));
        if before.saturating_add(LOG_PAUSE) > now {
            return;
        }
        let claimed =
            self.said_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_ok() {
            self.unsaid.fetch_sub(unsaid, Ordering::Relaxed);
            tracing::warn!(
                requests = unsaid,
                "requests are turned away because there are more than can be handled"
            );
        }
    }
}

impl Spread {
    /// A part of `max`, from half of it on: the next one is far from the last.
    fn over(&self, max: Duration) -> Duration {
        // The golden ratio of 256, which falls into every part as often as into any other.
        let place = self.0.fetch_add(158, Ordering::Relaxed) % 256;
        max.mul_f64(0.5 + f64::from(u8::try_from(place).unwrap_or_default()) / 512.0)
    }
}

impl Gate {
    fn new(lane: Lane) -> Self {
        let name = lane.name();
        let turned_away = counter!("latchkey_http_turned_away_total", "lane" => name);
        // So that the first one is seen as a rise.
        turned_away.increment(0);
        let (places, max) =
            (Arc::new(Semaphore::new(FIRST_PLACES)), Arc::new(AtomicUsize::new(FIRST_PLACES)));
        let limit = gauge!("latchkey_http_places_limit", "lane" => name);
        let used = gauge!("latchkey_http_places_used", "lane" => name);
        let (free, all) = (Arc::clone(&places), Arc::clone(&max));
        register_gauge(name, move || {
            let all = all.load(Ordering::Relaxed);
            limit.set(f64::from(u32::try_from(all).unwrap_or(u32::MAX)));
            let taken = all.saturating_sub(free.available_permits());
            used.set(f64::from(u32::try_from(taken).unwrap_or(u32::MAX)));
        });
        Self {
            spread: Arc::default(),
            places,
            max,
            patience: PATIENCE,
            hold: HOLD,
            soon: lane.soon(),
            alone: Arc::default(),
            turned_away,
        }
    }

    fn soon(&self) -> Duration {
        let alone = Duration::from_nanos(self.alone.load(Ordering::Relaxed));
        self.soon.max(alone.saturating_mul(TIMES_ALONE))
    }

    async fn enter(&self) -> Option<Permit<'_>> {
        let place =
            |held, others_wait| Permit { gate: self, held, others_wait, begun: Instant::now() };
        if let Ok(held) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place(held, false));
        }
        let waited = tokio::time::timeout(
            self.spread.over(self.patience),
            Arc::clone(&self.places).acquire_owned(),
        )
        .await;
        // The semaphore is never closed.
        Some(place(waited.ok()?.ok()?, true))
    }
}

impl Permit<'_> {
    /// Leaves after an answer, good or not. Where that came soon and others wait, one more may come in.
    pub(crate) fn leave(self, is_good: bool) {
        let gate = self.gate;
        let max = gate.max.load(Ordering::Relaxed);
        if !self.others_wait {
            if is_good && gate.places.available_permits() + 1 == max {
                let took = self.begun.elapsed().min(MAX_ALONE).as_nanos();
                gate.alone.store(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        } else if self.begun.elapsed() <= gate.soon() && max < MAX_PLACES {
            gate.max.fetch_add(1, Ordering::Relaxed);
            gate.places.add_permits(1);
        }
    }

    /// Leaves after the service was too busy to answer: the place is gone, or empty for a while, so that
    /// whoever waits next is not turned away too.
    pub(crate) async fn leave_later(self) {
        let fewer = |max: usize| (max > MIN_PLACES).then(|| max - 1);
        let max = &self.gate.max;
        if max.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            self.held.forget();
        } else {
            tokio::time::sleep(self.gate.hold).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gate at which nobody waits.
    fn gate(soon: Duration) -> Gate {
        let zero = Duration::ZERO;
        Gate { patience: zero, hold: zero, soon, ..Gate::new(Lane::Passwords) }
    }

    async fn fill(gate: &Gate) -> Vec<Permit<'_>> {
        let mut inside = Vec::new();
        while let Some(place) = gate.enter().await {
            inside.push(place);
        }
        inside
    }

    /// How many there are after somebody who waited was answered.
    async fn most_after_a_wait(gate: &Gate) -> usize {
        let mut inside = fill(gate).await;
        let patient = Gate { patience: PATIENCE, ..gate.clone() };
        let waiting = async { patient.enter().await.unwrap().leave(true) };
        tokio::join!(waiting, async { inside.pop().unwrap().leave(true) });
        gate.max.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn as_many_as_there_are_places_are_let_in_and_whoever_waits_takes_the_next() {
        let gate = gate(Duration::ZERO);
        assert_eq!(fill(&gate).await.len(), FIRST_PLACES);
        assert_eq!(most_after_a_wait(&gate).await, FIRST_PLACES);
        assert_eq!(gate.places.available_permits(), FIRST_PLACES);
    }

    #[tokio::test]
    async fn a_gate_opens_while_answers_come_soon_and_closes_while_a_service_sheds() {
        let gate = gate(Duration::MAX);
        assert_eq!(most_after_a_wait(&gate).await, FIRST_PLACES + 1);
        assert_eq!(gate.places.available_permits(), FIRST_PLACES + 1);
        for _ in 0..2 * FIRST_PLACES {
            gate.enter().await.unwrap().leave_later().await;
        }
        assert_eq!(gate.max.load(Ordering::Relaxed), MIN_PLACES);
        assert_eq!(gate.places.available_permits(), MIN_PLACES);
    }

    #[tokio::test]
    async fn where_even_one_takes_long_that_is_soon() {
        let (gate, long) = (gate(Duration::from_millis(25)), Duration::from_millis(80));
        let enter = async |took: Duration| {
            let place = gate.enter().await.unwrap();
            Permit { begun: place.begun.checked_sub(took).unwrap(), ..place }
        };
        let (one, other) = (enter(long).await, enter(long).await);
        // It was one of two: that says nothing of how long one takes.
        one.leave(true);
        assert_eq!(gate.soon(), Duration::from_millis(25));
        other.leave(true);
        let soon = gate.soon();
        assert!(soon >= TIMES_ALONE * long);
        // Nor does a refusal, which may come at once or after the longest wait.
        enter(Duration::ZERO).await.leave(false);
        assert_eq!(gate.soon(), soon);
        enter(Duration::from_mins(1)).await.leave(true);
        assert_eq!(gate.soon(), TIMES_ALONE * MAX_ALONE);
    }

    #[test]
    fn what_would_happen_at_once_is_spread_evenly() {
        let (spread, max) = (Spread::default(), Duration::from_secs(1));
        let mut all: Vec<u128> = (0..128).map(|_| spread.over(max).as_millis()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 128);
        assert!(all[0] >= 500 && all[127] <= 1_000, "{all:?}");
    }

    #[test]
    fn the_first_refusals_are_told_at_once_and_many_are_held_back() {
        let patterns = ["/auth/login", "/keys", "/"].map(str::to_owned).into_iter();
        let dear = [
            ("/auth/login", &Method::POST, Lane::Passwords),
            ("/keys", &Method::GET, Lane::Lists),
            ("/keys", &Method::POST, Lane::NewKeys),
        ];
        let patterns = Patterns::new(patterns);
        let admission = Admission::new(&patterns, &dear, Clock::manual(0));
        assert!((0..REFUSALS_AT_ONCE).all(|_| !admission.are_many()));
        assert!((0..REFUSALS_AT_ONCE).any(|_| admission.are_many()));
        assert_eq!(admission.lane(0, &Method::POST), Some(Lane::Passwords));
        assert_eq!(admission.lane(0, &Method::GET), None);
        assert_eq!(admission.lane(1, &Method::GET), Some(Lane::Lists));
        assert_eq!(admission.lane(1, &Method::HEAD), Some(Lane::Lists));
        assert_eq!(admission.lane(0, &Method::HEAD), None);
        assert_eq!(admission.lane(1, &Method::POST), Some(Lane::NewKeys));
        assert_eq!(admission.lane(2, &Method::GET), None);
    }
}
