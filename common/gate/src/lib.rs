//! Whom a credential stands for, remembered under a lease: what the edge, and a client that remembers, decide
//! every request by.
//!
//! | module | holds |
//! |---|---|
//! | [`gate`] | the one way to know: a key's or a token's verdict |
//! | [`desk`] | one kind of credential: from memory where the lease allows it, by asking where not |
//! | [`lease`] | the membership at one authority: join, renew, apply invalidations, acknowledge |
//! | [`config`] | the variables of the memory |
//!
//! The rules are those of `latchkey-revocation`; here they get a bus, a clock and actors.

pub mod config;
pub mod desk;
pub mod gate;
pub mod lease;

mod ask;
mod check;
mod judged;
mod remembered;
mod usage;
mod verify;

use latchkey_bus::Bus;
use latchkey_runtime::{Clock, Entropy};

pub use config::MemoryConfig;
pub use gate::Gate;
pub use remembered::Remembered;

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
