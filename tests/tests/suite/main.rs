//! The end-to-end tests: one binary, a module per area, all over HTTP against the real `latchkey`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with the reason in the message"
)]
#![expect(clippy::disallowed_methods, reason = "tests make clients that run at once")]

/// The example of the client's documentation.
#[path = "../../../docs/examples/greet.rs"]
mod greet;

mod any;
mod audit;
mod audit_list;
mod away;
mod births;
mod bursts;
mod bus;
mod bus_permissions;
mod callers;
mod canary;
mod ceilings;
mod checks;
mod chores;
mod client;
mod cluster;
mod configuration;
mod connections;
mod cors;
mod database;
mod deploy;
mod description;
mod durability;
mod errors;
mod expiring;
mod expiry;
mod faults;
mod guessing;
mod headers;
mod insiders;
mod jwks;
mod key_changes;
mod key_filters;
mod key_idempotency;
mod key_leaks;
mod key_list;
mod key_lookup;
mod key_making;
mod key_renewal;
mod key_revoke_many;
mod key_rotation;
mod keys;
mod late;
mod limits;
mod lives;
mod login;
mod logout;
mod logs;
mod member;
mod messages;
mod metrics;
mod miniature;
mod mixed;
mod monitor;
mod names;
mod nemesis;
mod nginx;
mod oauth;
mod overload;
mod owners;
mod pages;
mod passwords;
mod postgres;
mod prefix;
mod protected;
mod readiness;
mod refresh;
mod refusals;
mod releases;
mod restore;
mod revocation;
mod scopes;
mod sessions;
mod shutdown;
mod signers;
mod signing;
mod signup;
mod smuggling;
mod startup;
mod storage;
mod store;
mod tasks;
mod telling;
mod tenants;
mod tokens;
mod tracing;
mod transactions;
mod usernames;
mod verify;
