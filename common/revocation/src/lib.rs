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
//! # The orders
//!
//! What is promised: a request that begins after an acknowledgement accepts nothing that the acknowledged change
//! took away. No lock is held around a whole change or a whole decision; these orders keep the promise.
//!
//! **The lease.** The reader that decides takes the clock, then the lease, then the entry. The writer that applies
//! a renewal takes the opposite order: changes first, the lease last. So whoever sees the new lease sees
//! the changes. The other way round a reader could take an old entry, stop, and find a new lease for it.
//!
//! **A change of one credential** holds its shard's lock once: the entry goes, the tombstone is set. A reply
//! is judged and kept under the same lock, so it is kept before the change (and goes with it) or judged after it.
//!
//! **A change of what many entries share** touches no entry. Its steps, each one touch of memory:
//!
//! 1. *raise the floor* to the oldest tombstone's revision where there is no room for another, or to the change's
//!    own where it is of everything;
//! 2. *evict* that tombstone: an entry that only it would speak against is below the floor already;
//! 3. *bury*: tombstone(tag) = the greater of the old and the change's revision;
//! 4. *count* up `applied`, by one for each change and not by revisions, which may arrive in any order;
//! 5. acknowledge.
//!
//! **A use of an entry** that was read at *f* compares its `seen` with `applied`: where they are equal, nothing was
//! applied since it was last looked at, and that is all. Otherwise:
//!
//! 1. *read* `applied`;
//! 2. *look up* each of its tags: a tombstone above *f* means that it is gone;
//! 3. *compare* *f* with the floor: below, it is gone;
//! 4. set `seen` to what was read **first**.
//!
//! A reply takes the same steps with its own *f*, and enters with that `seen`.
//!
//! Where would this break the promise? A use that begins after the acknowledgement (5) sees the count (4). If it saw
//! the entry as looked at (`seen` equal), then somebody's step 1 read that count, after (4), so after (3), and his
//! step 2 came later still: he found the tombstone, or found it evicted; and who finds it evicted (2 of a later
//! change) compares with a floor that had risen before (1 of it). Each neighbouring pair of steps is needed:
//! count before bury, and an entry is seen without its tombstone; acknowledge before count, and nobody looks;
//! evict before raise, or compare before look up, and the tombstone is gone between the two; read last, and a change
//! that came between look-up and reading passes for looked at; a revision in place of a count, and a change that
//! arrives after a later one is no change. The model tries every interleaving of these very steps, and each of
//! these mistakes.
//!
//! **Joining anew** empties every shard and closes it to replies before the tags begin anew, and opens it
//! afterwards: nothing that was read as another member is judged by the new tags.

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
mod tags;
mod tombstones;
mod verdict;

#[cfg(test)]
mod model;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod simulator;

pub use authority::MemberState;
pub use bounds::{Bounds, BoundsError, Moment};
pub use cache::{Cache, Capacity, Weigh};
pub use janitor::{Janitor, Upkeep};
pub use keeper::{Ask, Keeper, Next};
pub use revoker::{Aftermath, Commit, Receipt, Revocation, Step};
pub use verdict::{CacheableVerdict, Kept, Question, RejectReason, Reply};
