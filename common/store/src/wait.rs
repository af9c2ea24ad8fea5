//! The one wait for a database that is away.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits between attempts while the server is away: doubled each time, from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Tries `attempt` until the database is there, for at most `patience` where there is one. One line says
/// that it waits, and one that it need not any more.
///
/// # Errors
/// What `attempt` failed with, where that is not that the database is away, or patience is at its end.
pub async fn wait_while_away<T, E, F>(
    service: &'static str,
    patience: Option<Duration>,
    is_away: impl Fn(&E) -> bool + Send,
    mut attempt: impl FnMut() -> F + Send,
) -> Result<T, E>
where
    T: Send,
    E: fmt::Display + Send,
    F: Future<Output = Result<T, E>> + Send,
{
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut waits = false;
    loop {
        let done = attempt().await;
        let may_wait = patience.is_none_or(|patience| begun.elapsed() < patience);
        match done {
            Err(error) if may_wait && is_away(&error) => {
                if !waits {
                    tracing::warn!(service, cause = %error, "waiting for the database");
                }
                waits = true;
                sleep(pause).await;
                pause = LAST_PAUSE.min(pause * 2);
            }
            done => {
                if waits && done.is_ok() {
                    tracing::info!(service, "the database is available");
                }
                return done;
            }
        }
    }
}
