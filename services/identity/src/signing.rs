//! Keys that sign access tokens and that anybody can check them by: made, published, used, replaced and dropped by
//! themselves, and revoked by an operator.
//!
//! ```text
//! keeper -> plan (what is to be done, and when)
//!    \____> set (what a process knows) -> key, seal -> algorithm
//! requests (what is published, listed, revoked) -> keeper
//! ```

pub mod algorithm;
pub mod command;
pub mod keeper;
pub mod key;
pub mod plan;
pub mod set;

pub(crate) mod requests;
mod seal;
