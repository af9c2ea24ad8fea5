//! Whether an edge is ready: looked at apart from whoever asks, and yes while it can answer from memory or ask.

use std::time::{Duration, Instant};

use e2e::raw::exchange;
use e2e::relay::Relay;
use e2e::{Api, Cluster, Service, poll, prometheus};
use serde_json::{Value, json};

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// Waits until an edge says so of itself, here and to its monitor.
async fn until(cluster: &Cluster, status: u16, away: Option<&[&str]>) {
    let api = cluster.api(0);
    let monitor = Api::new(&cluster.replica(Service::Edge, 0).monitor());
    poll::until_async("the edge's readiness", SOON, || async {
        let seen = monitor.get("/health/ready").send().await.status;
        let answer = api.get("/health/ready").send().await;
        if answer.status != status || seen != status {
            return None;
        }
        let body: Value = answer.json();
        let named = away.map_or(Value::Null, |away| json!(away));
        (status != 200 || body["away"] == named).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_asks_whether_an_edge_is_ready_costs_the_services_nothing() {
    const ASKED: u32 = 300;
    let cluster = Cluster::builder().start();
    let api = cluster.api(0);
    let keys = cluster.replica(Service::Keys, 0).monitor();
    let asked = async || {
        let text = prometheus::scrape(&keys).await;
        let subject = [("subject", "v1.keys.ready")];
        prometheus::value(&text, "latchkey_bus_served_total", &subject).unwrap_or_default()
    };
    let (begun, before) = (Instant::now(), asked().await);
    for _ in 0..ASKED {
        api.get("/health/ready").send().await.expect(200);
    }
    let more = asked().await - before;
    // Once a second, whoever asks.
    let most = begun.elapsed().as_secs_f64() + 2.0;
    assert!(more <= most, "{more} questions to the service in {ASKED} to the edge");
}

#[tokio::test]
async fn one_service_or_database_away_keeps_an_edge_ready_and_says_which_it_is() {
    let mut cluster = Cluster::builder().own_postgres().start();
    let port = cluster.postgres().port();
    let relay = Relay::to(port);
    let through = cluster
        .database(Service::Keys)
        .replace(&format!(":{port}/"), &format!(":{}/", relay.port()));
    let keys = cluster.replica_mut(Service::Keys, 0);
    keys.set("DATABASE_URL", &through);
    keys.restart();
    let user = cluster.api(0).user().await;
    until(&cluster, 200, None).await;

    relay.cut();
    until(&cluster, 200, Some(&["keys"])).await;
    cluster.api(0).as_user(&user.token).await.expect(200);
    // It asks in vain with both away, and is of no use when what it remembers has run out.
    cluster.replica_mut(Service::Identity, 0).kill();
    until(&cluster, 503, None).await;
    let answer = cluster.api(0).get("/health/ready").send().await;
    answer.problem(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());

    cluster.replica_mut(Service::Identity, 0).restart();
    until(&cluster, 200, Some(&["keys"])).await;
    relay.mend();
    until(&cluster, 200, None).await;
}

#[tokio::test]
async fn an_edge_that_starts_before_the_bus_says_so_and_begins_by_itself() {
    let mut cluster = Cluster::builder().start();
    let user = cluster.api(0).user().await;
    let key = cluster.api(0).key(&user.token, "kept").await;
    let edge = cluster.replica_mut(Service::Edge, 0);
    edge.stop();
    cluster.bus().stop();
    let edge = cluster.replica_mut(Service::Edge, 0);
    edge.launch();
    let url = edge.url().to_owned();
    poll::until("it answers", SOON, || {
        let answer = exchange_if_there(&url, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")?;
        (answer == 200).then_some(())
    });
    let api = cluster.api(0);
    let refused = [
        api.as_service(&key.key).await,
        api.as_user(&user.token).await,
        api.log_in(&user.username, &user.password).await,
        api.make_key(&user.token, &json!({"name": "none"})).await,
        api.get("/keys").bearer(&user.token).send().await,
        api.get("/health/ready").send().await,
    ];
    for answer in &refused {
        answer.problem(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(api.get("/docs").send().await.status, 200);
    let monitor = Api::new(&cluster.replica(Service::Edge, 0).monitor());
    assert_eq!(monitor.get("/health/live").send().await.status, 200);
    assert_eq!(monitor.get("/health/ready").send().await.status, 503);

    // One that is asked to end meanwhile ends.
    let end = cluster.replica_mut(Service::Edge, 0).stop();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    cluster.replica_mut(Service::Edge, 0).launch();
    cluster.bus().restart();
    cluster.replica_mut(Service::Edge, 0).wait_ready();
    let api = cluster.api(0);
    poll::until_async("it asks", SOON, || async {
        (api.as_service(&key.key).await.status == 200).then_some(())
    })
    .await;
    until(&cluster, 200, None).await;
}

/// The status of an answer, if anybody is there to give one.
fn exchange_if_there(url: &str, message: &str) -> Option<u16> {
    let address = url.strip_prefix("http://").expect("an address");
    std::net::TcpStream::connect(address).ok()?;
    exchange(url, message).map(|answer| answer.status)
}
