//! Metrics: they are what their documents, the dashboard and the alarms say, and they count what happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use e2e::account::PASSWORD;
use e2e::answer::id;
use e2e::prometheus::{Names, asked, names, scrape, value};
use e2e::{Cluster, Service, poll, unique};
use latchkey_runtime::metrics::{ALL, Kind};
use serde_json::{Value, json};

/// Bound on whatever is waited for.
const SOON: std::time::Duration = std::time::Duration::from_mins(1);
/// Labels that Prometheus adds to everything.
const ADDED: [&str; 2] = ["instance", "job"];

fn repository(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics of one process of each service, one after the other.
async fn scrape_all(cluster: &Cluster) -> String {
    let mut text = String::new();
    for service in Service::ALL {
        text.push_str(&scrape(&cluster.replica(service, 0).monitor()).await);
    }
    text
}

/// A little of everything that a healthy system does, each asked for once: it is counted.
async fn traffic(cluster: &Cluster) {
    let (api, username) = (cluster.api(0), unique("counted"));
    api.sign_up_as(&username, PASSWORD).await.expect(201);
    let token = api.log_in(&username, PASSWORD).await.expect(200);
    let token = token["access_token"].as_str().unwrap();
    let key = api.make_key(token, &json!({"name": "counted"})).await.expect(201);
    let text = key["key"].as_str().unwrap();
    api.as_service(text).await.expect(200);
    api.as_user(token).await.expect(200);
    api.get("/keys").bearer(token).send().await.expect(200);
    api.log_in(&username, "not this one").await.problem(401, "");
    api.revoke(token, id(&key["id"])).await.expect(200);
    api.as_service(text).await.unauthenticated();
    api.get("/nothing").send().await.problem(404, "");
}

#[tokio::test]
async fn every_metric_is_there_with_its_labels_and_no_other_is() {
    let cluster = Cluster::builder().start();
    traffic(&cluster).await;
    let text = scrape_all(&cluster).await;
    let mut seen: Names = names(&text);
    for metric in ALL {
        let parts: &[&str] = match metric.kind {
            Kind::Counter | Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
        };
        for part in parts {
            let name = format!("{}{part}", metric.name);
            let mut labels = seen.remove(&name).unwrap_or_else(|| panic!("no {name} in {text}"));
            labels.remove("le");
            let told: Vec<_> = labels.iter().map(String::as_str).collect();
            let mut known = metric.labels.to_vec();
            known.sort_unstable();
            assert_eq!(told, known, "{name}");
        }
        assert!(
            text.contains(&format!("# HELP {} {}", metric.name, metric.help)),
            "{}",
            metric.name
        );
    }
    assert!(seen.is_empty(), "not in the table: {seen:#?}");
}

#[test]
fn the_document_lists_every_metric_as_the_program_does() {
    let document = repository("docs/metrics.md");
    let rows: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `latchkey_") || line.starts_with("| `process_"))
        .collect();
    let row = |metric: &latchkey_runtime::metrics::Metric| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
    };
    let expected: Vec<String> = ALL.iter().map(row).collect();
    assert_eq!(rows, expected);
}

/// Every expression of the dashboard and of the alarms.
fn expressions() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&repository("deploy/dashboards/latchkey.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut all: Vec<String> =
        targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let alarms = repository("deploy/dashboards/alerts.yml");
    let written = alarms.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let before = all.len();
    all.extend(written.map(ToOwned::to_owned));
    assert_eq!(
        all.len() - before,
        alarms.matches("- alert:").count(),
        "an expression of each alarm"
    );
    all
}

#[tokio::test]
async fn the_dashboard_and_the_alarms_ask_only_for_metrics_and_labels_that_exist() {
    let cluster = Cluster::builder().start();
    traffic(&cluster).await;
    let there = names(&scrape_all(&cluster).await);
    let all = expressions();
    assert!(all.len() > 40, "are these all expressions? {all:#?}");
    let mut used = BTreeMap::new();
    for expression in &all {
        for (name, labels) in asked(expression) {
            let known = there.get(&name).unwrap_or_else(|| panic!("no {name}, for {expression}"));
            for label in labels {
                let exists = known.contains(&label) || ADDED.contains(&label.as_str());
                assert!(exists, "{name} has no label {label}, for {expression}");
            }
            used.insert(name, expression);
        }
    }
    // And what is counted is shown.
    for metric in ALL {
        let shown = used.keys().any(|name| name.starts_with(metric.name));
        assert!(shown, "{} is on no panel and in no alarm", metric.name);
    }
}

