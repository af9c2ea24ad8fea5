//! A process that may not hear what it has to: it says so, and is not ready.

use e2e::nats::Setup;
use e2e::{Cluster, Folder, Service, poll};
use futures_util::StreamExt;

use super::SOON;

/// A bus where `edge-deaf` may do anything but hear one subject.
fn bus_with_a_deaf_user(folder: &Folder, subject: &str) -> Setup {
    bus_that_denies(folder, "subscribe", subject)
}

/// A bus where `edge-deaf` may do anything but one thing.
fn bus_that_denies(folder: &Folder, what: &str, subject: &str) -> Setup {
    let path = folder.join("deaf.conf");
    let text = format!(
        r#"no_auth_user: all
        authorization {{ users: [
          {{ user: all, password: all }}
          {{ user: "edge-deaf", password: deaf, permissions {{ {what}: {{ deny: "{subject}" }} }} }}
        ] }}"#
    );
    std::fs::write(&path, text).unwrap();
    Setup { arguments: vec!["-c".into(), path.display().to_string()], ..Setup::default() }
}

#[tokio::test]
async fn a_process_that_may_not_hear_something_says_so_and_is_not_ready() {
    for (service, subject) in [
        (Service::Keys, "v1.keys.verify"),
        (Service::Keys, "v1.keys.acknowledge.>"),
        (Service::Identity, "v1.identity.login"),
        (Service::Identity, "_INBOX_edge-deaf.>"),
        (Service::Edge, "v1.keys.invalidate"),
        (Service::Edge, "v1.verify"),
    ] {
        let folder = Folder::new();
        let setup = bus_with_a_deaf_user(&folder, subject);
        let mut cluster = Cluster::builder().nats(setup).start();
        let (monitor, edge) = (cluster.replica(service, 0).monitor(), cluster.api(0));
        let replica = cluster.replica_mut(service, 0);
        replica.stop();
        replica.set("NATS_USER", "edge-deaf");
        replica.set("NATS_PASSWORD", "deaf");
        replica.launch();
        let begin = subject.trim_end_matches('>');
        let told = |line: &String| {
            let says = line.contains("the bus forbids this user a subscription");
            says && line.contains(begin) && line.contains("\"edge-deaf\"")
        };
        poll::until("it says so", SOON, || replica.logs().iter().any(told).then_some(()));
        let monitor = e2e::Api::new(&monitor);
        poll::until_async("it is not ready", SOON, || async {
            let answer = monitor.get("/health/ready").try_send().await.ok()?;
            (answer.status == 503).then_some(())
        })
        .await;
        if service == Service::Edge {
            poll::until_async("it answers", SOON, || async {
                let answer = edge.get("/health/ready").try_send().await.ok()?;
                (answer.status == 503).then_some(())
            })
            .await;
        }
        let replica = cluster.replica(service, 0);
        let ready = replica.logs().iter().any(|line| line.contains("\"message\":\"ready\""));
        assert!(!ready, "{subject}: {:#?}", replica.logs());
        assert_eq!(replica.logs().iter().filter(|line| told(line)).count(), 1, "said once");
    }
}

/// Waits until a process' monitor answers with this status.
async fn readiness(monitor: &str, status: u16) {
    let monitor = e2e::Api::new(monitor);
    poll::until_async("its readiness", SOON, || async {
        let answer = monitor.get("/health/ready").try_send().await.ok()?;
        (answer.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_may_not_hear_or_is_not_reached_any_more_notices_it_while_it_runs() {
    let forbids = "the bus forbids this user a subscription";
    let silent = "brings no message to this process: it is not ready";
    for (service, what, subject, says) in [
        (Service::Keys, "subscribe", "v1.keys.verify", forbids),
        (Service::Identity, "subscribe", "_INBOX_edge-deaf.>", forbids),
        (Service::Edge, "subscribe", "v1.keys.invalidate", forbids),
        (Service::Keys, "publish", "_INBOX_edge-deaf.>", silent),
    ] {
        let folder = Folder::new();
        let setup = bus_that_denies(&folder, what, "nothing");
        let mut cluster = cluster_of(setup, service);
        let monitor = cluster.replica(service, 0).monitor();
        readiness(&monitor, 200).await;
        drop(bus_that_denies(&folder, what, subject));
        cluster.bus().reload();
        let replica = cluster.replica(service, 0);
        let told = |text: &str| replica.logs().iter().filter(|line| line.contains(text)).count();
        poll::until("it says so", SOON, || (told(says) > 0).then_some(()));
        readiness(&monitor, 503).await;
        if says == silent {
            assert_eq!(told("the bus forbids this user to send to its own inbox"), 1);
            assert_eq!(told("Permissions Violation"), 0, "{:#?}", replica.logs());
            drop(bus_that_denies(&folder, what, "nothing"));
            cluster.bus().reload();
            readiness(&monitor, 200).await;
            let replica = cluster.replica(service, 0);
            poll::until("it says so", SOON, || {
                replica
                    .logs()
                    .iter()
                    .any(|line| line.contains("reach this process again"))
                    .then_some(())
            });
        }
    }
}

/// Messages of processes to themselves, from three of them: more than each may miss.
const PROBES: usize = 15;

#[tokio::test]
async fn whoever_listens_to_everything_makes_no_process_unready() {
    let mut cluster = Cluster::builder().start();
    let listener = async_nats::connect(cluster.bus().url()).await.expect("connect to NATS");
    let mut everything = listener.subscribe(">").await.expect("subscribe");
    let mut probes = 0;
    while probes < PROBES {
        let heard = tokio::time::timeout(SOON, everything.next()).await.expect("a message");
        let heard = heard.expect("a connection");
        probes += usize::from(heard.subject.starts_with("_INBOX_") && heard.payload.is_empty());
    }
    for service in Service::ALL {
        let replica = cluster.replica(service, 0);
        let lines = replica.logs();
        assert!(!lines.iter().any(|line| line.contains("it is not ready")), "{lines:#?}");
        let answer = e2e::Api::new(&replica.monitor()).get("/health/ready").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A cluster in which one service is `edge-deaf` on the bus.
fn cluster_of(setup: Setup, service: Service) -> Cluster {
    let builder = Cluster::builder().nats(setup);
    builder
        .set_for(service, "NATS_USER", "edge-deaf")
        .set_for(service, "NATS_PASSWORD", "deaf")
        .start()
}
