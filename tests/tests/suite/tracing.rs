//! Traces: one request is one tree over every process, as OpenTelemetry's conventions name its parts.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::otlp::{Collector, Seen};
use e2e::process::free_port;
use e2e::{Api, Cluster, Service, poll, prometheus, unique};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

/// The client's own span, which the edge's is to be a part of.
const CLIENT_SPAN: &str = "00f067aa0ba902b7";

/// Traces that are looked at until one is of a request that nothing held up.
const ATTEMPTS: usize = 10;

/// Bound on a log line's way to the test.
const ARRIVES: Duration = Duration::from_secs(30);

/// A `traceparent` of a new trace, with its id.
fn traceparent(sampled: bool) -> (String, String) {
    let id = format!("{:0>32}", unique("").replace(|c: char| !c.is_ascii_hexdigit(), "a"));
    let id: String = id.chars().rev().take(32).collect();
    (format!("00-{id}-{CLIENT_SPAN}-0{}", u8::from(sampled)), id)
}

/// The cluster, telling `collector` about every request that asks for it, and no other.
fn cluster(collector: &Collector) -> Cluster {
    Cluster::builder()
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .set("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        .set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        // What is remembered is asked of nobody, and has no spans to see.
        .set("CACHE", "off")
        .start()
}

/// The parts of a span, in the order they came; fails where there is not exactly one of that name.
fn only<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {:#?}", names(spans));
    found[0]
}

/// The one span of that name that hangs on `parent`.
fn child<'a>(spans: &'a [Seen], name: &str, parent: &Seen) -> &'a Seen {
    let found: Vec<_> =
        spans.iter().filter(|span| span.name == name && span.parent == parent.id).collect();
    assert_eq!(found.len(), 1, "{name} of {} in {:#?}", parent.name, names(spans));
    found[0]
}

fn names(spans: &[Seen]) -> Vec<String> {
    spans.iter().map(|span| format!("{}: {}", span.service, span.name)).collect()
}

fn has(spans: &[Seen], name: &str) -> bool {
    spans.iter().any(|span| span.name == name)
}

/// Whether somebody asked twice for the same: on a busy machine an answer may come too late.
fn asked_again(spans: &[Seen]) -> bool {
    let asked = spans.iter().filter(|span| span.name.starts_with("request "));
    let mut seen = BTreeSet::new();
    asked.into_iter().any(|span| !seen.insert((span.name.as_str(), span.parent.as_str())))
}

/// The trace of a key that is made without anybody's having to ask twice.
async fn traced_key(collector: &Collector, api: &Api, token: &str) -> Vec<Seen> {
    // Each process' last span: what it did for this one ended before.
    let last = ["POST /keys/create", "process v1.keys.issue", "process v1.identity.verify"];
    let verified = |spans: &[Seen]| {
        spans.iter().filter(|span| span.name == "process v1.identity.verify").count()
    };
    for _ in 0..ATTEMPTS {
        let (header, id) = traceparent(true);
        let call = api.post("/keys/create").bearer(token).header("traceparent", header);
        let call = call.header("tracestate", "vendor=1").json(&json!({"name": unique("traced")}));
        let answer = call.send().await;
        if answer.status == 503 {
            continue;
        }
        answer.expect(201);
        let spans = collector
            .trace(&id, |spans| last.iter().all(|name| has(spans, name)) && verified(spans) >= 2);
        if !asked_again(&spans) {
            return spans;
        }
    }
    panic!("somebody asked twice in each of {ATTEMPTS} traces");
}

/// Every span hangs on another one, up to the client's: one tree.
fn assert_one_tree(spans: &[Seen]) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    for span in spans {
        let known = ids.contains(span.parent.as_str()) || span.parent == CLIENT_SPAN;
        assert!(known, "{} hangs on nothing: {:#?}", span.name, names(spans));
    }
    let roots = spans.iter().filter(|span| span.parent == CLIENT_SPAN).count();
    assert_eq!(roots, 1, "{:#?}", names(spans));
}

