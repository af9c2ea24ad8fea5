//! Bursts with a clock that the test moves.

use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Judges everything that is logged, at the time that the test sets.
#[derive(Clone)]
struct Judge {
    bursts: Arc<Bursts>,
    now: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Judge {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let verdict = self.bursts.judge(event, self.now.load(Ordering::Relaxed));
        if verdict == Verdict::Write {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Judge {
    fn new() -> Self {
        let bursts = Arc::new(Bursts::new());
        Self { bursts, now: Arc::default(), written: Arc::default() }
    }

    /// Does `work`, and says how many of its lines are written.
    fn written(&self, work: impl FnOnce()) -> u64 {
        let before = self.written.load(Ordering::Relaxed);
        tracing::subscriber::with_default(Registry::default().with(self.clone()), work);
        self.written.load(Ordering::Relaxed) - before
    }

    fn at(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// How many each count tells of that is due at `now`.
    fn told(&self, now: u64, all: bool) -> Vec<u64> {
        self.bursts.report(now, all).0.iter().map(|it| it.suppressed).collect()
    }
}

fn refuse(code: &'static str) {
    tracing::info!(code, status = 401, request_id = %"some id", "a request is refused");
}

#[test]
fn a_burst_is_a_few_lines_and_a_count_and_they_add_up() {
    let judge = Judge::new();
    let mut sum = 0;
    for second in 0..3 {
        for step in 0..100 {
            judge.at(second * SECOND + step * SECOND / 100);
            sum += judge.written(|| (0..10).for_each(|_| refuse("unauthenticated")));
        }
        assert_eq!(
            judge.told(second * SECOND + SECOND - 1, false),
            [0; 0],
            "not before it is over"
        );
        let told = judge.told((second + 1) * SECOND, false);
        assert_eq!(told, [1_000 - u64::from(FEW)]);
        sum += told.iter().sum::<u64>();
    }
    assert_eq!(sum, 3_000);
    assert_eq!(judge.bursts.left_out(), 3 * (1_000 - u64::from(FEW)));
    assert_eq!(judge.told(9 * SECOND, true), [0; 0], "each is told once");
}

#[test]
fn another_kind_has_its_own_few_and_a_value_of_the_client_makes_no_kind() {
    let judge = Judge::new();
    let written = judge.written(|| {
        (0..20).for_each(|_| refuse("unauthenticated"));
        (0..20).for_each(|_| refuse("invalid"));
        (0..20).for_each(|number| tracing::warn!(%number, "a request cannot be read"));
    });
    assert_eq!(written, 3 * u64::from(FEW));
    let (told, next) = judge.bursts.report(0, true);
    assert_eq!(next, None);
    let shown = |it: &LeftOut| (it.level, it.line.clone(), it.fields[0].clone());
    let refused =
        |code: &str| (Level::INFO, "a request is refused".to_owned(), Some(code.to_owned()));
    let told: Vec<_> = told.iter().map(shown).collect();
    let unread = (Level::WARN, "a request cannot be read".to_owned(), None);
    assert_eq!(told, [refused("unauthenticated"), refused("invalid"), unread]);
}

#[test]
fn what_is_asked_for_in_detail_and_an_audit_are_written_whole() {
    let judge = Judge::new();
    let written = judge.written(|| {
        for _ in 0..20 {
            tracing::debug!("a detail");
            tracing::info!(target: "audit", "an account was set");
        }
    });
    assert_eq!(written, 40);
}

#[test]
fn what_has_no_place_in_the_table_is_counted_together() {
    let (bursts, place) = (Bursts::new(), metadata());
    let count =
        |number: usize| bursts.count(place, u64::try_from(number).unwrap(), Reader::default, 0);
    let written = (0..MAX_KINDS + 20).filter(|number| count(*number) == Verdict::Write).count();
    assert_eq!(written, MAX_KINDS + usize::try_from(FEW).unwrap());
    let (told, _) = bursts.report(0, true);
    assert_eq!(told.iter().map(|it| it.suppressed).sum::<u64>(), 20 - u64::from(FEW));
    // A second later there is a place again.
    assert_eq!(bursts.count(place, u64::MAX, Reader::default, SECOND), Verdict::Write);
}

#[test]
fn a_count_says_when_it_is_due() {
    let judge = Judge::new();
    judge.at(7);
    judge.written(|| (0..6).for_each(|_| refuse("unauthenticated")));
    assert_eq!(judge.bursts.report(8, false), (Vec::new(), Some(SECOND + 7)));
    assert_eq!(judge.told(SECOND + 7, false), [1]);
    assert_eq!(judge.bursts.report(SECOND + 8, false).1, None);
}

/// Keeps the place of a line.
#[derive(Clone, Default)]
struct Keep(Arc<Mutex<Option<&'static Metadata<'static>>>>);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        *self.0.lock().unwrap() = Some(event.metadata());
    }
}

/// The place of some line.
fn metadata() -> &'static Metadata<'static> {
    let kept = Keep::default();
    let registry = Registry::default().with(kept.clone());
    tracing::subscriber::with_default(registry, || tracing::info!("some line"));
    let place = kept.0.lock().unwrap().take();
    place.expect("it was logged")
}
