//! What leases cost: messages, statements and CPU for each member, at 1, 10 and 100 of them, and what a
//! revoke takes that waits for so many.

use std::time::{Duration, Instant};

use e2e::cluster::{Cluster, Service};
use e2e::{Api, User, prometheus};
use latchkey_client::{Memory, Options, Verifier};

use crate::load::quantile;
use crate::proc::cpu_seconds;
use crate::say;

/// Members of each measurement; the cluster's edge is one of them.
const MEMBERS: [usize; 3] = [1, 10, 100];
/// How long each is measured at rest.
const REST: Duration = Duration::from_secs(10);
/// Revokes that are timed.
const REVOKES: usize = 50;

/// Prints the figures.
pub async fn figures() {
    say("\n## Leases: an edge and clients that remember, at rest; then revokes that wait for all");
    let mut cluster = Cluster::builder().own_postgres().start();
    let (api, url) = (cluster.api(0), cluster.bus_url());
    let user = api.user().await;
    let mut clients = Vec::new();
    say("members  requests/s  statements/s  a member   CPU: keys  identity  NATS  Postgres");
    for members in MEMBERS {
        while clients.len() + 1 < members {
            let options = Options { url: url.clone(), ..Options::default() };
            clients.push(Verifier::remembering(options, Memory::default()).await.unwrap());
        }
        cluster.joined(i64::try_from(members).unwrap()).await;
        at_rest(&mut cluster, members).await;
        revokes(&api, &user, members).await;
    }
}

async fn at_rest(cluster: &mut Cluster, members: usize) {
    let pids = [
        cluster.replica(Service::Keys, 0).pid(),
        cluster.replica(Service::Identity, 0).pid(),
        cluster.bus().pid(),
        cluster.postgres().pid(),
    ];
    let busy = || pids.map(cpu_seconds);
    let (counted, spent) = (counts(cluster).await, busy());
    tokio::time::sleep(REST).await;
    let (seconds, after) = (REST.as_secs_f64(), counts(cluster).await);
    let [requests, statements] = [(after.0 - counted.0) / seconds, (after.1 - counted.1) / seconds];
    let share = |at: usize, now: [f64; 4]| (now[at] - spent[at]) / seconds * 100.0;
    let now = busy();
    let [keys, identity, nats, postgres] = [0, 1, 2, 3].map(|at| share(at, now));
    let each = (requests / members as f64, statements / members as f64);
    say(&format!(
        "{members:>7} {requests:>11.1} {statements:>13.1}  {:.1}, {:.1}   {keys:>8.1} % {identity:>6.1} % \
         {nats:>4.1} % {postgres:>4.1} %",
        each.0, each.1
    ));
}

async fn revokes(api: &Api, user: &User, members: usize) {
    let mut times = Vec::with_capacity(REVOKES);
    for _ in 0..REVOKES {
        let key = api.key(&user.token, "ends").await;
        let began = Instant::now();
        let body = api.revoke(&user.token, key.id).await.expect(200);
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(body["receipt"]["edges_confirmed"], members, "{body}");
    }
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
    say(&format!(
        "        {REVOKES} revokes, each confirmed by {members}: p50 {p50:.1} ms, p99 {p99:.1} ms"
    ));
}

/// Requests that both services have answered so far, and statements that they have run.
async fn counts(cluster: &Cluster) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for service in [Service::Keys, Service::Identity] {
        let text = prometheus::scrape(&cluster.replica(service, 0).monitor()).await;
        let sum = |name| prometheus::value(&text, name, &[]).unwrap_or_default();
        sums.0 += sum("latchkey_bus_served_total");
        sums.1 += sum("latchkey_db_statement_duration_seconds_count");
    }
    sums
}
