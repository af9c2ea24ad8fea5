//! The standalone: verified requests beside the floor, memory, and the time to start.

use std::time::Instant;

use e2e::Stack;

use crate::floor::Floor;
use crate::load::{Target, get, head};
use crate::proc::resident_mib;
use crate::{CONNECTIONS, ROUNDS, say};

const STARTS: usize = 5;

/// Prints the figures.
pub async fn figures() {
    say("\n## Standalone: verified requests beside a bare axum server, in turn");
    let floor = Floor::start();
    let mut stack = Stack::start();
    let pid = stack.embedded().unwrap().pid;
    let idle = resident_mib(pid);
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "bench").await;
    let target = |path: &str, header: &str| Target {
        pids: vec![pid],
        addresses: vec![stack.url().trim_start_matches("http://").to_owned()],
        requests: get(path, header),
        connections: CONNECTIONS,
    };
    let service = target("/protected/service", &format!("x-api-key: {}", key.key));
    let by_token = target("/protected/user", &format!("authorization: Bearer {}", user.token));
    say("One key and one token, remembered by the edge.");
    head();
    for round in 1..=ROUNDS {
        let bare = floor.target.measure().await;
        bare.row(round, "bare axum", &bare);
        service.measure().await.row(round, "/protected/service", &bare);
        by_token.measure().await.row(round, "/protected/user", &bare);
    }
    say(&format!("resident memory idle {idle:.1} MiB"));
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
