//! The end-to-end tests: one binary, a module per area, all over HTTP against the real `latchkey`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with the reason in the message"
)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make clients that run at once, and change tables whose names they look up"
)]

mod any;
mod bus;
mod bus_permissions;
mod canary;
mod checks;
mod client;
mod cluster;
mod configuration;
mod cors;
mod database;
mod deploy;
mod durability;
mod errors;
mod expiry;
mod faults;
mod headers;
mod key_list;
mod keys;
mod limits;
mod login;
mod logout;
mod logs;
mod member;
mod metrics;
mod monitor;
mod nemesis;
mod overload;
mod pages;
mod passwords;
mod postgres;
mod protected;
mod revocation;
mod shutdown;
mod signup;
mod smuggling;
mod startup;
mod storage;
mod store;
mod tenants;
mod tokens;
mod tracing;
mod usernames;
mod verify;
