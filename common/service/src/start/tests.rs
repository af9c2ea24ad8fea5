//! How a process ends: by signals to this one. Only one test at a time takes them.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use latchkey_runtime::monitor::MonitorAddress;
use latchkey_runtime::trace::{Parent, Span, SpanKind};
use latchkey_runtime::{Child, Root, Table};
use rustix::process::{Signal, getpid, kill_process};

use super::*;
use crate::{Actors, NoCommand};

/// How long whatever comes by itself may take.
const SOON: Duration = Duration::from_secs(30);

static TURN: Mutex<()> = Mutex::new(());

/// Runs `test` while no other test takes signals.
fn alone<T>(test: impl Future<Output = T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "a turn has no state")]
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(SOON, test).await });
    outcome.expect("it ends")
}

fn terminate_this_process() {
    kill_process(getpid(), Signal::TERM).unwrap();
}

/// Needs something that says nothing at the beginning, or that does not let go at the end.
#[derive(Clone, Copy)]
enum Needs {
    Silent,
    Held,
}

impl Resource for Needs {
    type Options = ();

    async fn open((): ()) -> Result<Self, StartError> {
        Ok(Self::Held)
    }

    async fn await_first_look(&self) -> bool {
        match self {
            Self::Silent => std::future::pending().await,
            Self::Held => true,
        }
    }

    async fn is_ready(&self) -> bool {
        true
    }

    async fn close(&self) {
        std::future::pending::<()>().await;
    }
}

/// A service whose only actor ends again and again.
struct Failing;

impl Service for Failing {
    const NAME: &'static str = "failing";
    const PROCESS: &'static str = "latchkey-failing";
    const ABOUT: &'static str = "";
    const DETAIL: &'static str = "";
    const MONITOR_ADDR: &'static MonitorAddress = &monitor::variable("off");
    type Command = NoCommand;
    type Needs = Needs;
    type Opened = ();
    type Running = Actors<Needs>;

    fn tables() -> Vec<Table> {
        Vec::new()
    }

    fn configure(_environment: &Environment) -> Result<Self, StartError> {
        Ok(Self)
    }

    async fn open(self) -> Result<(Needs, ()), StartError> {
        Ok((Needs::Held, ()))
    }

    async fn start((): (), needs: Needs) -> Result<Actors<Needs>, StartError> {
        let ending = Child::task("task of a test", |mut context| async move {
            context.up();
            Ok(())
        });
        Ok(Actors::new(needs, Root::start(vec![ending]).await.unwrap()))
    }
}

fn telemetry(variables: &[(&str, &str)]) -> Telemetry {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = Environment::of(variables.iter().map(own));
    telemetry::start(&environment, "latchkey-test", "0.0.0").unwrap()
}

#[test]
fn a_service_that_failed_says_so_also_where_it_is_asked_to_end_meanwhile() {
    let outcome = alone(async {
        let (mut signals, stop) = (Signals::listen().unwrap(), Stop::new());
        let process = Process::inside("failing", stop.clone());
        let asking = async {
            while process.failure().is_none() {
                tokio::task::yield_now().await;
            }
            terminate_this_process();
            stop.asked().await;
            terminate_this_process();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = run_to_the_end(Failing, &process, telemetry(&[]), &mut signals) => outcome,
            () = asking => Ok(()),
        }
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.exit, Exit::Internal, "{error}");
}

#[test]
fn whoever_is_asked_to_end_does_not_look_first_whether_it_is_ready() {
    alone(async {
        let process = Process::inside("silent", Stop::new());
        let running = Root::start(Vec::new()).await.unwrap();
        let serving = Actors::new(Needs::Silent, running).serve(&process);
        let asking = async {
            tokio::task::yield_now().await;
            process.stop().ask();
        };
        let (outcome, ()) = tokio::join!(serving, asking);
        assert!(outcome.is_ok());
    });
}

#[test]
fn the_last_spans_are_not_waited_for_by_whoever_is_asked_again() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let outcome = alone(async {
        let mut signals = Signals::listen().unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let telemetry = telemetry(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ]);
        let describe = || ("a span of a test".into(), Vec::new());
        let span = Span::entry(&Parent::default(), SpanKind::Internal, describe);
        assert!(span.is_recording());
        drop(span);
        terminate_this_process();
        end(telemetry, &mut signals, Ok(())).await
    });
    assert_eq!(outcome.unwrap_err().exit, Exit::Interrupted);
}
