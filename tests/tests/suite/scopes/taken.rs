//! A scope that is taken from a key at one edge is worth nothing at the other from the answer on, however many ask.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use e2e::prometheus::{scrape, value};
use e2e::{Api, Cluster, Service, database};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// Who asks at the same time, and how often each does: about half of it comes to either edge.
const TASKS: usize = 64;
const EACH: usize = 40;
/// Of these at the edge that remembers, at least.
const AT_LEAST: f64 = 1_000.0;
/// How often the scope is taken away and given back.
const ROUNDS: usize = 3;
/// How long one question waits.
const PATIENCE: Duration = Duration::from_secs(10);
const SCOPE: &str = "orders:write";

/// What came of the questions that were asked together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    valid: usize,
    insufficient: usize,
    other: Vec<String>,
}

async fn ask(client: &Client, key: &str) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    headers.insert("Latchkey-Timeout-Ms", PATIENCE.as_millis().to_string());
    let payload = json!({"credential": key, "required_scope": SCOPE}).to_string();
    let request = async_nats::Request::new().headers(headers).payload(payload.into());
    let reply = client.send_request("v1.verify", request.timeout(Some(PATIENCE))).await;
    let reply = reply.expect("an answer");
    let body: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
    body["outcome"].as_str().map_or_else(|| format!("{:?}", reply.headers), str::to_owned)
}

async fn ask_all(client: &Client, key: &str) -> Said {
    let mut said = Said::default();
    let tasks = (0..TASKS).map(|_| {
        let (client, key) = (client.clone(), key.to_owned());
        tokio::spawn(async move {
            let mut all = Vec::with_capacity(EACH);
            for _ in 0..EACH {
                all.push(ask(&client, &key).await);
            }
            all
        })
    });
    for outcome in join_all(tasks).await.into_iter().flat_map(Result::unwrap) {
        match outcome.as_str() {
            "valid" => said.valid += 1,
            "insufficient_scope" => said.insufficient += 1,
            _ => said.other.push(outcome),
        }
    }
    said
}

/// Questions that an edge has answered on the bus.
async fn answered(cluster: &Cluster, edge: usize) -> f64 {
    let text = scrape(&cluster.replica(Service::Edge, edge).monitor()).await;
    let labels = [("subject", "v1.verify")];
    value(&text, "latchkey_bus_served_total", &labels).unwrap_or_default()
}

async fn grant(api: &Api, token: &str, key: &Value, scopes: &[&str]) {
    let call = api.call("PATCH", &format!("/keys/{}", key["id"])).bearer(token);
    let body = call.json(&json!({"scopes": scopes})).send().await.expect(200);
    assert_eq!(body["receipt"]["edges_confirmed"], 2, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_that_one_edge_takes_is_worth_nothing_at_the_other_from_the_answer_on() {
    let builder = Cluster::builder().unhurried().replicas(Service::Edge, 2).cheap_passwords();
    let cluster = block_in_place(|| builder.start());
    database::until_told(cluster.database(Service::Keys)).await;
    let (first, second) = (cluster.api(0), cluster.api(1));
    let user = first.user().await;
    let body = json!({"name": "scoped", "scopes": ["orders:read", SCOPE]});
    let key = first.post("/keys").bearer(&user.token).json(&body).send().await.expect(201);
    let text = key["key"].as_str().unwrap();
    let client = async_nats::connect(cluster.bus_url()).await.unwrap();
    for _ in 0..ROUNDS {
        // Both remember it.
        cluster.remembers(1).await;
        second.as_service(text).await.expect(200);
        second.as_service(text).await.expect(200);
        let before = ask_all(&client, text).await;
        assert_eq!((before.valid, &before.other), (TASKS * EACH, &Vec::new()), "{before:?}");

        grant(&first, &user.token, &key, &["orders:read"]).await;
        let had = answered(&cluster, 1).await;
        let after = ask_all(&client, text).await;
        let at_second = answered(&cluster, 1).await - had;
        assert_eq!(after.valid, 0, "{after:?}");
        assert_eq!((after.insufficient, &after.other), (TASKS * EACH, &Vec::new()), "{after:?}");
        assert!(at_second >= AT_LEAST, "{at_second} came to the second edge");
        // It is good for what it may still do.
        second.as_service(text).await.expect(200);

        grant(&first, &user.token, &key, &["orders:read", SCOPE]).await;
    }
}
