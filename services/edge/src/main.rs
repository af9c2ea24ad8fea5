//! `latchkey-edge`: the public HTTP API as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use latchkey_edge::cluster::{Arguments, run};
use latchkey_runtime::process;

fn main() -> ExitCode {
    process::run("latchkey-edge", run(Arguments::parse()))
}
