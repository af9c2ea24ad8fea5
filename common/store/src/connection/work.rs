//! Work on a connection, within its bound.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::statement::{Known, Watch};
use crate::{StoreError, error};

/// What a connection is in use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A single statement.
    Statement,
    /// A transaction, as far as it is known.
    Open,
    /// A transaction that is over.
    Committed,
}

/// Does `work` in time; `is_uncertain` stays set where its end is not seen.
pub(super) async fn see_to_its_end<T>(
    is_uncertain: &mut bool,
    until: Option<Instant>,
    (known, system): (&Known, &'static str),
    work: impl Future<Output = Result<T, sqlx::Error>> + Send,
) -> Result<T, StoreError> {
    let watch = Watch::begin(known, system);
    *is_uncertain = true;
    let done = match until {
        Some(until) => timeout_at(until, work).await,
        None => Ok(work.await),
    };
    let done = match done {
        Ok(done) => {
            *is_uncertain = false;
            done
        }
        Err(_late) => Err(error::late()),
    };
    Ok(done.inspect_err(|error| watch.fail(error))?)
}

/// In milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
