//! Faults on a cluster under steady traffic: nothing acknowledged is lost, nothing is answered wrongly, and
//! full service comes back by itself. `make faults` prints what each fault costs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::cluster::Replica;
use e2e::traffic::{Report, Traffic};
use e2e::{Cluster, Service, poll};
use tokio::task::block_in_place;

/// Replicas of each service.
const REPLICAS: usize = 2;
/// Bound on full service after a fault is over.
const RECOVERY: Duration = Duration::from_mins(1);
/// How long a process is stopped: in full, and where the suite has to be quick.
const PAUSE: Duration = Duration::from_secs(10);
const SHORT_PAUSE: Duration = Duration::from_secs(3);
/// Names a file for the table, and asks for full pauses and the death of every replica.
const TABLE: &str = "FAULTS";
const HEAD: &str = "| fault | lasted, s | requests | failed | of these without an answer | sent to the other edge \
                    | slowest, s | acknowledged writes lost | wrong answers | full service after, s |\n\
                    |---|---|---|---|---|---|---|---|---|---|";

fn table() -> Option<PathBuf> {
    std::env::var_os(TABLE).map(PathBuf::from)
}

fn row(text: &str) {
    let Some(path) = table() else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    if file.metadata().unwrap().len() == 0 {
        writeln!(file, "{HEAD}").unwrap();
    }
    writeln!(file, "{text}").unwrap();
}

/// How long a fault lasts.
#[derive(Clone, Copy)]
enum Hold {
    /// Not at all: what begins it also ends it.
    No,
    /// Until every client has asked on.
    Round,
    Time(Duration),
}

fn cluster() -> Cluster {
    let mut builder = Cluster::builder().own_postgres();
    for service in Service::ALL {
        builder = builder.replicas(service, REPLICAS);
    }
    let cheap =
        [("ARGON2_MEMORY_KIB", "8192"), ("ARGON2_ITERATIONS", "1"), ("ARGON2_PARALLELISM", "1")];
    for (name, value) in cheap {
        builder = builder.set(name, value);
    }
    block_in_place(|| builder.start())
}

/// Does one fault under traffic, and fails where it lost or falsified anything.
async fn fault(
    cluster: &mut Cluster,
    name: &str,
    begin: impl FnOnce(&mut Cluster),
    hold: Hold,
    end: impl FnOnce(&mut Cluster),
) -> Report {
    let traffic = Traffic::start(cluster.edges());
    traffic.full_service(RECOVERY).await;
    let since = Instant::now();
    block_in_place(|| begin(cluster));
    match hold {
        Hold::No => {}
        Hold::Round => traffic.round().await,
        Hold::Time(time) => {
            let over = async || (since.elapsed() >= time).then_some(());
            poll::until_async("the pause is over", time * 2, over).await;
        }
    }
    block_in_place(|| end(cluster));
    let mended = Instant::now();
    traffic.full_service(RECOVERY).await;
    let report = traffic.finish(since).await;
    let after =
        report.last_failure.map_or(Duration::ZERO, |last| last.saturating_duration_since(mended));
    row(&format!(
        "| {name} | {:.1} | {} | {} | {} | {} | {:.1} | {} of {} | {} | {:.1} |",
        (mended - since).as_secs_f64(),
        report.requests,
        report.failed(),
        report.broken,
        report.rerouted,
        report.slowest.as_secs_f64(),
        report.lost.len(),
        report.acknowledged,
        report.wrong.len(),
        after.as_secs_f64(),
    ));
    assert!(report.lost.is_empty(), "{name}: lost {:#?}", report.lost);
    assert!(report.wrong.is_empty(), "{name}: wrong {:#?}", report.wrong);
    assert!(report.acknowledged > 0 && report.requests > 0, "{name}: no traffic: {report:?}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_takes_nothing_with_it() {
    let mut cluster = cluster();
    let replicas = if table().is_some() { REPLICAS } else { 1 };
    for service in Service::ALL {
        for number in 0..replicas {
            let name = format!("kill -9 {} {}", service.binary(), number + 1);
            let kill = |cluster: &mut Cluster| cluster.replica_mut(service, number).kill();
            fault(&mut cluster, &name, kill, Hold::Round, Cluster::launch).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_or_server_that_is_killed_comes_back_with_everything_it_promised() {
    let mut cluster = cluster();
    for service in Service::ALL {
        let name = format!("kill -9 every {}", service.binary());
        let kill = |cluster: &mut Cluster| cluster.of(service).iter_mut().for_each(Replica::kill);
        fault(&mut cluster, &name, kill, Hold::Round, Cluster::launch).await;
    }
    let (kill, start) = (|it: &mut Cluster| it.bus().kill(), |it: &mut Cluster| it.bus().restart());
    fault(&mut cluster, "kill -9 nats-server", kill, Hold::Round, start).await;
    let (kill, start) =
        (|it: &mut Cluster| it.postgres().kill(), |it: &mut Cluster| it.postgres().restart());
    fault(&mut cluster, "kill -9 Postgres", kill, Hold::Round, start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stands_still_is_waited_for_within_bounds() {
    let mut cluster = cluster();
    let time = if table().is_some() { PAUSE } else { SHORT_PAUSE };
    for service in Service::ALL {
        let name = format!("SIGSTOP {} 1", service.binary());
        let stop = |cluster: &mut Cluster| cluster.replica(service, 0).pause();
        let go_on = |cluster: &mut Cluster| cluster.replica(service, 0).resume();
        fault(&mut cluster, &name, stop, Hold::Time(time), go_on).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_everything_breaks_no_connection_in_use() {
    let mut cluster = cluster();
    let restart = |cluster: &mut Cluster| cluster.all().for_each(Replica::restart);
    let report = fault(&mut cluster, "rolling restart by SIGTERM", restart, Hold::No, |_| {}).await;
    // An edge that ends answers what has reached it, and says so to its clients in time. (A request that
    // reaches a service in the moment it leaves the bus can be a 503: docs/operations.md.)
    assert_eq!(report.broken, 0, "{report:#?}");
}
