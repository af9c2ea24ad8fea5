//! A loop under the supervisor, beside its actors: one that ends before it is asked to counts as a failure, and is
//! started again under the same budget.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Address, Child};

/// What a task has of its supervisor.
pub struct TaskContext {
    stop: CancellationToken,
    up: Option<oneshot::Sender<()>>,
}

/// Why a task has ended.
pub type TaskError = ActorProcessingErr;

type Work = Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;
type Make = Arc<dyn Fn(TaskContext) -> Work + Send + Sync>;

/// The actor that owns one task.
struct Owner {
    name: &'static str,
    make: Make,
    /// Whether it is the first of its lives, which the start of a service waits for.
    is_first: Arc<AtomicBool>,
}

/// The task has ended.
struct Ended;

/// The task while it runs. Dropped, it is aborted.
struct Running {
    stop: CancellationToken,
    work: JoinHandle<()>,
}

/// Tells the owner when the task ends, be it by a panic.
struct Guard(ActorRef<Ended>);

impl TaskContext {
    /// Says that the task does what it is for: a start of the service waits for that, a restart of the task does not.
    pub fn up(&mut self) {
        if let Some(up) = self.up.take() {
            // Whoever started it may have given up.
            let _ = up.send(());
        }
    }

    /// Returns when the task is to finish what it has in hand, and end.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// What `work` gives; `None` where the task is to end before that.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(work).await
    }
}

impl Child {
    /// A task that `make` begins in each of its lives. It goes on until its context says that it is stopped: one that
    /// ends before, with an error, without one or by a panic, is begun again.
    pub fn task<F>(
        name: &'static str,
        make: impl Fn(TaskContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let make: Make = Arc::new(move |context| -> Work { Box::pin(make(context)) });
        let is_first = Arc::new(AtomicBool::new(true));
        Self::new(name, Address::new(), move || {
            let (make, is_first) = (Arc::clone(&make), Arc::clone(&is_first));
            (Owner { name, make, is_first }, ())
        })
    }
}

impl Actor for Owner {
    type Msg = Ended;
    type State = Running;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let (stop, (up, is_up)) = (CancellationToken::new(), oneshot::channel());
        let work = (self.make)(TaskContext { stop: stop.clone(), up: Some(up) });
        let (name, stopped) = (self.name, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "this is its owner, and notices its end")]
        let work = tokio::spawn(async move {
            let _guard = Guard(myself);
            match work.await {
                Err(error) => tracing::error!(task = name, %error, "a task has failed"),
                Ok(()) if !stopped.is_cancelled() => {
                    tracing::error!(task = name, "a task has ended");
                }
                Ok(()) => {}
            }
        });
        let running = Running { stop, work };
        if self.is_first.load(Ordering::Relaxed) {
            is_up.await.map_err(|_ended| format!("{name} did not start"))?;
            self.is_first.store(false, Ordering::Relaxed);
        }
        Ok(running)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        Ended: Self::Msg,
        _running: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("{} has ended", self.name).into())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        running: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        running.stop.cancel();
        // A panic is logged where it happens.
        let _ = (&mut running.work).await;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // An owner that is gone has stopped it.
        let _ = self.0.send_message(Ended);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::watch;

    use super::*;
    use crate::supervisor::{BUDGET, Root};

    /// How long whatever comes by itself may take.
    const SOON: Duration = Duration::from_secs(10);

    async fn until(lives: &mut watch::Receiver<usize>, count: usize) {
        let seen = tokio::time::timeout(SOON, lives.wait_for(|lives| *lives >= count)).await;
        seen.expect("it is begun again").expect("somebody counts");
    }

    #[tokio::test]
    async fn a_task_that_panics_fails_or_ends_is_begun_again_and_one_that_is_stopped_is_not() {
        let (begun, mut lives) = watch::channel(0);
        let ended = Arc::new(AtomicUsize::new(0));
        let in_order = Arc::clone(&ended);
        let child = Child::task("task of a test", move |mut context| {
            begun.send_modify(|lives| *lives += 1);
            let (life, in_order) = (*begun.borrow(), Arc::clone(&in_order));
            async move {
                context.up();
                match life {
                    1 => panic!("a panic of a test"),
                    2 => Err("a failure of a test".into()),
                    3 => Ok(()),
                    _ => {
                        context.stopped().await;
                        in_order.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    }
                }
            }
        });
        let running = Root::start(vec![child]).await.unwrap();
        until(&mut lives, 4).await;
        running.stop().await;
        assert_eq!(*lives.borrow(), 4);
        assert_eq!(ended.load(Ordering::Relaxed), 1, "it finished what it had in hand");
    }

    #[tokio::test]
    async fn one_that_ends_again_and_again_ends_the_service() {
        let (begun, lives) = watch::channel(0);
        let child = Child::task("task of a test", move |mut context| {
            begun.send_modify(|lives| *lives += 1);
            async move {
                context.up();
                Ok(())
            }
        });
        let mut running = Root::start(vec![child]).await.unwrap();
        tokio::time::timeout(SOON, running.failed()).await.expect("it gives up");
        assert_eq!(*lives.borrow(), BUDGET + 1);
    }

    #[tokio::test]
    async fn a_start_waits_for_a_task_and_fails_where_it_does_not_begin() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (seen, before) = (Arc::clone(&order), Arc::clone(&order));
        let child = Child::task("task of a test", move |mut context| {
            let before = Arc::clone(&before);
            async move {
                tokio::task::yield_now().await;
                before.lock().unwrap().push("up");
                context.up();
                context.stopped().await;
                Ok(())
            }
        });
        let running = Root::start(vec![child]).await.unwrap();
        seen.lock().unwrap().push("started");
        assert_eq!(*order.lock().unwrap(), ["up", "started"]);
        running.stop().await;
        let never = Child::task("task of a test", |_context| async { Err("no".into()) });
        assert!(Root::start(vec![never]).await.is_err());
    }
}
