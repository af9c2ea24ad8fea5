//! The support library of the end-to-end tests: it starts the real binaries (a [`Stack`], a [`Cluster`]),
//! speaks HTTP to them ([`Api`], [`raw`]), forges tokens ([`forge`]) and keeps throw-away servers
//! ([`postgres`], [`nats`]). Or it has the whole system in this process, on a bus with faults
//! ([`miniature`]).
//!
//! Tests ask the stack for addresses and for restarts, never for a process or a file: the same suite
//! runs on a cluster with `STACK=cluster`. What is about the one process alone asks
//! [`Stack::is_cluster`] first.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a test's support fails by panicking, with the reason in the message"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests wait for real processes on the real clock, and name a new database for each test"
)]

pub mod account;
pub mod acting;
pub mod answer;
pub mod api;
pub mod binary;
pub mod cluster;
pub mod database;
pub mod folder;
pub mod forge;
pub mod lines;
pub mod miniature;
pub mod nats;
pub mod nemesis;
pub mod nginx;
pub mod otlp;
pub mod pgbouncer;
pub mod poll;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod python;
pub mod raw;
pub mod relay;
pub mod stack;
pub mod stories;
pub mod tap;
pub mod traffic;

pub use account::{Key, User, unique};
pub use acting::{
    ANYBODY, ending, order, replacing, rotation, session as session_of, user as acting_user,
};
pub use answer::Answer;
pub use api::{Api, Call};
pub use cluster::{Cluster, Service};
pub use folder::Folder;
pub use process::{Finished, Process};
pub use stack::{AUDIT_KEY, Config, SECRET, Stack};
