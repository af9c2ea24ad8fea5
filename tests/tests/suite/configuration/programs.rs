//! The programs, the tables of each, and how one is run with settings.

use std::path::Path;

use e2e::process::mortal;
use e2e::{Finished, Process, SECRET, binary};
use latchkey_runtime::Table;
use latchkey_service::tables;

/// An address at which no server is asked for: nothing connects before the settings are good.
pub const POSTGRES: (&str, &str) = ("DATABASE_URL", "postgres://127.0.0.1:1/latchkey");
pub const KEY: (&str, &str) = ("SECRET_KEY", SECRET);
const ANY_PORT: (&str, &str) = ("LISTEN_ADDR", "127.0.0.1:0");

/// A program.
#[derive(Clone, Copy)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it reads.
    pub tables: fn() -> Vec<Table>,
    /// What it needs to be set.
    pub good: &'static [(&'static str, &'static str)],
}

pub const STANDALONE: Program = Program {
    name: "latchkey",
    tables: tables::<latchkey_standalone::Standalone>,
    good: &[ANY_PORT],
};
pub const IDENTITY: Program = Program {
    name: "latchkey-identity",
    tables: tables::<latchkey_identity::replica::Replica>,
    good: &[POSTGRES, KEY],
};
pub const KEYS: Program = Program {
    name: "latchkey-keys",
    tables: tables::<latchkey_keys::replica::Replica>,
    good: &[POSTGRES],
};
pub const EDGE: Program = Program {
    name: "latchkey-edge",
    tables: tables::<latchkey_edge::replica::Replica>,
    good: &[ANY_PORT],
};
pub const ALL: [Program; 4] = [STANDALONE, IDENTITY, KEYS, EDGE];

impl Program {
    /// Runs it in `folder` with what it needs and these settings on top, to its end.
    pub fn run(self, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = binary::clean(mortal(binary::named(self.name)), folder);
        let set = self.good.iter().chain(environment);
        command.args(arguments).envs(set.copied());
        Process::start(command).finish()
    }

    /// Fails unless the check and the start refuse these settings with the same line and exit code, and make nothing.
    /// What they say.
    #[track_caller]
    pub fn refused(self, folder: &Path, code: i32, environment: &[(&str, &str)]) -> String {
        let there = entries(folder);
        let [check, start] = [&["--check-config"][..], &[]].map(|arguments| {
            let end = self.run(folder, arguments, environment);
            assert_eq!(end.code, Some(code), "{}, {environment:?}: {end:?}", self.name);
            assert_eq!(end.stderr.trim().lines().count(), 1, "{environment:?}: {end:?}");
            assert!(!end.stderr.contains("panicked") && end.stdout.is_empty(), "{end:?}");
            end.stderr.trim().to_owned()
        });
        assert_eq!(check, start, "{}, {environment:?}", self.name);
        assert_eq!(entries(folder), there, "{}, {environment:?}", self.name);
        check
    }
}

/// What is in a folder.
fn entries(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries
}
