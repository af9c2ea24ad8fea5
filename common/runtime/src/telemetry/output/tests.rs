//! The queue before a terminal that takes nothing for a while.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::*;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// What a terminal has taken.
type Written = Arc<Mutex<Vec<u8>>>;

/// A terminal that takes what the test lets it take.
struct Terminal {
    may: Receiver<()>,
    came: Sender<()>,
    written: Written,
}

impl Write for Terminal {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.came.send(()).map_err(|_gone| ErrorKind::BrokenPipe)?;
        self.may.recv().map_err(|_gone| ErrorKind::BrokenPipe)?;
        self.written.lock().unwrap().extend_from_slice(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue before such a terminal, what lets it go on, what says that it was written to, and what it has taken.
fn stuck() -> (Arc<Queue>, Sender<()>, Receiver<()>, Written) {
    let (queue, written) = (Arc::new(Queue::default()), Written::default());
    let ((go, may), (came, comes)) = (channel(), channel());
    let (of_thread, terminal) =
        (Arc::clone(&queue), Terminal { may, came, written: Arc::clone(&written) });
    thread::spawn(move || of_thread.write_to(terminal, |_| None));
    (queue, go, comes, written)
}

#[test]
fn nobody_waits_for_a_terminal_that_takes_nothing_and_what_is_dropped_is_counted() {
    let (queue, go, comes, written) = stuck();
    queue.push(b"first\n", Room::Usual);
    comes.recv_timeout(SOON).unwrap();
    let line = [[b'x'; 1_023].as_slice(), b"\n"].concat();
    let fit = MAX_WAITING / line.len();
    for _ in 0..fit + 7 {
        queue.push(&line, Room::Usual);
    }
    assert_eq!(queue.dropped(), 7);
    queue.push(b"last\n", Room::Reserved);
    assert_eq!(queue.dropped(), 7, "there is room for what is said about lines");
    assert!(!queue.finish(Duration::ZERO), "nor does the end wait for it");
    (0..8).for_each(|_| go.send(()).unwrap());
    assert!(queue.finish(SOON));
    let written = written.lock().unwrap();
    assert!(written.starts_with(b"first\n") && written.ends_with(b"last\n"));
    assert_eq!(count(&written), u64::try_from(fit).unwrap() + 2);
}

#[test]
fn the_end_waits_for_what_was_said_before_and_has_everything_told() {
    let queue = Arc::new(Queue::default());
    let (of_thread, teller) = (Arc::clone(&queue), Arc::clone(&queue));
    let written = Written::default();
    let sink = Shared(Arc::clone(&written));
    let tell = move |asked: Option<u64>| {
        if asked.is_some() {
            teller.push(b"told\n", Room::Reserved);
        }
        None
    };
    thread::spawn(move || of_thread.write_to(sink, tell));
    queue.push(b"said\n", Room::Usual);
    assert!(queue.finish(SOON));
    assert_eq!(*written.lock().unwrap(), b"said\ntold\n");
    queue.push(b"again\n", Room::Usual);
    assert!(queue.finish(SOON));
    assert!(written.lock().unwrap().ends_with(b"again\ntold\n"), "it goes on afterwards");
}

#[test]
fn the_end_waits_until_everything_is_told_though_little_is_told_at_once() {
    let queue = Arc::new(Queue::default());
    let (of_thread, teller) = (Arc::clone(&queue), Arc::clone(&queue));
    let written = Written::default();
    let (sink, left) = (Shared(Arc::clone(&written)), AtomicU64::new(3));
    let tell = move |asked: Option<u64>| {
        let is_left = asked.is_some() && left.fetch_sub(1, Ordering::Relaxed) > 0;
        is_left.then(|| {
            teller.push(b"told\n", Room::Reserved);
            Duration::ZERO
        })
    };
    thread::spawn(move || of_thread.write_to(sink, tell));
    assert!(queue.finish(SOON));
    assert_eq!(*written.lock().unwrap(), b"told\ntold\ntold\n");
}

#[test]
fn nothing_comes_behind_the_last_line() {
    let queue = Arc::new(Queue::default());
    let (of_thread, teller) = (Arc::clone(&queue), Arc::clone(&queue));
    let written = Written::default();
    let sink = Shared(Arc::clone(&written));
    queue.push_last(b"last\n");
    let tell = move |_| {
        teller.push(b"told\n", Room::Reserved);
        None
    };
    thread::spawn(move || of_thread.write_to(sink, tell));
    assert!(queue.finish(SOON));
    assert_eq!(*written.lock().unwrap(), b"last\n");
}

#[test]
fn a_terminal_that_is_gone_holds_nobody_up_and_is_counted() {
    let (queue, go, _comes, written) = stuck();
    drop(go);
    queue.push(b"one\ntwo\n", Room::Usual);
    assert!(queue.finish(SOON));
    assert_eq!((queue.failed(), queue.dropped()), (2, 0));
    assert!(written.lock().unwrap().is_empty());
}

/// Takes everything.
struct Shared(Written);

impl Write for Shared {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
