//! What a process says of itself, whatever it does: who it is, memory, files, processor time.

use std::fs;

use metrics::{counter, gauge};
use rustix::time::{ClockId, clock_gettime};

use super::at_scrape;
use crate::clock::Clock;

/// Sets what never changes, and has the rest read at each scrape.
pub(super) fn observe(service: &'static str, version: &'static str) {
    gauge!("latchkey_build_info", "service" => service, "version" => version).set(1.0);
    #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds is below 2^53")]
    let started = Clock::System.unix_millis() as f64 / 1_000.0;
    gauge!("process_start_time_seconds").set(started);
    // So that the first one is seen as a rise; the same with all counters of what should not happen.
    for reason in ["queue", "collector"] {
        counter!("latchkey_spans_dropped_total", "reason" => reason).increment(0);
    }
    let memory = gauge!("process_resident_memory_bytes");
    let files = gauge!("process_open_fds");
    let processor = counter!("process_cpu_seconds_total");
    at_scrape("process", move || {
        if let Some(bytes) = resident_bytes() {
            memory.set(bytes);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            files.set(f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX)));
        }
        let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
        processor.absolute(u64::try_from(used).unwrap_or_default());
    });
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kib) * 1_024.0)
}
