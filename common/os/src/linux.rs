//! Linux.

use std::fs;
use std::io;

use rustix::time::ClockId;

pub const NAME: &str = "linux";
/// `CLOCK_MONOTONIC` stops here while the machine is suspended; this one goes on.
pub const LEASE_CLOCK: ClockId = ClockId::Boottime;
/// The folder that has an entry for each open file.
pub const OPEN_FILES: &str = "/proc/self/fd";
/// Open files that the system allows where it sets no hard limit; nothing: as many as it has.
pub const MAX_OPEN_FILES: Option<u64> = None;

pub fn give_way(nice: i32) -> io::Result<()> {
    let thread = rustix::thread::gettid();
    Ok(rustix::process::setpriority_process(Some(thread), nice)?)
}

pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}