#[tokio::test]
async fn what_happened_is_counted_by_route_verdict_and_login() {
    let cluster = Cluster::builder().start();
    traffic(&cluster).await;
    let edge = scrape(&cluster.replica(Service::Edge, 0).monitor()).await;
    let requests = |route, status| {
        value(&edge, "latchkey_http_requests_total", &[("route", route), ("status", status)])
    };
    assert_eq!(requests("/protected/service", "2xx"), Some(1.0));
    assert_eq!(requests("/protected/service", "4xx"), Some(1.0));
    assert_eq!(requests("/keys/{key_id}", "2xx"), Some(1.0));
    assert_eq!(requests("unmatched", "4xx"), Some(1.0));
    let verdicts = |kind, outcome| {
        value(&edge, "latchkey_verifications_total", &[("kind", kind), ("outcome", outcome)])
    };
    assert_eq!(verdicts("key", "valid"), Some(1.0));
    assert_eq!(verdicts("key", "revoked"), Some(1.0));
    // One a request, and one more behind the key that was made: its maker's session is asked for again.
    assert_eq!(verdicts("token", "valid"), Some(5.0));
    let timed = [("route", "/protected/service")];
    assert_eq!(value(&edge, "latchkey_http_request_duration_seconds_count", &timed), Some(2.0));
    let identity = scrape(&cluster.replica(Service::Identity, 0).monitor()).await;
    let logins = |outcome| value(&identity, "latchkey_logins_total", &[("outcome", outcome)]);
    assert_eq!(logins("logged_in"), Some(1.0));
    assert_eq!(logins("wrong_credentials"), Some(1.0));
    assert_eq!(value(&identity, "latchkey_hash_duration_seconds_count", &[]), Some(3.0));
}

#[tokio::test]
async fn what_is_good_and_not_enough_is_counted_as_that_and_no_use_of_the_key() {
    let cluster = Cluster::builder().start();
    let api = cluster.api(0);
    let user = api.user().await;
    let bound =
        json!({"name": "elsewhere", "scopes": ["orders:read"], "allowed_ips": ["203.0.113.0/24"]});
    let bound = api.make_key(&user.token, &bound).await.expect(201);
    let worn = api.key(&user.token, "used").await;
    api.as_service(bound["key"].as_str().unwrap()).await.problem(403, "");
    api.as_service(&worn.key).await.expect(200);
    let edge = scrape(&cluster.replica(Service::Edge, 0).monitor()).await;
    let of_keys = |outcome| {
        let labels = [("kind", "key"), ("outcome", outcome)];
        value(&edge, "latchkey_verifications_total", &labels)
    };
    assert_eq!((of_keys("ip_denied"), of_keys("valid")), (Some(1.0), Some(1.0)));
    let shown = poll::until_async("a use is written down", SOON, || async {
        let list = api.get("/keys").bearer(&user.token).send().await.expect(200);
        (!list[1]["last_used_at"].is_null()).then_some(list)
    });
    let list = shown.await;
    assert_eq!((id(&list[0]["id"]), &list[0]["last_used_at"]), (id(&bound["id"]), &Value::Null));
}

#[tokio::test]
async fn no_path_and_nothing_else_of_a_client_becomes_a_label() {
    let cluster = Cluster::builder().start();
    let marks: Vec<String> = (0..3).map(|_| unique("canary")).collect();
    let api = cluster.api(0);
    let [path, name, method] = &marks[..] else { panic!("three marks") };
    api.get(&format!("/keys/{path}")).send().await;
    api.get(&format!("/{path}/{path}?{path}={path}")).send().await;
    api.sign_up_as(name, PASSWORD).await;
    api.log_in(name, PASSWORD).await;
    api.call(&method.to_uppercase(), "/keys").send().await;
    let text = scrape_all(&cluster).await.to_lowercase();
    assert_eq!(value(&text, "latchkey_http_requests_total", &[("method", "_other")]), Some(1.0));
    for mark in &marks {
        assert!(!text.contains(mark), "{mark} in {text}");
    }
}

#[tokio::test]
async fn a_replica_that_has_lost_the_bus_says_so() {
    let mut cluster = Cluster::builder().start();
    let monitor = cluster.replica(Service::Keys, 0).monitor();
    let connected = scrape(&monitor).await;
    let disconnects = |text: &str| value(text, "latchkey_bus_disconnects_total", &[]);
    let before = disconnects(&connected).unwrap_or_default();
    assert_eq!(value(&connected, "latchkey_bus_connected", &[]), Some(1.0));
    cluster.bus().kill();
    let lost = || async {
        let text = scrape(&monitor).await;
        let is = value(&text, "latchkey_bus_connected", &[]) == Some(0.0);
        (is && disconnects(&text).is_some_and(|count| count > before)).then_some(())
    };
    poll::until_async("the bus is missed", std::time::Duration::from_secs(30), lost).await;
}
