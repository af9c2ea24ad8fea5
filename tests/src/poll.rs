//! Waiting for a condition, with a bound: the only place where the tests sleep.

use std::thread;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(10);

/// Asks `condition` until it gives a value; fails with `what` after `within`.
pub fn until<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        thread::sleep(STEP);
    }
}

/// The same for a condition that has to be awaited.
pub async fn until_async<T, F>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> F + Send,
) -> T
where
    T: Send,
    F: Future<Output = Option<T>> + Send,
{
    let end = Instant::now() + within;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(STEP).await;
    }
}
