//! Where the binary under test is, and how it is started in a clean environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Finished, Process, mortal};

/// Variables that the child inherits: everything else would make a run depend on the developer's shell.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LLVM_PROFILE_FILE"];

/// The `latchkey` binary of the same target folder as the running test.
pub fn path() -> PathBuf {
    named("latchkey")
}

/// A binary of the same target folder as the running test.
pub fn named(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let path = profile.join(name);
    assert!(path.is_file(), "{} is missing: run cargo build --workspace first", path.display());
    path
}

/// A command for the binary in `folder` with nothing inherited but the essentials, which may write no file
/// above `largest_file` bytes.
pub fn command(folder: &Path, largest_file: Option<u64>) -> Command {
    let Some(bytes) = largest_file else { return clean(mortal(path()), folder) };
    // Without its signal the limit is an error of the write, as on a full disk.
    let mut command = mortal("prlimit");
    command.arg(format!("--fsize={bytes}")).args(["env", "--ignore-signal=XFSZ"]).arg(path());
    clean(command, folder)
}

/// Gives `command` the working folder and the clean environment.
pub fn clean(mut command: Command, folder: &Path) -> Command {
    command.env_clear().current_dir(folder);
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs the binary in `folder` to its end.
pub fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = command(folder, None);
    command.args(arguments).envs(environment.iter().copied());
    Process::start(command).finish()
}
