//! `latchkey-keys`: the key service as a process of its own.

use std::process::ExitCode;

use latchkey_keys::replica::Replica;

fn main() -> ExitCode {
    latchkey_service::run::<Replica>()
}
