//! The bus over a real NATS server: waiting for it, coming back to it, dead replicas, discovery, deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message};
use e2e::process::mortal;
use e2e::{Cluster, Folder, Process, Service, binary, nats, poll, prometheus};
use futures_util::StreamExt;
use serde_json::Value;

/// Bound on whatever is waited for.
const SOON: Duration = Duration::from_mins(1);

async fn client(cluster: &mut Cluster) -> Client {
    async_nats::connect(cluster.bus().url()).await.expect("connect to NATS")
}

/// Asks everybody, and gives the answers until so many have come.
async fn discover(client: &Client, subject: &str, count: usize) -> BTreeMap<String, Value> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.expect("subscribe");
    client.publish_with_reply(subject.to_owned(), inbox, "".into()).await.expect("publish");
    let mut found = BTreeMap::new();
    while found.len() < count {
        let answer = tokio::time::timeout(SOON, answers.next()).await;
        let answer: Message = answer.expect("an answer in time").expect("a subscription");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        found.insert(answer["name"].as_str().expect("a name").to_owned(), answer);
    }
    found
}

#[tokio::test]
async fn discovery_shows_each_service_with_its_endpoints_version_and_statistics() {
    let mut cluster = Cluster::builder().start();
    let user = cluster.api(0).user().await;
    let key = cluster.api(0).key(&user.token, "seen").await;
    cluster.api(0).as_service(&key.key).await.expect(200);
    let client = client(&mut cluster).await;

    let pings = discover(&client, "$SRV.PING", 3).await;
    assert_eq!(pings.keys().collect::<Vec<_>>(), ["edge", "identity", "keys"]);
    for (name, answer) in &pings {
        assert_eq!(answer["type"], "io.nats.micro.v1.ping_response", "{name}");
        assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"), "{name}");
    }
    let info = discover(&client, "$SRV.INFO.keys", 1).await;
    let endpoints = info["keys"]["endpoints"].as_array().unwrap();
    let subjects: Vec<&str> =
        endpoints.iter().map(|endpoint| endpoint["subject"].as_str().unwrap()).collect();
    for subject in ["v1.keys.issue", "v1.keys.list", "v1.keys.revoke", "v1.keys.verify"] {
        assert!(subjects.contains(&subject), "{subject} is not among {subjects:?}");
    }
    assert!(endpoints.iter().all(|endpoint| endpoint["queue_group"] == "keys"), "{endpoints:?}");
    let stats = discover(&client, "$SRV.STATS.keys", 1).await;
    let verify = stats["keys"]["endpoints"].as_array().unwrap().iter();
    let verify = verify.clone().find(|endpoint| endpoint["subject"] == "v1.keys.verify").unwrap();
    assert!(verify["num_requests"].as_u64().unwrap() >= 1, "{verify}");
    assert_eq!(verify["num_errors"], 0, "{verify}");
}

#[tokio::test]
async fn a_request_whose_sender_has_given_up_is_not_worked_on() {
    let mut cluster = Cluster::builder().start();
    let client = client(&mut cluster).await;
    let ask = async |timeout: &str, content: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert("Latchkey-Timeout-Ms", timeout);
        if let Some(content) = content {
            headers.insert("Content-Type", content);
        }
        // The contract number stands before an empty message.
        let body = if content.is_some() { r#"{"credential": "x"}"# } else { "\u{2}\0" };
        let subject = if content.is_some() { "v1.verify" } else { "v1.keys.ready" };
        client.request_with_headers(subject, headers, body.into()).await.expect("an answer")
    };
    let code = |answer: &Message| {
        let headers = answer.headers.as_ref();
        let code = headers.and_then(|headers| headers.get("Nats-Service-Error-Code"));
        code.map(|code| code.as_str().to_owned())
    };
    for content in [None, Some("application/json")] {
        let late = ask("0", content).await;
        assert_eq!(code(&late).as_deref(), Some("408"), "{late:?}");
        let early = ask("5000", content).await;
        assert_eq!(code(&early), None, "{early:?}");
    }
}

