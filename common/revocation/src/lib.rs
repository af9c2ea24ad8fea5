//! The revocation protocol: once a revoke has returned, no edge accepts that credential again.
//!
//! Cores without I/O. Nothing here reads a clock, sends a message or touches a database; every method
//! takes the time and what was received, and says what to do. The actors of the edge and the services
//! drive them in production; a model checker, a simulator and schedule tests drive the same code here.
//!
//! | module | holds |
//! |---|---|
//! | [`bounds`] | lease, renewal and wait, and the relations between them |
//! | [`config`] | the variables, the same for every process |
//! | [`cache`] | what an edge remembers: looked up by every request, from many threads |
//! | [`keeper`] | the edge's membership and lease: join, renew, apply invalidations, acknowledge |
//! | [`authority`] | what an authority answers from one snapshot of its database |
//! | [`revoker`] | one revoke, from the commit to the receipt |
//! | [`janitor`] | members that are no more |
//!
//! The reader that decides takes three steps in this order: the clock, the lease, the entry. The writer
//! that applies a renewal takes the opposite order: entries out first, the lease last. So whoever sees
//! the new lease does not see the old entry.

pub mod authority;
pub mod bounds;
pub mod cache;
pub mod config;
pub mod janitor;
pub mod keeper;
pub mod revoker;

mod rules;
mod shard;
mod table;
mod tombstones;

#[cfg(test)]
mod model;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod simulator;

pub use authority::MemberState;
pub use bounds::{Bounds, BoundsError, Moment};
pub use cache::{Cache, Capacity, Found, Question, Reply, Ruling, Taken, Weigh, Why};
pub use janitor::{Janitor, Upkeep};
pub use keeper::{Ask, Keeper, Next};
pub use revoker::{Aftermath, Commit, Receipt, Revocation, Step};
