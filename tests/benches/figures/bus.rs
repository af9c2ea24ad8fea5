//! The bus: a round trip beside a bare one in the same run, and what batching saves.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::cluster::{Cluster, Service};
use futures_util::StreamExt;
use latchkey_bus::{Bus, Context, NatsOptions, RequestId, Routes};
use latchkey_contract::keys::{RecordUses, VerifyKeys};
use latchkey_contract::lease::MemberResult;
use latchkey_contract::wire::Contracts;
use latchkey_contract::{CallError, CredentialHash};
use latchkey_runtime::Entropy;
use latchkey_runtime::batch::{BatchClient, Work};
use latchkey_runtime::supervisor::Root;
use tokio::task::JoinSet;

use crate::load::quantile;
use crate::proc::cpu_seconds;
use crate::{CONNECTIONS, ROUNDS, say};

/// Round trips of one round, each after the other.
const TRIPS: usize = 5_000;
/// How long a measurement with many in flight takes.
const ROUND: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Prints the figures.
pub async fn figures() {
    say("\n## The bus: a round trip through ours beside a bare request and reply, in turn");
    let mut cluster = Cluster::builder().own_postgres().start();
    let url = cluster.bus().url();
    let bare = bare(&url).await;
    let caller = connect(&url, "edge").await;
    let answerer = connect(&url, "bench").await;
    let routes = Routes::new("bench", "0.0.0", "Answers at once")
        .on::<RecordUses, _, _>(async |_, _| Ok(()));
    // The key service of the cluster would answer the same subject: it is stopped meanwhile.
    cluster.replica_mut(Service::Keys, 0).stop();
    let serving = answerer.serve(routes).await.unwrap();
    for round in 1..=ROUNDS {
        let theirs =
            trips(|| async { drop(bare.request("bench.echo", "x".into()).await.unwrap()) }).await;
        let ours = trips(|| async { call(&caller).await.unwrap() }).await;
        for (name, times) in [("bare", theirs), ("ours", ours)] {
            let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
            say(&format!("{round}      {name}: p50 {p50:.0} µs, p99 {p99:.0} µs"));
        }
    }
    drop(serving);
    cluster.replica_mut(Service::Keys, 0).restart();
    batching(&mut cluster, caller).await;
}

/// What a verification costs over asker, NATS, key service and Postgres, one by one and in batches.
async fn batching(cluster: &mut Cluster, bus: Bus) {
    say("\n## Verification on the bus, 64 in flight: asker, NATS, key service and Postgres");
    let pids = [
        std::process::id(),
        cluster.bus().pid(),
        cluster.replica(Service::Keys, 0).pid(),
        cluster.postgres().pid(),
    ];
    let hashes: Arc<[CredentialHash]> = (0..1_000).map(|_| e2e::forge::key().hash()).collect();
    let (asker, child) = BatchClient::new("bench", InBatches { bus: bus.clone() });
    let _running = Root::start(vec![child]).await.unwrap();
    for round in 1..=ROUNDS {
        let (bus, many) = (bus.clone(), Arc::clone(&hashes));
        let alone = cost(&pids, move |number| {
            let (bus, hash) = (bus.clone(), many[number % many.len()]);
            async move { assert_eq!(verify(&bus, vec![hash]).await.unwrap(), 1) }
        });
        say(&format!("{round}      one message each: {:.1} µs CPU an answer", alone.await));
        let (asker, many) = (asker.clone(), Arc::clone(&hashes));
        let together = cost(&pids, move |number| {
            let (asker, hash) = (asker.clone(), many[number % many.len()]);
            async move { asker.ask(hash).await.unwrap() }
        });
        say(&format!("{round}      in batches:       {:.1} µs CPU an answer", together.await));
    }
}

/// CPU of these processes over answers, in µs.
async fn cost<F>(pids: &[u32], ask: impl Fn(usize) -> F + Clone + Send + Sync + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let spent = || pids.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>();
    let (before, end) = (spent(), Instant::now() + ROUND);
    let mut tasks = JoinSet::new();
    for task in 0..CONNECTIONS {
        let ask = ask.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                ask(task * 17 + count).await;
                count += 1;
            }
            count
        });
    }
    let answers: usize = tasks.join_all().await.into_iter().sum();
    (spent() - before) * 1e6 / answers as f64
}

/// Asks as an edge does.
struct InBatches {
    bus: Bus,
}

impl Work for InBatches {
    type Item = CredentialHash;
    type Answer = ();
    type Error = CallError;
    const MAX_WEIGHT: usize = 100;
    const IN_FLIGHT: usize = 4;
    const MAX_WAITING: usize = 4_096;

    fn weight(_: &Self::Item) -> usize {
        1
    }

    async fn answer(&self, hashes: Vec<Self::Item>) -> Result<Vec<()>, CallError> {
        verify(&self.bus, hashes).await.map(|count| vec![(); count])
    }
}

async fn verify(bus: &Bus, hashes: Vec<CredentialHash>) -> Result<usize, CallError> {
    let context = Context::new(RequestId::new("bench"), TIMEOUT);
    match bus.call(&context, &VerifyKeys { hashes, member: None }).await? {
        MemberResult::Member(read) => Ok(read.verdicts.len()),
        MemberResult::NotMember => Err(CallError::Unreadable),
    }
}

async fn call(bus: &Bus) -> Result<(), CallError> {
    let context = Context::new(RequestId::new("bench"), TIMEOUT);
    bus.call(&context, &RecordUses { uses: Vec::new() }).await
}

/// The times of round trips, in µs and sorted.
async fn trips<F: Future<Output = ()>>(trip: impl Fn() -> F) -> Vec<f64> {
    let mut times = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let began = Instant::now();
        trip().await;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times
}

async fn connect(url: &str, name: &str) -> Bus {
    let unique = format!("{:016x}", u64::from_ne_bytes(Entropy::System.bytes()));
    let options = NatsOptions {
        url: url.to_owned(),
        name: name.to_owned(),
        unique,
        user: None,
        ca_file: None,
        contracts: Contracts::OWN,
    };
    Bus::connect(options).await.unwrap()
}

/// A client of the library alone, and one that answers it.
async fn bare(url: &str) -> async_nats::Client {
    let answerer = async_nats::connect(url).await.unwrap();
    let mut requests = answerer.subscribe("bench.echo").await.unwrap();
    answerer.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                answerer.publish(reply, "x".into()).await.unwrap();
            }
        }
    });
    async_nats::connect(url).await.unwrap()
}
