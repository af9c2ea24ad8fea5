//! Temporary folders, all under one folder per test process, which a later run removes if this one is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = "latchkey-e2e-";

/// A folder that is removed with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty folder, readable by every user (Postgres runs as another one).
    #[expect(clippy::new_without_default, reason = "it makes a folder: a default would hide that")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = root().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).expect("make a temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("open it to read");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path inside it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        sweep();
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).expect("make the folder for temporary folders");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("open it to read");
        path
    })
}

/// Removes what runs that were killed have left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
