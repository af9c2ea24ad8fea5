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

/// What the system allows the binary.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Bytes of a file at most.
    pub largest_file: Option<u64>,
    /// Open files at most, at its start and ever.
    pub open_files: Option<(u64, u64)>,
}

/// A command for the binary in `folder` with nothing inherited but the essentials, within `limits`.
pub fn command(folder: &Path, limits: &Limits) -> Command {
    let files = limits.open_files.map(|(soft, hard)| format!("--nofile={soft}:{hard}"));
    let size = limits.largest_file.map(|bytes| format!("--fsize={bytes}:"));
    let options: Vec<String> = files.into_iter().chain(size).collect();
    if options.is_empty() {
        return clean(mortal(path()), folder);
    }
    // The soft limit of a size, which a test may lift again. Without its signal the limit of a file's size is an error of the write, as on a full disk.
    let mut command = mortal("prlimit");
    command.args(options).args(["env", "--ignore-signal=XFSZ"]).arg(path());
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
    let mut command = command(folder, &Limits::default());
    command.args(arguments).envs(environment.iter().copied());
    Process::start(command).finish()
}
