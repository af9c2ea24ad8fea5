//! `latchkey-edge`: the edge as a process of its own.

use std::process::ExitCode;

use latchkey_edge::replica::Replica;

fn main() -> ExitCode {
    latchkey_service::run::<Replica>()
}
