//! The one guard around whatever answers a request, at once or in time: a panic there is an answer, 500, and ends
//! neither the connection nor the process. The panic itself is logged where it is raised (the runtime's hook).

use std::panic::{AssertUnwindSafe, catch_unwind};

use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::problem::Problem;

/// What `work` comes to, or what is made of the answer in its place.
pub(crate) fn at_once<T>(work: impl FnOnce() -> T, failed: impl FnOnce(Response) -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| failed(failure()))
}

/// The answer of `work`, or the one in its place.
pub(crate) fn in_time<F>(work: F) -> impl Future<Output = Response>
where
    F: Future<Output = Response>,
{
    let caught = AssertUnwindSafe(work).catch_unwind();
    caught.map(|answered| answered.unwrap_or_else(|_panic| failure()))
}

fn failure() -> Response {
    Problem::internal().into_response()
}
