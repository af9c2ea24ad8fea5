//! `latchkey-identity`: the identity service as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use latchkey_identity::cluster::{Arguments, run};
use latchkey_runtime::process;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::run("latchkey-identity", |environment| run(arguments, environment))
}
