//! The threads that passwords are hashed on: one for each worker, which owns it, and lets it end by dropping
//! its sender. They give way to everything else on the machine, and keep their memory while there is work.
//!
//! Where the machine has other work, one hash at a time is made, so that a verified request finds a core. Where
//! there is so much of it that hashes starve, they give way less: logins are slow then, but get through.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use latchkey_runtime::os;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hasher::{Hasher, Memory};
use super::{Work, run};

/// How long a thread without work keeps its memory.
const KEEP: Duration = Duration::from_secs(5);
/// A thread that gets less than this part of a core shares the machine with other work.
const CROWDED: f64 = 0.7;
/// One that gets less than this, though it is the only one, starves.
const STARVED: f64 = 0.1;
/// One that gets more than this, and is the only one, can give way more.
const FED: f64 = 0.35;
/// How much hashes give way (nice): where the machine has other work and they still get on, at first, and where
/// they starve.
const NICE: [i32; 3] = [19, 10, 0];
/// Where they begin. A hash that has begun cannot be hurried when others come.
const FIRST_LEVEL: usize = 1;
/// How much the last hash counts beside those before it.
const WEIGHT: f64 = 0.5;
/// How long one hash at a time is made after the machine was found crowded, at first. Where it is found so
/// again as soon as more are made, it doubles.
const FIRST_CALM: Duration = Duration::from_millis(250);
/// The longest it becomes.
const LONGEST_CALM: Duration = Duration::from_secs(4);

/// A worker's thread.
pub(super) struct HashingThread {
    jobs: SyncSender<Job>,
    hasher: Arc<Hasher>,
    room: Arc<Room>,
    /// Goes from a thread to the next one: a thread that gives way may take long to end.
    memory: Arc<Mutex<Memory>>,
    nice: i32,
}

struct Job {
    work: Work,
    nice: i32,
    done: oneshot::Sender<()>,
}

/// Why a worker ends, to be started again with a new thread.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// The thread has ended, by a panic.
    #[error("the thread that hashes passwords has ended")]
    Ended,
    /// The system gives no thread.
    #[error("there is no thread to hash passwords on")]
    None(#[from] io::Error),
}

/// Whether there is room for more than one hash at a time, and whose turn it is where there is not.
#[derive(Default)]
pub(super) struct Room {
    seen: Mutex<Seen>,
    turn: Mutex<()>,
}

struct Seen {
    /// The part of a core that a hash had of late.
    share: f64,
    /// When more than one at a time may be made.
    calm_until: Option<Instant>,
    calm: Duration,
    /// The place in [`NICE`].
    level: usize,
    /// Whether one at a time has starved since the machine is crowded.
    starved: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self { share: 1.0, calm_until: None, calm: FIRST_CALM, level: FIRST_LEVEL, starved: false }
    }
}

impl HashingThread {
    /// Starts one.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(hasher: Arc<Hasher>, room: Arc<Room>) -> io::Result<Self> {
        Self::with(Arc::default(), hasher, room)
    }

    fn with(memory: Arc<Mutex<Memory>>, hasher: Arc<Hasher>, room: Arc<Room>) -> io::Result<Self> {
        let (jobs, received) = sync_channel(1);
        let (hashing, noting, writing) =
            (Arc::clone(&hasher), Arc::clone(&room), Arc::clone(&memory));
        let work = move || serve(&received, &hashing, &noting, &writing);
        thread::Builder::new().name("password".to_owned()).spawn(work)?;
        Ok(Self { jobs, hasher, room, memory, nice: 0 })
    }

    /// Has the thread do `work`, and waits for it.
    ///
    /// # Errors
    /// [`Lost`] where it does not come back from it.
    pub(super) async fn run(&mut self, work: Work) -> Result<(), Lost> {
        let nice = self.room.nice();
        if nice < self.nice {
            // A thread that gave way cannot take it back: a new one can.
            let memory = Arc::clone(&self.memory);
            *self = Self::with(memory, Arc::clone(&self.hasher), Arc::clone(&self.room))?;
        }
        self.nice = nice;
        let (done, is_done) = oneshot::channel();
        // There is room: a worker waits for one job before it brings the next.
        self.jobs.try_send(Job { work, nice, done }).map_err(|_ended| Lost::Ended)?;
        is_done.await.map_err(|_ended| Lost::Ended)
    }
}

fn serve(jobs: &Receiver<Job>, hasher: &Hasher, room: &Room, memory: &Mutex<Memory>) {
    #[expect(
        clippy::disallowed_methods,
        reason = "what a hash that panicked has left in it is written over by the next"
    )]
    let memory = || memory.lock().unwrap_or_else(PoisonError::into_inner);
    let mut nice = 0;
    loop {
        let job = match jobs.recv_timeout(KEEP) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                memory().give_back();
                match jobs.recv() {
                    Ok(job) => job,
                    Err(_ended) => return,
                }
            }
        };
        if nice != job.nice {
            nice = job.nice;
            if let Err(error) = os::give_way(nice) {
                tracing::debug!(%error, "the priority of a password worker stays as it is");
            }
        }
        let turn = room.enter(Instant::now());
        let (began, spent) = (Instant::now(), os::thread_time());
        run(hasher, job.work, &mut memory());
        let (spent, took) = (os::thread_time().saturating_sub(spent), began.elapsed());
        room.note(spent.as_secs_f64() / took.as_secs_f64(), Instant::now());
        drop(turn);
        // A worker that was killed does not wait any more.
        let _ = job.done.send(());
    }
}

