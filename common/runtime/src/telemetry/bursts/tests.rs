//! Bursts with a clock that the test moves.

use std::io;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, fmt};

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
        self.bursts.report(now, all.then_some(1)).0.iter().map(|it| it.suppressed).collect()
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
    let (told, next) = judge.bursts.report(0, Some(1));
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
    let (told, _) = bursts.report(0, Some(1));
    assert_eq!(told.iter().map(|it| it.suppressed).sum::<u64>(), 20 - u64::from(FEW));
    // A second later there is a place again.
    assert_eq!(bursts.count(place, u64::MAX, Reader::default, SECOND), Verdict::Write);
}

#[test]
fn a_count_says_when_it_is_due() {
    let judge = Judge::new();
    judge.at(7);
    judge.written(|| (0..6).for_each(|_| refuse("unauthenticated")));
    assert_eq!(judge.bursts.report(8, None), (Vec::new(), Some(SECOND + 7)));
    assert_eq!(judge.told(SECOND + 7, false), [1]);
    assert_eq!(judge.bursts.report(SECOND + 8, None).1, None);
}

#[test]
fn a_count_is_due_whatever_comes_after_it() {
    let judge = Judge::new();
    judge.written(|| (0..10).for_each(|_| refuse("unauthenticated")));
    judge.at(SECOND + 1);
    assert_eq!(judge.written(|| refuse("unauthenticated")), 1);
    assert_eq!(judge.told(SECOND + 2, false), [5]);
    judge.written(|| (0..7).for_each(|_| refuse("unauthenticated")));
    assert_eq!(judge.bursts.report(SECOND + 3, None), (Vec::new(), Some(2 * SECOND + 1)));
    assert_eq!(judge.told(2 * SECOND + 1, false), [3]);
}

#[test]
fn routes_places_of_a_panic_locks_and_libraries_are_kinds_of_their_own() {
    let judge = Judge::new();
    let few = |line: fn(&'static str)| {
        let written = judge.written(|| {
            (0..20).for_each(|_| line("one"));
            (0..20).for_each(|_| line("another"));
        });
        assert_eq!(written, 2 * u64::from(FEW));
    };
    few(|route| tracing::info!(code = "unauthenticated", route, "a request was refused"));
    few(|place| tracing::error!(location = Some(place.to_owned()), cause = "x", "a panic"));
    few(|what| tracing::error!(what, "a panic interrupted a change"));
    few(|target| tracing::warn!("log.target" = target, log.line = 7, "what a library says"));
    let told = judge.bursts.report(0, Some(1)).0;
    let shown = |it: &LeftOut| it.fields.iter().flatten().last().cloned();
    let both = [Some("one".to_owned()), Some("another".to_owned())];
    assert_eq!(told.iter().map(shown).collect::<Vec<_>>(), [(); 4].map(|()| both.clone()).concat());
}

#[test]
fn little_is_kept_of_what_is_long_and_a_count_finds_room_however_it_is_written() {
    let judge = Judge::new();
    let long = "\u{1}".repeat(10_000);
    let value = Some(&*long);
    let written = judge.written(|| {
        for _ in 0..20 {
            tracing::error!(
                code = value,
                reason = value,
                subject = value,
                authority = value,
                service = value,
                actor = value,
                task = value,
                chore = value,
                route = value,
                location = value,
                what = value,
                log.target = value,
                "{long}"
            );
            tracing::error!(code = "\u{20ac}".repeat(100), "x{}", "\u{20ac}".repeat(100));
        }
    });
    assert_eq!(written, 2 * u64::from(FEW));
    let mut told = judge.bursts.report(0, Some(1)).0;
    for one in &mut told {
        one.suppressed = u64::MAX;
        for line in [
            written_as(|to| fmt::layer().with_ansi(true).with_writer(to).boxed(), one),
            written_as(|to| fmt::layer().json().flatten_event(true).with_writer(to).boxed(), one),
        ] {
            // The id of a trace may stand behind it.
            assert!((500..MAX_LINE - 100).contains(&line), "{line}");
        }
    }
    let lengths = |one: &LeftOut| (one.line.len(), one.fields[0].as_ref().map(String::len));
    let lengths: Vec<_> = told.iter().map(lengths).collect();
    assert_eq!(lengths, [(MAX_MESSAGE, Some(MAX_WORD)), (256, Some(126))]);
}

#[test]
fn so_many_counts_are_told_at_once_as_find_room_and_the_others_after_them() {
    let (bursts, place) = (Bursts::new(), metadata());
    let kinds = u64::try_from(MAX_KINDS).unwrap();
    for kind in 0..kinds {
        (0..FEW + 2).for_each(|_| {
            bursts.count(place, kind, Reader::default, 0);
        });
    }
    for asked in [None, Some(1)] {
        let (mut told, mut passes) = (0, 0);
        loop {
            let (some, next) = bursts.report(SECOND, asked);
            assert!(some.len() <= MAX_TOLD);
            // Others come all the while.
            (0..FEW + 2).for_each(|_| {
                bursts.count(place, 0, Reader::default, SECOND);
            });
            (told, passes) = (told + some.len(), passes + 1);
            if next.is_none_or(|next| next > SECOND) {
                break;
            }
        }
        assert_eq!((told, passes), (MAX_KINDS, MAX_KINDS.div_ceil(MAX_TOLD)), "{asked:?}");
        for kind in 0..kinds {
            (0..FEW + 2).for_each(|_| {
                bursts.count(place, kind, Reader::default, 2 * SECOND);
            });
        }
    }
}

/// A place to write to.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes a count has that is written by such a layer.
fn written_as<L: Layer<Registry> + Send + Sync>(
    layer: impl FnOnce(Box<dyn Fn() -> Paper + Send + Sync>) -> L,
    count: &LeftOut,
) -> usize {
    let paper = Paper::default();
    let to = paper.clone();
    let layer = layer(Box::new(move || to.clone()));
    tracing::subscriber::with_default(Registry::default().with(layer), || count.log());
    paper.0.lock().unwrap().len()
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
