//! `latchkey`: the whole system in one process.

use std::process::ExitCode;

use latchkey_standalone::Standalone;

fn main() -> ExitCode {
    latchkey_service::run::<Standalone>()
}