#[tokio::test]
async fn one_request_is_one_tree_over_edge_bus_service_and_statement() {
    let collector = Collector::start();
    let cluster = cluster(&collector);
    let api = cluster.api(0);
    let user = api.user().await;
    let spans = traced_key(&collector, &api, &user.token).await;
    assert_one_tree(&spans);

    let server = only(&spans, "POST /keys/create");
    assert_eq!((server.service.as_str(), server.kind), ("latchkey-edge", SpanKind::Server));
    assert_eq!(server.parent, CLIENT_SPAN);
    assert_eq!(server.attribute("http.request.method"), "POST");
    assert_eq!(server.attribute("http.route"), "/keys/create");
    assert_eq!(server.attribute("http.response.status_code"), "201");

    let check_hop = |subject: &str, service: &str, from: &Seen| {
        let asked = child(&spans, &format!("request {subject}"), from);
        assert_eq!((asked.service.as_str(), asked.kind), ("latchkey-edge", SpanKind::Client));
        let answered = child(&spans, &format!("process {subject}"), asked);
        assert_eq!((answered.service.as_str(), answered.kind), (service, SpanKind::Server));
        for span in [asked, answered] {
            assert_eq!(span.attribute("messaging.system"), "nats");
            assert_eq!(span.attribute("messaging.destination.name"), subject);
            assert!(span.whole.contains("vendor=1"), "the client's tracestate: {}", span.whole);
        }
        answered.clone()
    };
    let issuing = check_hop("v1.keys.issue", "latchkey-keys", server);
    // The question for the token goes out together with whatever queued up: a span of its own. It is asked
    // again behind the key.
    let batches: Vec<_> = spans.iter().filter(|span| span.name == "ask tokens").collect();
    assert_eq!(batches.len(), 2, "{:#?}", names(&spans));
    for batch in batches {
        assert_eq!(batch.parent, server.id);
        assert_eq!(batch.attribute("latchkey.batch.size"), "1");
        let verifying = check_hop("v1.identity.verify", "latchkey-identity", batch);
        let lookup = child(&spans, "look up sessions", &verifying);
        let select = child(&spans, "SELECT sessions", lookup);
        assert_eq!(select.service, "latchkey-identity");
    }

    let insert = only(&spans, "INSERT api_keys");
    assert_eq!((insert.service.as_str(), insert.kind), ("latchkey-keys", SpanKind::Client));
    let transaction = only(&spans, "issue key");
    assert_eq!(transaction.parent, issuing.id);
    assert_eq!(insert.parent, transaction.id);
    child(&spans, "INSERT keys_audit_events", transaction);
    assert_eq!(insert.attribute("db.system.name"), "postgresql");
    assert_eq!(insert.attribute("db.operation.name"), "INSERT");
    assert_eq!(insert.attribute("db.query.summary"), "INSERT api_keys");

    for span in &spans {
        let resource = |name: &str| span.resource.get(name).cloned().unwrap_or_default();
        assert_eq!(resource("service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(resource("service.instance.id").len(), 32);
        assert_eq!(resource("deployment.environment.name"), "test");
    }
}

#[tokio::test]
async fn a_request_that_its_client_does_not_trace_exports_nothing_and_a_failed_one_a_span() {
    let collector = Collector::start();
    let mut cluster = cluster(&collector);
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "quiet").await;
    let (not_sampled, silent) = traceparent(false);
    for header in [not_sampled.as_str(), "no traceparent", ""] {
        let call = api.get("/protected/service").api_key(&key.key).header("traceparent", header);
        call.send().await.expect(200);
    }
    // What fails is kept without anybody's asking: one span, of the edge alone.
    cluster.replica_mut(Service::Keys, 0).kill();
    api.as_service(&key.key).await.problem(503, "");
    // A later trace that has arrived comes after whatever the requests before it would have sent.
    let (sampled, id) = traceparent(true);
    api.get("/protected/user").bearer(&user.token).header("traceparent", sampled).send().await;
    collector
        .trace(&id, |spans| has(spans, "GET /protected/user") && has(spans, "SELECT sessions"));
    let others: Vec<_> = collector.spans().into_iter().filter(|span| span.trace != id).collect();
    assert!(others.iter().all(|span| span.trace != silent), "{:#?}", names(&others));
    let failed = only(&others, "GET /protected/service");
    assert_eq!(others.len(), 1, "{:#?}", names(&others));
    assert!(failed.failed && failed.parent.is_empty(), "{failed:#?}");
    assert_eq!(failed.attribute("http.response.status_code"), "503");
    assert_eq!(failed.attribute("error.type"), "503");
}

/// The log line of this edge that has this request's id.
fn line_of(cluster: &Cluster, service: Service, request_id: &str) -> Value {
    poll::until("its line", ARRIVES, || {
        cluster.replica(service, 0).logs().iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            (line["request_id"] == request_id).then_some(line)
        })
    })
}

