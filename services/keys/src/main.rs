//! `latchkey-keys`: the key service as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use latchkey_keys::cluster::{Arguments, run};
use latchkey_runtime::process;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::run("latchkey-keys", |environment| run(arguments, environment))
}
