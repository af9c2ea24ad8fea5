//! The standalone: verified requests beside the floor, memory, and the time to start.

use std::time::Instant;

use e2e::otlp::Collector;
use e2e::{Api, Stack};
use serde_json::json;

use crate::floor::Floor;
use crate::load::{Target, get, head};
use crate::proc::resident_mib;
use crate::{CONNECTIONS, ROUNDS, say};

const STARTS: usize = 5;

/// The trace context of a client that traces its request.
const TRACED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Prints the figures.
pub async fn figures() {
    say("\n## Standalone: verified requests beside a bare axum server, in turn");
    let floor = Floor::start();
    let mut stack = Stack::start();
    let pid = stack.embedded().unwrap().pid;
    let idle = resident_mib(pid);
    let api = stack.api();
    let user = api.user().await;
    let key = scoped(&api, &user.token).await;
    let target = |path: &str, header: &str| Target {
        pids: vec![pid],
        addresses: vec![stack.url().trim_start_matches("http://").to_owned()],
        requests: get(path, header),
        connections: CONNECTIONS,
    };
    let service = target("/protected/service", &format!("x-api-key: {key}"));
    let by_token = target("/protected/user", &format!("authorization: Bearer {}", user.token));
    say("One key with scopes and one token, remembered by the edge.");
    head();
    for round in 1..=ROUNDS {
        let bare = floor.target.measure().await;
        bare.row(round, "bare axum", &bare);
        service.measure().await.row(round, "/protected/service", &bare);
        by_token.measure().await.row(round, "/protected/user", &bare);
    }
    say(&format!("resident memory idle {idle:.1} MiB"));
    traced(&floor).await;
    let mut starts: Vec<f64> = (0..STARTS)
        .map(|_| {
            stack.kill();
            let began = Instant::now();
            stack.restart();
            began.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    starts.sort_by(f64::total_cmp);
    let median = starts[STARTS / 2];
    say(&format!("start to ready on an existing database, median of {STARTS}: {median:.0} ms"));
}

/// A new key with scopes.
async fn scoped(api: &Api, token: &str) -> String {
    let scopes = ["customers:read", "invoices:*", "orders:read", "orders:write"];
    let body = json!({"name": "bench", "scopes": scopes});
    let key = api.make_key(token, &body).await.expect(201)["key"].clone();
    key.as_str().unwrap().to_owned()
}

/// The same with a collector of traces: 1 request of 100 is traced, and then every one.
async fn traced(floor: &Floor) {
    let collector = Collector::start();
    let stack = Stack::with(|config| {
        config.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
    });
    let api = stack.api();
    let key = scoped(&api, &api.user().await.token).await;
    let target = |more: &str| Target {
        pids: vec![stack.embedded().unwrap().pid],
        addresses: vec![stack.url().trim_start_matches("http://").to_owned()],
        requests: get("/protected/service", &format!("x-api-key: {key}{more}")),
        connections: CONNECTIONS,
    };
    let (some, every) = (target(""), target(&format!("\r\n{TRACED}")));
    say("The key again, with traces exported to a collector on this machine.");
    head();
    for round in 1..=ROUNDS {
        let bare = floor.target.measure().await;
        bare.row(round, "bare axum", &bare);
        some.measure().await.row(round, "1 % traced", &bare);
        let before = collector.count();
        let traced = every.measure().await;
        traced.row(round, "every one traced", &bare);
        let (made, sent) = (traced.good, collector.count() - before);
        say(&format!("       of which {sent} of {made} spans have come to the collector by then"));
    }
}
