//! `make bench`: what the system costs, beside the floors it is measured against in the same run.
//! `cargo bench --workspace --bench figures -- NAME…` prints only the named parts.
//!
//! A figure that counts is CPU per good answer (user and system time of every process involved over
//! answers below 400) or a ratio against a floor, taken in turn. A bare rate depends on the machine.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement reads the real clock, and stops where something does not work"
)]

mod bus;
mod changes;
mod cluster;
mod fastapi;
mod floor;
mod leases;
mod load;
mod logins;
mod memory;
mod overload;
mod proc;
mod standalone;

use std::io::{Write, stderr, stdout};
use std::time::Duration;

/// Connections of the figures that are set beside a floor.
const CONNECTIONS: usize = 64;
/// Rounds, each with every candidate in turn.
const ROUNDS: usize = 3;
/// Bound on the start of a process.
const START: Duration = Duration::from_mins(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // cargo adds `--bench`.
    let named: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if named.first().is_some_and(|name| name == "floor") {
        return runtime.block_on(floor::serve());
    }
    let wanted = |name: &str| named.is_empty() || named.iter().any(|given| given == name);
    runtime.block_on(async {
        if wanted("standalone") {
            standalone::figures().await;
        }
        if wanted("logins") {
            logins::figures().await;
        }
        if wanted("overload") {
            overload::figures().await;
        }
        if named.iter().any(|given| given == "dummy") {
            logins::dummy().await;
        }
        if wanted("cluster") {
            cluster::figures().await;
        }
        if wanted("changes") {
            changes::figures().await;
        }
        if wanted("bus") {
            bus::figures().await;
        }
        if wanted("leases") {
            leases::figures().await;
        }
        if wanted("memory") {
            memory::figures().await;
        }
        if wanted("scale") {
            cluster::scale(&[1_000, 1_000_000]).await;
        }
        // Asked for by name alone: it takes minutes and gigabytes.
        if named.iter().any(|given| given == "scale-10m") {
            cluster::scale(&[1_000, 10_000_000]).await;
        }
    });
}

/// Prints a line of the figures.
fn say(line: &str) {
    let mut out = stdout().lock();
    writeln!(out, "{line}").unwrap();
}

/// Tells the process that started this one.
fn tell(line: &str) {
    let mut out = stderr().lock();
    writeln!(out, "{line}").unwrap();
}
