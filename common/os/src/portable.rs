//! macOS, and Linux where it is asked for: what POSIX and `/dev` give.

use std::io;

use rustix::time::ClockId;

pub const NAME: &str = "portable";
/// On macOS this clock goes on while the machine is asleep. (On Linux it does not: there this file is for tests.)
pub const LEASE_CLOCK: ClockId = ClockId::Monotonic;
/// The folder that has an entry for each open file.
pub const OPEN_FILES: &str = "/dev/fd";
/// More open files than this (`OPEN_MAX`) macOS refuses, whatever the hard limit says.
pub const MAX_OPEN_FILES: Option<u64> = Some(10_240);

/// A priority belongs to a process here and not to a thread: it stays as it is.
#[expect(clippy::unnecessary_wraps, reason = "another system may refuse")]
pub fn give_way(_nice: i32) -> io::Result<()> {
    Ok(())
}

/// Nothing says so without calls that are not safe code.
pub fn resident_bytes() -> Option<u64> {
    None
}
