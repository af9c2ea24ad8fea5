//! `latchkey-identity`: the identity service as a process of its own.

use std::process::ExitCode;

use latchkey_identity::replica::Replica;

fn main() -> ExitCode {
    latchkey_service::run::<Replica>()
}
