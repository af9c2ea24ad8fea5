//! Runs Python scripts with the packages that `make setup` installs: clients in another language.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::Finished;
use crate::process::mortal;

/// Seconds that a script may take.
const BOUND: &str = "60";

/// Runs a script of the project, named from its root, with lines on its standard input; modules beside the
/// examples in the docs can be imported.
pub fn run(script: &str, environment: &[(&str, &str)], lines: &[&str]) -> Finished {
    let root = root();
    let python = root.join("target/tools/venv/bin/python");
    assert!(python.is_file(), "no Python with nats-py: run make setup");
    let mut command = mortal("timeout");
    command.arg(BOUND).arg(python).arg("-B").arg(root.join(script));
    command.env("PYTHONPATH", root.join("docs/examples")).envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start Python");
    let mut input = child.stdin.take().expect("piped");
    for line in lines {
        writeln!(input, "{line}").expect("Python reads its lines");
    }
    drop(input);
    let output = child.wait_with_output().expect("wait for Python");
    let text = |bytes| String::from_utf8(bytes).expect("Python writes UTF-8");
    Finished {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
