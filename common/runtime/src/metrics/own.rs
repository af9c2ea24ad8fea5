//! What a process says of itself, whatever it does: who it is, memory, files, processor time.

use metrics::{counter, gauge};

use super::register_gauge;
use crate::clock::Clock;
use crate::telemetry::logs::left_out;

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
    let lines = left_out().map(|(reason, _)| {
        let counter = counter!("latchkey_log_lines_left_out_total", "reason" => reason);
        counter.increment(0);
        counter
    });
    let processor = counter!("process_cpu_seconds_total");
    // Not every system says: what it does not say is not shown.
    let memory = latchkey_os::resident_bytes().map(|_| gauge!("process_resident_memory_bytes"));
    let files = latchkey_os::open_files().map(|_| gauge!("process_open_fds"));
    register_gauge("process", move || {
        if let (Some(memory), Some(bytes)) = (&memory, latchkey_os::resident_bytes()) {
            #[expect(clippy::cast_precision_loss, reason = "a process has less than 2^53 bytes")]
            memory.set(bytes as f64);
        }
        if let (Some(files), Some(open)) = (&files, latchkey_os::open_files()) {
            files.set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
        }
        for (counter, (_, count)) in lines.iter().zip(left_out()) {
            counter.absolute(count);
        }
        processor.absolute(latchkey_os::process_time().as_secs());
    });
}
