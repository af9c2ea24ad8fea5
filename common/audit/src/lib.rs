//! The audit log: who did what, from where, and how it ended.
//!
//! An event is a row of `identity_audit_events` or `keys_audit_events` that is written **in the transaction of the
//! change** that it tells of: neither can be without the other. A repeat that changes nothing writes none.
//!
//! Who acts, and from where, is taken from the envelope's [`Caller`](latchkey_contract::Caller) alone. No event holds a
//! password, a token, a key or a hash of one, nor what somebody typed who failed to log in: people type passwords into
//! the wrong field.
//!
//! After that an event is **sealed**: it gets its place (`seq`) and a link of a chain of hashes. Places are in the order
//! of sealing, and an event is unsealed for about a second.

pub mod anchor;
pub mod chain;
pub mod command;
pub mod config;
pub mod keeper;
pub mod list;
pub mod operator;
pub mod pruner;
pub mod sealer;
pub mod shipper;
pub mod sink;
pub mod verify;

mod append;
mod event;
mod pruned;
mod record;
mod watch;

pub use append::{AuditSql, append, append_alone};
pub use event::{Action, Event, Outcome, Target};
pub use latchkey_store::PerEngine;
pub use list::ListSql;
pub use record::Record;
pub use watch::Halt;
