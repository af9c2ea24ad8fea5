//! A child process that ends with the test process, and the lines it has written.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll;

/// Bound on waiting for a process to end.
const END: Duration = Duration::from_mins(1);

/// A running child and its output so far.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// Memory that a process has in use, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmRSS:")
}

/// The most that it had in use at any time.
pub fn peak_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmHWM:")
}

fn memory_mib(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number of kB");
    kib / 1_024.0
}

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All it wrote on standard output.
    pub stdout: String,
    /// All it wrote on standard error.
    pub stderr: String,
}

#[derive(Debug)]
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`, which [`mortal`] has made, with its output read into memory.
    pub fn start(command: Command) -> Self {
        Self::start_given(command, "")
    }

    /// The same with this on its standard input: no more than a pipe holds.
    pub fn start_given(mut command: Command, input: &str) -> Self {
        let stdin = if input.is_empty() { Stdio::null() } else { given(input) };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = format!("{command:?}");
        let mut child =
            spawn(command).unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let stdout = Output::of(child.stdout.take().expect("piped"));
        let stderr = Output::of(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    /// Starts `command` likewise, but for its standard error: that goes to `stderr`, which is the test's to read.
    pub fn start_unread(mut command: Command, stderr: impl Into<Stdio>) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let shown = format!("{command:?}");
        let mut child =
            spawn(command).unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let stdout = Output::of(child.stdout.take().expect("piped"));
        Self { child, stdout, stderr: Output { lines: Arc::default(), reader: None } }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines on standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.now()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Whether it still runs, for those who only borrow it: one that has ended waits as a zombie.
    pub fn runs(&self) -> bool {
        let state =
            std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGQUIT: to Postgres it means an end at once, without good order.
    pub fn quit(&self) {
        self.signal(Signal::QUIT);
    }

    /// Sends SIGHUP: to a NATS server it means to read its configuration again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops it (SIGSTOP): it keeps its connections and answers nothing. On a loaded machine some of its threads run on
    /// for a moment, so it is waited until all of them stand still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.id());
        let stands_still = |task: io::Result<std::fs::DirEntry>| {
            let status = task.and_then(|task| std::fs::read_to_string(task.path().join("status")));
            // A thread that has ended meanwhile has no status.
            status.map_or(true, |status| status.lines().any(|line| line.starts_with("State:\tT")))
        };
        poll::until("every thread stands still", END, || {
            std::fs::read_dir(&tasks).expect("a process").all(stands_still).then_some(())
        });
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGKILL and returns at once.
    pub fn strike(&mut self) {
        self.child.kill().expect("kill a child");
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.strike();
        self.child.wait().expect("wait for a child");
    }

    /// Waits for the end, within a bound.
    pub fn end(&mut self) -> ExitStatus {
        poll::until("the process ends", END, || self.ended())
    }

    /// Waits for the end, within a bound, and gives everything it wrote.
    pub fn finish(mut self) -> Finished {
        let status = self.end();
        Finished { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all() }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("not zero"), signal).expect("signal a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn now(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("read a child's output");
        }
        self.now().join("\n")
    }
}

/// A port of the loopback interface that nobody used a moment ago, for servers that start again on the
/// same one. None that the system gives to outgoing connections: one of those could take it meanwhile.
pub fn free_port() -> u16 {
    const FIRST: u16 = 16_384;
    const COUNT: u16 = 16_384;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test processes begin at different places.
    let begin = std::process::id().wrapping_mul(997);
    let port = (0..COUNT).find_map(|_| {
        let step = begin.wrapping_add(u32::from(NEXT.fetch_add(1, Ordering::Relaxed)));
        let port = FIRST + u16::try_from(step % u32::from(COUNT)).expect("below COUNT");
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    port.expect("a free port")
}

/// A command that the kernel kills when the test process ends, however that ends.
pub fn mortal(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The same, as the user nobody: for programs that refuse to run as root.
pub fn mortal_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The death signal comes when the *thread* that started the child ends, and a test's thread ends with
/// the test: one thread, which lives as long as the process, starts every child.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                drop(reply.send(command.spawn()));
            }
        });
        jobs
    });
    let (reply, answer) = channel();
    spawner.send((command, reply)).expect("the spawner lives");
    answer.recv().expect("the spawner answers")
}

/// A pipe that holds this and ends.
fn given(input: &str) -> Stdio {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(input.as_bytes()).expect("it has room");
    reader.into()
}
