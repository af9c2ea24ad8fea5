//! What becomes of a connection that is not used any more.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use tokio::time::timeout;

use crate::driver::Driver;

/// How long a connection may take to be ready for the next one, or to roll back. A server that has
/// vanished never says that it has done so.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long closing a connection in good order may take; then it is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const ROLLBACK: &str = "ROLLBACK";

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Return,
    RollBack,
    Discard,
}

/// Gives a connection back to its pool or throws it away; whether it was given back.
pub(super) async fn release<D: Driver>(mut connection: PoolConnection<D>, end: End) -> bool {
    let is_clean = match end {
        End::Return => true,
        End::RollBack => {
            let rolled_back = timeout(RELEASE_TIMEOUT, D::control(&mut connection, ROLLBACK)).await;
            matches!(rolled_back, Ok(Ok(())))
        }
        End::Discard => false,
    };
    if is_clean {
        // The pool asks first whether it still answers, and closes one that does not.
        drop(timeout(RELEASE_TIMEOUT, connection.return_to_pool()).await);
    } else {
        // Its place in the pool is free when it is closed, and so is its lock.
        drop(timeout(CLOSE_TIMEOUT, connection.close()).await);
    }
    is_clean
}