#[tokio::test]
async fn log_lines_problem_document_and_trace_of_one_request_lead_to_each_other() {
    let collector = Collector::start();
    let mut cluster = Cluster::builder()
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .set("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        .set("RUST_LOG", "info,audit=debug")
        .start();
    let api = cluster.api(0);
    let user = api.user().await;
    let log_in = || {
        let body = json!({"username": user.username, "password": "not this one"});
        api.post("/auth/login").json(&body)
    };
    let (header, id) = traceparent(true);
    let document = log_in().header("traceparent", header).send().await.problem(401, "");
    assert_eq!(document["trace_id"], id);
    let request_id = document["request_id"].as_str().unwrap();
    for service in [Service::Edge, Service::Identity] {
        let line = line_of(&cluster, service, request_id);
        assert_eq!(line["trace_id"], id, "{line}");
    }
    let processed = "process v1.identity.login";
    let spans =
        collector.trace(&id, |spans| has(spans, "POST /auth/login") && has(spans, processed));
    for name in ["POST /auth/login", processed] {
        assert_eq!(only(&spans, name).attribute("latchkey.request.id"), request_id);
    }
    // What is not traced names no trace.
    let document = log_in().send().await.problem(401, "");
    assert!(document.get("trace_id").is_none(), "{document}");
    let line = line_of(&cluster, Service::Edge, document["request_id"].as_str().unwrap());
    assert!(line.get("trace_id").is_none(), "{line}");
    // What fails is traced after the fact.
    cluster.replica_mut(Service::Identity, 0).kill();
    let document = log_in().send().await.problem(503, "");
    let id = document["trace_id"].as_str().expect("a trace").to_owned();
    let request_id = document["request_id"].as_str().unwrap();
    assert_eq!(line_of(&cluster, Service::Edge, request_id)["trace_id"], id);
    let spans = collector.trace(&id, |spans| has(spans, "POST /auth/login"));
    assert_eq!(spans[0].attribute("latchkey.request.id"), request_id);
}

#[tokio::test]
async fn a_transaction_is_a_span_around_its_statements_that_says_what_became_of_it() {
    let collector = Collector::start();
    let cluster = cluster(&collector);
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "ended").await;
    let (header, id) = traceparent(true);
    let path = format!("/keys/{}", key.id);
    let call = api.delete(&path).bearer(&user.token).header("traceparent", header);
    call.send().await.expect(200);
    let spans = collector.trace(&id, |spans| {
        ["DELETE /keys/{key_id}", "process v1.keys.revoke", "revoke key"]
            .iter()
            .all(|name| has(spans, name))
    });
    assert_one_tree(&spans);
    let transaction = only(&spans, "revoke key");
    assert_eq!(transaction.parent, only(&spans, "process v1.keys.revoke").id);
    assert_eq!(transaction.attribute("latchkey.transaction.outcome"), "committed");
    for statement in ["BEGIN", "COMMIT"] {
        child(&spans, statement, transaction);
    }
    let is_update = |span: &&Seen| span.name == "UPDATE api_keys" && span.parent == transaction.id;
    assert!(spans.iter().any(|span| is_update(&span)), "{:#?}", names(&spans));
    let metrics = prometheus::scrape(&cluster.replica(Service::Keys, 0).monitor()).await;
    let labels = [("transaction", "revoke key"), ("outcome", "committed")];
    let counted = "latchkey_db_transaction_duration_seconds_count";
    assert_eq!(prometheus::value(&metrics, counted, &labels), Some(1.0));
}

