//! Batches form while one is under way; a failed or panicking batch harms nobody else.

use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::supervisor::Root;
use crate::telemetry;

/// Doubles numbers, one batch for each permit, and remembers the batches' sizes.
struct Double<const IN_FLIGHT: usize> {
    permits: Arc<Semaphore>,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl<const IN_FLIGHT: usize> Work for Double<IN_FLIGHT> {
    type Item = u64;
    type Answer = u64;
    type Error = &'static str;
    const MAX_WEIGHT: usize = 4;
    const IN_FLIGHT: usize = IN_FLIGHT;
    const MAX_WAITING: usize = 8;

    fn weight(_: &u64) -> usize {
        1
    }

    async fn answer(&self, items: Vec<u64>) -> Result<Vec<u64>, &'static str> {
        self.permits.acquire().await.unwrap().forget();
        self.sizes.lock().unwrap().push(items.len());
        match items.first() {
            Some(0) => panic!("asked to"),
            Some(1) => Err("odd one out"),
            Some(&HANGS) => std::future::pending().await,
            _ => Ok(items.into_iter().map(|item| 2 * item).collect()),
        }
    }
}

/// A batch that begins with this never ends.
const HANGS: u64 = u64::MAX;

struct Bench<const IN_FLIGHT: usize> {
    asker: BatchClient<Double<IN_FLIGHT>>,
    permits: Arc<Semaphore>,
    sizes: Arc<Mutex<Vec<usize>>>,
    running: crate::supervisor::Running,
}

async fn bench<const IN_FLIGHT: usize>() -> Bench<IN_FLIGHT> {
    let (permits, sizes) = (Arc::new(Semaphore::new(0)), Arc::default());
    let work = Double { permits: Arc::clone(&permits), sizes: Arc::clone(&sizes) };
    let (asker, child) = BatchClient::new("double", work);
    let running = Root::start(vec![child]).await.unwrap();
    Bench { asker, permits, sizes, running }
}

impl<const IN_FLIGHT: usize> Bench<IN_FLIGHT> {
    /// Asks in the background and returns when the question is counted as waiting.
    async fn ask(&self, item: u64) -> tokio::task::JoinHandle<Result<u64, AskError<&'static str>>> {
        let before = self.asker.waiting.load(Ordering::Relaxed);
        let asker = self.asker.clone();
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        let task = tokio::spawn(async move { asker.ask(item).await });
        while self.asker.waiting.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        task
    }
}

#[tokio::test]
async fn what_queued_up_is_answered_together_and_never_above_the_bound() {
    let bench = bench::<1>().await;
    let mut asked = Vec::new();
    for item in 2..10 {
        asked.push(bench.ask(item).await);
    }
    assert_eq!(bench.asker.ask(10).await, Err(AskError::Overloaded));
    bench.permits.add_permits(8);
    for (item, answer) in (2..10).zip(asked) {
        assert_eq!(answer.await.unwrap(), Ok(2 * item));
    }
    let sizes = bench.sizes.lock().unwrap().clone();
    assert!(sizes.iter().all(|size| *size <= 4), "{sizes:?}");
    assert!(sizes.len() <= 4, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 8);
}

#[tokio::test]
async fn whoever_is_about_to_ask_gets_into_the_batch() {
    let bench = bench::<1>().await;
    bench.permits.add_permits(4);
    let ask_after = |passes: u64| {
        let asker = bench.asker.clone();
        async move {
            for _ in 0..passes {
                tokio::task::yield_now().await;
            }
            asker.ask(2 + passes).await
        }
    };
    let answers = tokio::join!(ask_after(0), ask_after(1), ask_after(2), ask_after(3));
    assert_eq!(answers, (Ok(4), Ok(6), Ok(8), Ok(10)));
    assert_eq!(*bench.sizes.lock().unwrap(), [4]);
}

#[tokio::test]
async fn who_asks_one_that_has_ended_is_told_so() {
    let bench = bench::<1>().await;
    bench.running.stop().await;
    for _ in 0..2 {
        assert_eq!(bench.asker.ask(2).await, Err(AskError::Gone));
    }
}

#[test]
fn a_batcher_that_ends_late_does_not_close_what_the_next_one_has_opened() {
    let queue: Arc<Queue<Double<1>>> = Arc::default();
    let waiting = Arc::default();
    let push = || {
        let (reply, answer) = oneshot::channel();
        let permit = Permit::take(&waiting, 8).unwrap();
        let pushed = queue.push(2, Waiter { reply, span: Parent::current(), _permit: permit });
        (pushed, answer)
    };
    assert!(matches!(push().0, Pushed::Closed));
    let first = queue.open();
    let (_, mut dropped) = push();
    let second = queue.open();
    assert!(dropped.try_recv().is_err());
    drop(first);
    let (pushed, _answer) = push();
    assert!(matches!(pushed, Pushed::First));
    drop(second);
    assert!(matches!(push().0, Pushed::Closed));
}

