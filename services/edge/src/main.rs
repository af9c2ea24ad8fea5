//! `latchkey-edge`: the public HTTP API as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use latchkey_edge::cluster::{Arguments, run};
use latchkey_runtime::process;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::run("latchkey-edge", |environment| run(arguments, environment))
}