#[tokio::test]
async fn a_probe_that_is_told_not_ready_exports_nothing() {
    let collector = Collector::start();
    let mut cluster = cluster(&collector);
    cluster.replica_mut(Service::Edge, 0).stop();
    cluster.bus().stop();
    cluster.replica_mut(Service::Edge, 0).launch();
    let api = cluster.api(0);
    let ready = || async { api.get("/health/ready").try_send().await.ok() };
    poll::until_async("the edge answers", ARRIVES, ready).await.problem(503, "unavailable");
    // A trace that has arrived comes after whatever the probes before it would have sent.
    let (sampled, id) = traceparent(true);
    api.get("/health").header("traceparent", sampled).send().await.expect(200);
    collector.trace(&id, |spans| has(spans, "GET /health"));
    let others: Vec<_> = collector.spans().into_iter().filter(|span| span.trace != id).collect();
    assert!(others.is_empty(), "{:#?}", names(&others));
}

#[tokio::test]
async fn requests_that_are_asked_together_share_a_batch_that_is_linked_to_each() {
    let collector = Collector::start();
    let cluster = cluster(&collector);
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "together").await;
    let mut traces = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..64 {
        let (header, id) = traceparent(true);
        traces.push(id);
        let call = api.get("/protected/service").api_key(&key.key).header("traceparent", header);
        calls.push(tokio::spawn(call.send()));
    }
    for call in calls {
        call.await.unwrap().expect(200);
    }
    let roots = || -> Vec<Seen> {
        let spans = collector.spans().into_iter();
        spans.filter(|span| span.name == "GET /protected/service").collect()
    };
    poll::until("every request has a span", ARRIVES, || (roots().len() == 64).then_some(()));
    let spans = collector.spans();
    let batches: Vec<_> = spans.iter().filter(|span| span.name == "ask keys").collect();
    let size = |span: &&Seen| span.attribute("latchkey.batch.size").parse::<usize>().unwrap();
    assert_eq!(batches.iter().map(size).sum::<usize>(), 64);
    // Each request is either the parent of its batch or linked from it.
    let roots: BTreeSet<_> = roots().into_iter().map(|span| span.id).collect();
    let mut told: BTreeSet<String> = BTreeSet::new();
    for batch in &batches {
        told.insert(batch.parent.clone());
        told.extend(batch.links.iter().cloned());
    }
    assert_eq!(told, roots);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_one_log_line_and_no_request() {
    let cluster = Cluster::builder()
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{}", free_port()))
        .set("OTEL_TRACES_SAMPLER", "always_on")
        .start();
    let api = cluster.api(0);
    let user = api.user().await;
    let edge = cluster.replica(Service::Edge, 0);
    let complaints = || {
        let of_spans = |line: &&String| line.contains("spans cannot be sent");
        edge.logs().iter().filter(of_spans).count()
    };
    poll::until("the collector is missed", ARRIVES, || (complaints() == 1).then_some(()));
    let dropped = || async {
        let text = reqwest::get(format!("{}/metrics", edge.monitor())).await.unwrap();
        let text = text.text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with("latchkey_spans_dropped_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // Several more batches are dropped, and nothing more is said about it.
    for _ in 0..3 {
        let before = dropped().await;
        api.as_user(&user.token).await.expect(200);
        poll::until_async("further spans are dropped", ARRIVES, || async {
            (dropped().await > before).then_some(())
        })
        .await;
    }
    assert_eq!(complaints(), 1, "{:#?}", edge.logs());
}