#[tokio::test]
async fn after_a_restart_of_the_bus_services_answer_and_edges_ask_again() {
    let mut cluster = Cluster::builder().set("CACHE", "off").start();
    let user = cluster.api(0).user().await;
    let key = cluster.api(0).key(&user.token, "kept").await;
    let outages = |cluster: &Cluster, service| {
        let lines = cluster.replica(service, 0).logs();
        lines
            .iter()
            .filter(|line| line.contains("the connection to the bus is lost: connecting again"))
            .count()
    };
    for kill in [true, false] {
        let before = outages(&cluster, Service::Edge);
        if kill {
            cluster.bus().kill();
        } else {
            cluster.bus().stop();
        }
        poll::until("the edge has noticed", SOON, || {
            (outages(&cluster, Service::Edge) > before).then_some(())
        });
        cluster.api(0).as_service(&key.key).await.problem(503, "unavailable");
        cluster.bus().restart();
        // The service's side: somebody who knows nothing of the edge has an answer.
        let client = client(&mut cluster).await;
        poll::until_async("the key service answers", SOON, || async {
            client.request("v1.keys.ready", "\u{2}\0".into()).await.ok()
        })
        .await;
        // The edge's side.
        let api = cluster.api(0);
        poll::until_async("the edge asks", SOON, || async {
            (api.as_service(&key.key).await.status == 200).then_some(())
        })
        .await;
    }
    for service in Service::ALL {
        let monitor = cluster.replica(service, 0).monitor();
        poll::until("each has noticed both", SOON, || {
            (outages(&cluster, service) >= 2).then_some(())
        });
        // A line comes after its count.
        let said = u32::try_from(outages(&cluster, service)).unwrap();
        let text = prometheus::scrape(&monitor).await;
        let lost = prometheus::value(&text, "latchkey_bus_disconnects_total", &[]).unwrap();
        assert!(f64::from(said) <= lost, "{service:?} said {said} times that it is away: {lost}");
    }
}

#[tokio::test]
async fn a_replica_that_dies_costs_no_verification() {
    const TASKS: usize = 4;
    const EACH: usize = 100;
    let mut cluster = Cluster::builder().replicas(Service::Keys, 2).start();
    let user = cluster.api(0).user().await;
    let key = cluster.api(0).key(&user.token, "steady").await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (api, key, done) = (cluster.api(0), key.key.clone(), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            for _ in 0..EACH {
                api.as_service(&key).await.expect(200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    poll::until_async("a quarter is done", SOON, || async {
        (done.load(Ordering::Relaxed) >= TASKS * EACH / 4).then_some(())
    })
    .await;
    cluster.replica_mut(Service::Keys, 0).kill();
    for task in tasks {
        task.await.expect("every verification succeeds");
    }
}

fn edge(folder: &Folder, environment: &[(&str, &str)]) -> Process {
    let mut command = binary::clean(mortal(binary::named("latchkey-edge")), folder.path());
    command.env("MONITOR_ADDR", "off").env("LISTEN_ADDR", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    Process::start(command)
}

#[test]
fn a_service_waits_for_the_bus_says_so_once_and_ends_when_it_is_told_to() {
    let (mut server, folder) = (nats::Server::start(), Folder::new());
    let url = server.url();
    server.kill();
    let process = edge(&folder, &[("NATS_URL", &url)]);
    let waits = |line: &String| line.contains("NATS_URL cannot be reached") && line.contains(&url);
    poll::until("it waits", SOON, || process.stderr().iter().any(waits).then_some(()));
    process.terminate();
    let end = process.finish();
    assert_eq!(end.code, Some(0), "{}", end.stderr);

    let process = edge(&folder, &[("NATS_URL", &url)]);
    poll::until("it waits", SOON, || process.stderr().iter().any(waits).then_some(()));
    server.restart();
    poll::until("it is ready", SOON, || {
        process.stderr().iter().any(|line| line.contains("\"ready\"")).then_some(())
    });
    process.terminate();
    let end = process.finish();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(end.stderr.matches("cannot be reached").count(), 1, "{}", end.stderr);
    assert_eq!(end.stderr.matches("the bus is connected again").count(), 1, "{}", end.stderr);
}
