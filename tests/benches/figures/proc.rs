//! What the kernel says of a process and its children.

use std::fs;

pub use e2e::process::{peak_mib, resident_mib};

/// Linux counts a process's time in hundredths of a second, on every architecture (`proc(5)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process and its children so far, also of those that have ended.
pub fn cpu_seconds(pid: u32) -> f64 {
    let own = fields(pid).map_or(0.0, |fields| fields[11..15].iter().sum());
    own / TICKS_PER_SECOND + children(pid).into_iter().map(cpu_seconds).sum::<f64>()
}

/// The numbers behind the name in `/proc/PID/stat`; a process that has just ended has none.
fn fields(pid: u32) -> Option<Vec<f64>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let numbers = stat.rsplit(')').next()?.split_whitespace();
    Some(numbers.map(|field| field.parse().unwrap_or_default()).collect())
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}
