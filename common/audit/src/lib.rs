//! The audit log: who did what, from where, and how it ended.
//!
//! An event is a row of `identity_audit_events` or `keys_audit_events` that is written **in the transaction of the
//! change** that it tells of: neither can be without the other. A repeat that changes nothing writes none.
//!
//! Who acts, and from where, is taken from the envelope's [`Caller`](latchkey_contract::Caller) alone. No event holds a
//! password, a token, a key or a hash of one, nor what somebody typed who failed to log in: people type passwords into
//! the wrong field.

mod append;
mod event;

pub use append::{AuditSql, append, append_alone};
pub use event::{Action, Event, Outcome, Target};