impl Room {
    /// Waits for its turn where the machine is crowded.
    #[expect(clippy::disallowed_methods, reason = "a turn has no state")]
    fn enter(&self, now: Instant) -> Option<MutexGuard<'_, ()>> {
        let is_crowded = self.lock().calm_until.is_some_and(|until| now < until);
        is_crowded.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How much hashes are to give way.
    fn nice(&self) -> i32 {
        NICE[self.lock().level]
    }

    /// Takes note of the part of a core that a hash had.
    fn note(&self, share: f64, now: Instant) {
        let mut seen = self.lock();
        seen.share = seen.share * (1.0 - WEIGHT) + share * WEIGHT;
        let is_crowded = seen.share < CROWDED;
        match seen.calm_until {
            Some(until) if now < until => {
                if is_crowded {
                    // Even one alone does not get a core.
                    seen.calm_until = Some(now + seen.calm);
                }
                if share < STARVED {
                    seen.starved = true;
                    seen.level = (seen.level + 1).min(NICE.len() - 1);
                } else if share > FED && !seen.starved {
                    seen.level = 0;
                }
            }
            Some(until) if !is_crowded && now > until + LONGEST_CALM => *seen = Seen::default(),
            before if is_crowded => {
                let again = before.is_some();
                let calm = if again { seen.calm * 2 } else { FIRST_CALM };
                seen.calm = calm.min(LONGEST_CALM);
                seen.calm_until = Some(now + seen.calm);
                // What was seen while others worked says nothing of one alone.
                seen.share = 1.0;
            }
            _ => {}
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any numbers will do: they say how fast, not whether it is right"
    )]
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use latchkey_contract::Secret;
    use latchkey_runtime::Entropy;

    use super::super::Config;
    use super::super::cost::{Cost, Costs};
    use super::*;

    const HASH: Duration = Duration::from_millis(15);

    #[tokio::test]
    async fn a_thread_that_takes_anothers_place_hashes_in_its_memory() {
        let config = Config { memory_kib: 1_024, iterations: 1, parallelism: 1 };
        let hasher = Hasher::new(Costs::new(Cost::configured(&config)), Entropy::System).unwrap();
        let mut thread = HashingThread::start(Arc::new(hasher), Arc::default()).unwrap();
        let mut places = Vec::new();
        for nice in [NICE[FIRST_LEVEL], NICE[0]] {
            thread.nice = nice;
            let (reply, made) = oneshot::channel();
            let password = Secret::new("a quiet harbour at dusk".to_owned());
            thread.run(Work::Hash(password, reply)).await.unwrap();
            made.await.unwrap().unwrap();
            places.push(thread.memory.lock().unwrap().place());
        }
        assert_eq!(thread.nice, NICE[FIRST_LEVEL], "it is another thread");
        assert_eq!(places[0], places[1]);
    }

    fn is_crowded(room: &Room, now: Instant) -> bool {
        room.enter(now).is_some()
    }

    #[test]
    fn hashes_are_made_one_at_a_time_while_the_machine_has_other_work() {
        let (room, mut now) = (Room::default(), Instant::now());
        for _ in 0..10 {
            room.note(0.97, now);
            now += HASH;
        }
        assert!(!is_crowded(&room, now));
        room.note(0.5, now);
        assert!(!is_crowded(&room, now), "one slow hash is no crowd");
        room.note(0.3, now);
        assert!(is_crowded(&room, now));
        // As long as even one at a time gets no core, it stays so.
        for _ in 0..1_000 {
            now += HASH;
            room.note(0.4, now);
            assert!(is_crowded(&room, now));
            assert_eq!(room.nice(), NICE[0], "they get on: they can give way more");
        }
        // When the other work ends, so does the calm.
        for _ in 0..300 {
            now += HASH;
            room.note(0.99, now);
        }
        assert!(!is_crowded(&room, now));
        assert_eq!(room.nice(), NICE[FIRST_LEVEL]);
    }

    #[test]
    fn hashes_that_starve_give_way_less_until_there_is_room_again() {
        let (room, mut now) = (Room::default(), Instant::now());
        for nice in [10, 10, 0, 0, 0] {
            assert_eq!(room.nice(), nice);
            now += HASH;
            room.note(0.02, now);
        }
        assert!(is_crowded(&room, now));
        // What gets on because it does not give way is not made to starve again.
        room.note(0.5, now);
        assert_eq!(room.nice(), 0);
        for _ in 0..600 {
            now += HASH;
            room.note(0.99, now);
        }
        assert_eq!((room.nice(), is_crowded(&room, now)), (10, false));
    }

    #[test]
    fn where_more_at_a_time_never_fit_they_are_seldom_tried() {
        let (room, mut now, mut tried) = (Room::default(), Instant::now(), 0);
        for _ in 0..4_000 {
            now += HASH;
            let share = if is_crowded(&room, now) { 0.95 } else { 0.45 };
            tried += u32::from(share < 0.5);
            room.note(share, now);
        }
        assert!((5..60).contains(&tried), "{tried} of 4,000");
    }
}
