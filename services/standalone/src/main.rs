//! `latchkey`: the whole system in one process.

use std::process::ExitCode;

use clap::Parser;
use latchkey_runtime::process;
use latchkey_standalone::{Arguments, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::run("latchkey", |environment| run(arguments, environment))
}
