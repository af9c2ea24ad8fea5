//! `latchkey`: the whole system in one process.

use std::process::ExitCode;

use clap::Parser;
use latchkey_runtime::process;
use latchkey_standalone::{Arguments, run};

fn main() -> ExitCode {
    process::run("latchkey", run(Arguments::parse()))
}
