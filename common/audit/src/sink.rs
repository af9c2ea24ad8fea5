//! Where sealed events are written besides: to standard error or a file, by a thread of its own, so that no disk and no
//! collector that is slow keeps anybody waiting.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use latchkey_runtime::{ConfigError, Exit, StartError};
use tokio::sync::oneshot;

/// Jobs that wait for the thread at most: one of each kind.
const WAITING: usize = 2;
/// Whoever may read the file: the log holds addresses of people.
const MODE: u32 = 0o600;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error, between the lines of the log.
    Stderr,
    /// A file, which is made where it is not there.
    File(PathBuf),
}

/// The thread that writes.
pub(crate) struct Sink {
    jobs: SyncSender<Job>,
}

enum Job {
    Write { lines: String, done: oneshot::Sender<io::Result<()>> },
    Reopen,
}

/// What is written to.
enum Output {
    Stderr,
    File {
        path: PathBuf,
        file: File,
        /// What was written last may have no end.
        is_torn: bool,
    },
}

impl Sink {
    /// Opens the destination.
    ///
    /// # Errors
    /// [`StartError`] where the file cannot be opened.
    pub(crate) fn open(destination: &Destination) -> Result<Self, StartError> {
        let output = match destination {
            Destination::Stderr => Output::Stderr,
            Destination::File(path) => {
                let file = open(path).map_err(|error| unusable(path, &error))?;
                Output::File { path: path.clone(), file, is_torn: false }
            }
        };
        let (jobs, work) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("audit log".to_owned());
        let begun = thread.spawn(move || write(output, &work));
        begun.map_err(|error| {
            StartError::new(Exit::Internal, format!("no thread writes the audit log: {error}"))
        })?;
        Ok(Self { jobs })
    }

    /// Has whole lines written; `None` where too much waits. The answer comes when they are on the disk, where there is
    /// one.
    pub(crate) fn write(&self, lines: String) -> Option<oneshot::Receiver<io::Result<()>>> {
        let (done, written) = oneshot::channel();
        self.put(Job::Write { lines, done }).then_some(written)
    }

    /// Has the file opened anew by its name; whether that waits to be done.
    pub(crate) fn reopen(&self) -> bool {
        self.put(Job::Reopen)
    }

    fn put(&self, job: Job) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the thread that writes the audit log has ended");
                false
            }
        }
    }
}

impl Output {
    fn write(&mut self, lines: &str) -> io::Result<()> {
        match self {
            // Whole lines: whoever else writes there waits.
            Self::Stderr => io::stderr().lock().write_all(lines.as_bytes()),
            Self::File { file, is_torn, .. } => {
                let begin = if *is_torn { "\n" } else { "" };
                *is_torn = true;
                file.write_all([begin, lines].concat().as_bytes())?;
                *is_torn = false;
                file.sync_data()
            }
        }
    }

    /// Whoever moved the file away wants another one in its place.
    fn reopen(&mut self) {
        let Self::File { path, file, is_torn } = self else { return };
        match open(path) {
            Ok(anew) => (*file, *is_torn) = (anew, false),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "the audit log cannot be opened anew: the file that is open is gone on with");
            }
        }
    }
}

/// Writes until nobody has anything to write any more.
fn write(mut output: Output, work: &Receiver<Job>) {
    for job in work {
        match job {
            Job::Reopen => output.reopen(),
            // Whoever does not wait any more has it written again.
            Job::Write { lines, done } => drop(done.send(output.write(&lines))),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(MODE).open(path)
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    let (name, fault) =
        ("AUDIT_LOG".to_owned(), format!("{} cannot be opened: {error}", path.display()));
    let accepted = "a file that can be written".to_owned();
    ConfigError::Value { name, fault, accepted }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_written_one_behind_the_other_and_into_another_file_where_that_was_moved_away()
     {
        let folder = std::env::temp_dir().join(format!("latchkey-sink-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("audit"), folder.join("audit.1"));
        let sink = Sink::open(&Destination::File(path.clone())).unwrap();
        for line in ["one\n", "two\n"] {
            sink.write(line.to_owned()).unwrap().await.unwrap().unwrap();
        }
        std::fs::rename(&path, &moved).unwrap();
        assert!(sink.reopen());
        sink.write("three\n".to_owned()).unwrap().await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(Sink::open(&Destination::File(path)).is_err(), "the folder is not made");
    }
}