#[tokio::test]
async fn a_question_that_was_given_up_keeps_its_place_until_it_is_taken() {
    let bench = bench::<1>().await;
    bench.permits.add_permits(1);
    let hanging = bench.ask(HANGS).await;
    while bench.sizes.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    for item in 3..10 {
        let given_up = bench.ask(item).await;
        given_up.abort();
        assert!(given_up.await.is_err());
    }
    assert_eq!(bench.asker.ask(10).await, Err(AskError::Overloaded));
    hanging.abort();
}

#[tokio::test]
async fn a_failed_batch_is_told_to_everyone_in_it_and_the_next_one_works() {
    let bench = bench::<1>().await;
    bench.permits.add_permits(2);
    assert_eq!(bench.asker.ask(1).await, Err(AskError::Failed("odd one out")));
    assert_eq!(bench.asker.ask(4).await, Ok(8));
}

#[tokio::test]
async fn a_batch_that_hangs_or_panics_holds_up_no_other() {
    let bench = bench::<2>().await;
    bench.permits.add_permits(100);
    let hanging = bench.ask(HANGS).await;
    // Every question after the first can only go by the other worker.
    while bench.sizes.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    for item in 2..20 {
        assert_eq!(bench.asker.ask(item).await, Ok(2 * item));
        assert_eq!(bench.asker.ask(0).await, Err(AskError::Gone));
        assert_eq!(bench.asker.ask(1).await, Err(AskError::Failed("odd one out")));
    }
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn as_many_batches_are_under_way_as_allowed_and_the_rest_queues_up() {
    let bench = bench::<2>().await;
    let mut asked = Vec::new();
    for item in 2..10 {
        asked.push(bench.ask(item).await);
    }
    bench.permits.add_permits(8);
    for (item, answer) in (2..10).zip(asked) {
        assert_eq!(answer.await.unwrap(), Ok(2 * item));
    }
    let sizes = bench.sizes.lock().unwrap().clone();
    assert!(sizes.len() <= 4 && sizes.iter().all(|size| *size <= 4), "{sizes:?}");
}

#[tokio::test]
async fn a_panic_ends_one_batch_and_the_actor_is_started_again() {
    let bench = bench::<1>().await;
    bench.permits.add_permits(100);
    assert_eq!(bench.asker.ask(0).await, Err(AskError::Gone));
    let mut answer = bench.asker.ask(4).await;
    while answer == Err(AskError::Gone) {
        tokio::task::yield_now().await;
        answer = bench.asker.ask(4).await;
    }
    assert_eq!(answer, Ok(8));
}

#[tokio::test]
async fn stopping_answers_what_is_in_hand() {
    let bench = bench::<1>().await;
    let first = bench.ask(2).await;
    let second = bench.ask(3).await;
    bench.permits.add_permits(8);
    bench.running.stop().await;
    assert_eq!(first.await.unwrap(), Ok(4));
    assert_eq!(second.await.unwrap(), Ok(6));
}

#[tokio::test]
async fn a_service_that_fails_too_often_ends() {
    let mut bench = bench::<1>().await;
    bench.permits.add_permits(10_000);
    let asker = bench.asker.clone();
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    let asking = tokio::spawn(async move {
        loop {
            let _ = asker.ask(0).await;
            tokio::task::yield_now().await;
        }
    });
    bench.running.failed().await;
    asking.abort();
    assert!(bench.sizes.lock().unwrap().len() <= crate::supervisor::BUDGET + 1);
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// One thread, so that everything is logged where the test listens.
#[tokio::test(flavor = "current_thread")]
async fn a_panic_is_logged_once_with_its_cause_and_so_is_the_restart() {
    let logged = Logged::default();
    let writer = logged.clone();
    let logs = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    // While there is one subscriber only, a thread without one that is the first at a log line switches
    // that line off for all (tracing-core 0.1). Other tests are such threads.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _here = tracing::subscriber::set_default(logs.finish());
    telemetry::log_panics();
    let bench = bench::<1>().await;
    bench.permits.add_permits(100);
    assert_eq!(bench.asker.ask(0).await, Err(AskError::Gone));
    while bench.asker.ask(4).await != Ok(8) {
        tokio::task::yield_now().await;
    }
    // The root learns of it after the worker has begun again.
    let text = || String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let told = async {
        while !text().contains("started again") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), told).await.expect("the restart is logged");
    let text = text();
    assert_eq!(text.matches("asked to").count(), 1, "{text}");
    assert_eq!(text.matches("an actor failed and is started again").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}
