//! Whom a credential stands for, remembered under a lease: what the edge, and a client that remembers, decide
//! every request by.
//!
//! | module | holds |
//! |---|---|
//! | [`gate`] | the one way to know: a credential's verdict |
//! | [`forms`] | from a text to the authority that is asked, to its question, and to the credential's name |
//! | [`requirement`] | what a request requires, judged after the look-up |
//! | `cached_verifier` | one form of credential: from memory where the lease allows it, by asking where not |
//! | `ask` | how an authority is asked: what has queued up, in one message |
//! | [`lease`] | the membership at one authority: join, renew, apply invalidations, acknowledge |
//! | `intern` | one value for all that were granted the same |
//! | `check` | now and then, whether memory is right |
//! | `usage` | when keys were used, counted and reported |
//! | `verify` | whole requests: the edge's `v1.verify`, and a client that remembers |
//! | [`config`] | the variables of the memory |
//!
//! The rules are those of `latchkey-revocation`; here they get a bus, a clock and actors.

pub mod config;
pub mod forms;
pub mod gate;
pub mod lease;
pub mod requirement;

mod ask;
mod cached_verifier;
mod check;
mod intern;
#[cfg(test)]
mod played;
mod remembered;
mod usage;
mod verification_metrics;
mod verify;

use latchkey_bus::Bus;
use latchkey_runtime::{Clock, Entropy};

pub use cached_verifier::{Looked, Name};
pub use config::MemoryConfig;
pub use forms::{CredentialText, Form};
pub use gate::Gate;
pub use remembered::Remembered;
pub use requirement::{Requirement, Unmet};

/// What the gate is given by the process it runs in.
#[derive(Clone)]
pub struct Deps {
    /// What the process is called in logs, and last in the subjects of its acknowledgements.
    pub name: &'static str,
    /// Where the authorities are asked.
    pub bus: Bus,
    /// What time it is.
    pub clock: Clock,
    /// Where random bytes come from.
    pub entropy: Entropy,
}
