//! What differs between systems, and nothing else: `linux.rs` for Linux, `portable.rs` for macOS. No other
//! file of the product asks which system it runs on.
//!
//! `--cfg latchkey_portable` takes the portable file on Linux, too: `make test` compiles and tests this crate
//! both ways.

#[cfg(any(not(target_os = "linux"), latchkey_portable))]
#[path = "portable.rs"]
mod system;
#[cfg(all(target_os = "linux", not(latchkey_portable)))]
#[path = "linux.rs"]
mod system;

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The file that was compiled: `linux` or `portable`.
pub const NAME: &str = system::NAME;

/// The time since some moment before the process began, by a clock that nobody sets and that goes on while the
/// machine is suspended.
#[must_use]
pub fn lease_clock() -> Duration {
    duration(clock_gettime(system::LEASE_CLOCK))
}

/// The processor time that this process has had so far.
#[must_use]
pub fn process_time() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// The processor time that the thread this runs on has had so far.
#[must_use]
pub fn thread_time() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// Has the thread this runs on give way to others, from now on, where the system knows such threads: from 0, not
/// at all, to 19, where it gets a seventieth of what each of them gets. It cannot be taken back.
///
/// # Errors
/// Where the system refuses.
pub fn give_way(nice: i32) -> io::Result<()> {
    system::give_way(nice)
}

/// Bytes of memory in use by this process, where the system says without being asked by a program of its own.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    system::resident_bytes()
}

/// Files and connections that this process has open, where the system says.
#[must_use]
pub fn open_files() -> Option<usize> {
    std::fs::read_dir(system::OPEN_FILES).ok().map(Iterator::count)
}

/// Looks whether this process may write a file, or make files in a folder. It touches nothing.
///
/// # Errors
/// What the system says where it may not.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let in_folder = if path.is_dir() { Access::EXEC_OK } else { Access::READ_OK };
    Ok(access(path, Access::WRITE_OK | in_folder)?)
}

/// Lets this process open as many files as the system will ever let it: the usual soft limit is made for
/// programs that cannot take more, and each connection is a file. Where the system does not, it stays as it is.
pub fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let max = match (limit.maximum, system::MAX_OPEN_FILES) {
        (Some(hard), Some(max)) => Some(hard.min(max)),
        (hard, max) => hard.or(max),
    };
    if max.is_none_or(|max| limit.current.is_some_and(|soft| soft < max)) {
        let raised = Rlimit { current: max, maximum: limit.maximum };
        // Whoever needs files asks for the limit afterwards.
        let _: rustix::io::Result<()> = setrlimit(Resource::Nofile, raised);
    }
}

/// Files and connections that this process may have open at the same time; `None` where there is no limit.
#[must_use]
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Every Rust file below a folder.
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        let files =
            files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
        folders.iter().flat_map(|folder| sources(folder)).chain(files).collect()
    }

    #[test]
    fn no_other_file_of_the_product_knows_the_system() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let of_a_system =
            ["\"/proc/", "\"/sys/", "Boottime", "gettid", "target_os", "os::linux", "rustix::"];
        let mut looked_at = 0;
        for part in ["common", "services"] {
            for file in sources(&root.join(part)) {
                if file.ends_with("os/src/lib.rs")
                    || file.ends_with("src/linux.rs")
                    || file.ends_with("src/portable.rs")
                    // A test may send a signal.
                    || file.ends_with("tests.rs")
                {
                    continue;
                }
                looked_at += 1;
                let text = fs::read_to_string(&file).unwrap();
                let found = of_a_system.iter().find(|word| text.contains(*word));
                assert_eq!(found, None, "{}", file.display());
            }
        }
        assert!(looked_at > 100, "{looked_at}");
    }

    #[test]
    fn the_file_of_the_system_or_the_one_that_was_asked_for_is_compiled() {
        let linux = cfg!(target_os = "linux") && !cfg!(latchkey_portable);
        assert_eq!(NAME, if linux { "linux" } else { "portable" });
    }

    #[test]
    fn clocks_go_on_and_never_back() {
        let work = |clock: fn() -> Duration| {
            let before = clock();
            let mut number = 0_u64;
            while clock() == before {
                number = std::hint::black_box(number.wrapping_add(1));
            }
            assert!(clock() > before);
        };
        work(lease_clock);
        work(process_time);
        work(thread_time);
    }

    #[test]
    fn a_thread_may_give_way() {
        give_way(1).unwrap();
    }

    #[test]
    fn the_limit_of_open_files_is_never_lowered() {
        let before = open_files_limit();
        raise_open_files_limit();
        let after = open_files_limit();
        assert!(after.is_none_or(|after| before.is_some_and(|before| before <= after)));
    }

    #[test]
    fn an_open_file_is_counted_where_the_system_says() {
        let before = open_files().unwrap();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_files().unwrap() >= before + 25);
        drop(files);
        assert!(resident_bytes().is_none_or(|bytes| bytes > 100_000));
        assert_eq!(resident_bytes().is_some(), NAME == "linux");
    }
}
