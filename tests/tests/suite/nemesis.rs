//! Revoked means revoked, whatever breaks: random faults under load with an oracle, the same without a lease
//! to show that the oracle sees, and the schedules that break lesser protocols, one by one.
//! `make nemesis` runs the first for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::cluster::Builder;
use e2e::nemesis::{self, Credential, Dice, Done, Fault, LONG, Ledger, Load, Said, Verdict};
use e2e::stories::front::{Front, Processes};
use e2e::stories::{self, Pace, Told};
use e2e::tap::Echo;
use e2e::{Api, Cluster, Service, database, poll};
use sqlx::{Connection, PgConnection};
use tokio::task::{JoinHandle, block_in_place};

/// Edges of the cluster that random faults break.
const EDGES: usize = 4;
/// Edges of the others.
const FEW: usize = 3;
/// How many revokes there are at least; without it the run is bounded by time.
const REVOKES: &str = "NEMESIS_REVOKES";
/// Repeats the faults of a run.
const SEED: &str = "NEMESIS_SEED";
/// The bounded run.
const SHORT: Duration = Duration::from_secs(35);
const SHORT_KEYS: usize = 560;
/// Users who go through every change meanwhile, and what each of their clients does.
const USERS: usize = 6;
const PACE: Pace = Pace { clients: 2, acts: 40, rest: Duration::from_millis(100) };
/// What a long run has seen answered at least once, of what becomes of keys.
const CHANGES: [&str; 10] = [
    "revokes of new keys",
    "ends of lineages",
    "disables",
    "enables",
    "scopes taken away",
    "scopes given back",
    "rotations without grace",
    "rotations with grace",
    "ceilings lowered",
    "ceilings cleared",
];
/// Bound on whatever comes back by itself.
const RECOVERY: Duration = Duration::from_mins(1);
/// Lets edges rely on their memory without a lease. A release build does not know it.
#[cfg(debug_assertions)]
const WITHOUT_LEASE: &str = "LATCHKEY_TEST_WITHOUT_LEASE";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
    })
}

fn start(builder: Builder) -> Cluster {
    block_in_place(|| builder.start())
}

#[expect(clippy::print_stdout, reason = "seen where a run fails, and in `make nemesis`")]
fn print(seed: u64, done: &Done, verdict: &Verdict, lost: (usize, usize), told: &Told) {
    println!("{SEED}={seed}");
    println!("| | |\n|---|---|");
    println!("| revokes | {} |\n| logouts | {} |", verdict.revokes, verdict.logouts);
    println!("| asked for, never promised | {} |", verdict.unproved);
    println!("| requests | {} |", verdict.requests);
    println!("| begun after the revoke or logout had returned | {} |", verdict.later);
    println!("| without an answer to go by (503, connection broken) | {} |", verdict.nothing);
    println!("| accepts after revoke | {} |", verdict.stale.len());
    println!("| refusals before revoke | {} |", verdict.premature.len());
    println!("| other wrong answers | {} |", verdict.wrong.len());
    println!("| acknowledged writes lost | {} |", lost.0 + lost.1);
    for (name, count) in told.rows() {
        println!("| {name} | {count} |");
    }
    for (fault, count) in done {
        println!("| {fault:?} | {count} |");
    }
}

/// Has users go through every change until told that it is enough.
async fn tell(cluster: &Cluster, seed: u64) -> (JoinHandle<Told>, Arc<AtomicBool>) {
    // What keys can be granted.
    database::until_told(cluster.database(Service::Keys)).await;
    let front = Arc::new(Front::Processes(Box::new(Processes::of(cluster).await)));
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let stories = tokio::spawn(async move {
        let enough = |_: &Told| is_over.load(Ordering::SeqCst);
        stories::run(&front, seed, (USERS, PACE), (0, false), enough).await
    });
    (stories, over)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_edge_accepts_what_was_revoked_whatever_breaks() {
    let seed = seed();
    let mut dice = Dice::of(seed);
    let goal = number(REVOKES).map(|revokes| usize::try_from(revokes).unwrap());
    let keys = goal.map_or(SHORT_KEYS, |revokes| SHORT_KEYS.max(revokes + revokes / 4));
    let builder = nemesis::builder(EDGES).own_postgres().replicas(Service::Identity, 2);
    let mut cluster = start(builder);
    let api = Api::over(cluster.edges());
    let credentials = nemesis::prepare(&api, keys, keys / 4, &mut dice).await;
    let ledger = Arc::new(Ledger::of(credentials));

    let echo = Echo::start(&cluster.bus_url(), Dice::of(dice.roll())).await;
    let (stories, all_told) = tell(&cluster, seed).await;
    let load = Load::start(cluster.edges(), &ledger, &mut dice);
    let begin = Instant::now();
    let enough = || goal.map_or(begin.elapsed() >= SHORT, |goal| load.revoked() >= goal);
    let done = nemesis::torment(&mut cluster, &load, &Fault::ALL, &mut dice, enough).await;
    load.finish().await;
    all_told.store(true, Ordering::SeqCst);
    let told = stories.await.expect("no story failed");
    drop(echo);
    let lost = nemesis::lost(&ledger, &cluster.edges()).await;

    let verdict = ledger.verdict();
    print(seed, &done, &verdict, lost, &told);
    let (shown, count) = (told.shown().join("\n"), told.findings.len());
    assert!(shown.is_empty(), "seed {seed}: {count} findings\n{shown}");
    assert!(verdict.stale.is_empty(), "seed {seed}: accepted after its end: {:#?}", verdict.stale);
    assert!(verdict.premature.is_empty(), "seed {seed}: refused: {:#?}", verdict.premature);
    assert!(verdict.wrong.is_empty(), "seed {seed}: wrong: {:#?}", verdict.wrong);
    let denied = cluster.logs().into_iter().find(|line| line.contains("disagree"));
    assert_eq!(denied, None, "seed {seed}: memory is denied by its authority");
    assert_eq!(lost, (0, 0), "seed {seed}: acknowledged ends undone, and good credentials refused");
    for fault in Fault::ALL {
        assert!(done.contains_key(&fault), "seed {seed}: {fault:?} was not done: {done:?}");
    }
    assert!(verdict.later > 0 && verdict.logouts > 0, "{verdict:?}");
    assert!(verdict.revokes >= goal.unwrap_or(1), "{verdict:?}");
    for change in CHANGES.iter().filter(|_| goal.is_some()) {
        assert!(told.changes.contains_key(change), "seed {seed}: no {change}: {:?}", told.changes);
    }
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_it_where_edges_go_on_without_a_lease() {
    let seed = seed();
    let mut dice = Dice::of(seed);
    let builder = nemesis::builder(FEW).set_for(Service::Edge, WITHOUT_LEASE, "on");
    let mut cluster = start(builder);
    let api = Api::over(cluster.edges());
    let credentials = nemesis::prepare(&api, 320, 80, &mut dice).await;
    let ledger = Arc::new(Ledger::of(credentials));
    let load = Load::start(cluster.edges(), &ledger, &mut dice);
    let enough = || !ledger.verdict().stale.is_empty();
    let cut = [Fault::CutEdge];
    nemesis::torment(&mut cluster, &load, &cut, &mut dice, enough).await;
    load.finish().await;
    let verdict = ledger.verdict();
    assert!(!verdict.stale.is_empty(), "seed {seed}: nothing seen in {} requests", verdict.later);
    assert!(verdict.premature.is_empty(), "seed {seed}: refused: {:#?}", verdict.premature);
}

/// A small cluster, and keys that every edge remembers.
struct Scene {
    cluster: Cluster,
    ledger: Arc<Ledger>,
    apis: Vec<Api>,
    dice: Dice,
}

impl Scene {
    async fn with(builder: Builder, keys: usize) -> Self {
        let cluster = start(builder);
        let mut dice = Dice::of(1);
        let apis: Vec<Api> = (0..FEW).map(|edge| cluster.api(edge)).collect();
        let credentials: Vec<Credential> = nemesis::prepare(&apis[0], keys, 0, &mut dice).await;
        let ledger = Arc::new(Ledger::of(credentials));
        let scene = Self { cluster, ledger, apis, dice };
        for key in 0..keys {
            scene.everywhere(key, Said::Accepted).await;
        }
        scene
    }

    async fn new() -> Self {
        Self::with(nemesis::builder(FEW), 1).await
    }

    async fn ask(&self, key: usize, edge: usize) -> Said {
        nemesis::attempt(&self.ledger, &self.apis[edge], key, edge).await
    }

    /// Waits until every edge says it twice: then it is from memory.
    async fn everywhere(&self, key: usize, said: Said) {
        for edge in 0..FEW {
            let twice = async || {
                let both = [self.ask(key, edge).await, self.ask(key, edge).await];
                (both == [said; 2]).then_some(())
            };
            poll::until_async("every edge says so", RECOVERY, twice).await;
        }
    }

    /// Revokes a key through these edges, until that is promised.
    fn revoke(&self, key: usize, edges: &[usize]) -> JoinHandle<bool> {
        let apis: Vec<Api> = edges.iter().map(|edge| self.apis[*edge].clone()).collect();
        let (ledger, mut dice) = (Arc::clone(&self.ledger), self.dice.clone());
        tokio::spawn(async move { nemesis::end(&ledger, &apis, key, &mut dice).await })
    }

    /// Waits until a revoke is on disk.
    async fn committed(&self, key: usize) {
        let id = self.ledger.credential(key).id;
        let url = self.cluster.database(Service::Keys);
        let mut database = PgConnection::connect(url).await.unwrap();
        let end = Instant::now() + RECOVERY;
        loop {
            let revoked: bool =
                sqlx::query_scalar("SELECT revoked_at IS NOT NULL FROM api_keys WHERE id = $1")
                    .bind(id)
                    .fetch_one(&mut database)
                    .await
                    .unwrap();
            if revoked {
                return;
            }
            assert!(Instant::now() < end, "the revoke is not committed");
        }
    }

    /// Fails unless the key is refused everywhere, and nothing was wrong on the way.
    async fn over(&self, key: usize) {
        self.everywhere(key, Said::Refused).await;
        let verdict = self.ledger.verdict();
        assert!(verdict.stale.is_empty(), "{:#?}", verdict.stale);
        assert!(verdict.premature.is_empty(), "{:#?}", verdict.premature);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_stood_still_across_a_revoke_refuses_at_once() {
    let scene = Scene::new().await;
    let edge = scene.cluster.replica(Service::Edge, 0);
    edge.pause();
    assert!(scene.revoke(0, &[1, 2]).await.unwrap());
    nemesis::hold(LONG).await;
    // Some wait at its door already when it goes on.
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (ledger, api) = (Arc::clone(&scene.ledger), scene.cluster.api(0));
            tokio::spawn(async move { nemesis::attempt(&ledger, &api, 0, 0).await })
        })
        .collect();
    nemesis::hold(Duration::from_millis(50)).await;
    edge.resume();
    for said in waiting {
        assert_ne!(said.await.unwrap(), Said::Accepted);
    }
    scene.over(0).await;
}

/// Cuts an edge off the bus, revokes what it remembers, and asks it.
async fn cut_off(builder: Builder) -> (Scene, Said) {
    let scene = Scene::with(builder, 1).await;
    scene.cluster.relay(Service::Edge, 0).cut();
    assert!(scene.revoke(0, &[1, 2]).await.unwrap());
    let said = scene.ask(0, 0).await;
    (scene, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_cut_off_answers_503_once_its_lease_is_over() {
    let (scene, said) = cut_off(nemesis::builder(FEW)).await;
    assert_eq!(said, Said::Nothing);
    scene.cluster.relay(Service::Edge, 0).mend();
    scene.over(0).await;
}

#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lease_the_same_edge_would_accept() {
    let builder = nemesis::builder(FEW).set_for(Service::Edge, WITHOUT_LEASE, "on");
    let (scene, said) = cut_off(builder).await;
    assert_eq!(said, Said::Accepted);
    assert_eq!(scene.ledger.verdict().stale.len(), 1, "and the oracle says so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_stands_still_ends_what_edges_remember() {
    let mut scene = Scene::with(nemesis::builder(FEW), 2).await;
    scene.cluster.bus().pause();
    nemesis::hold(LONG).await;
    for edge in 0..FEW {
        assert_eq!(scene.ask(0, edge).await, Said::Nothing);
    }
    let revoke = scene.revoke(1, &[0, 1, 2]);
    scene.cluster.bus().resume();
    assert!(revoke.await.unwrap());
    scene.over(1).await;
    scene.everywhere(0, Said::Accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_whose_service_dies_after_the_commit_is_finished_by_the_other() {
    let mut scene = Scene::new().await;
    scene.cluster.replica_mut(Service::Keys, 1).kill();
    // While an edge stands still, the revoke waits between its commit and its answer.
    scene.cluster.replica(Service::Edge, 0).pause();
    let revoke = scene.revoke(0, &[1, 2]);
    scene.committed(0).await;
    block_in_place(|| {
        scene.cluster.replica_mut(Service::Keys, 0).kill();
        let other = scene.cluster.replica_mut(Service::Keys, 1);
        other.launch();
        other.wait_ready();
    });
    assert!(revoke.await.unwrap());
    scene.cluster.replica(Service::Edge, 0).resume();
    assert_ne!(scene.ask(0, 0).await, Said::Accepted);
    scene.over(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_restarted_during_a_revoke_refuses_as_well() {
    let mut scene = Scene::new().await;
    scene.cluster.replica(Service::Edge, 0).pause();
    let revokes = [scene.revoke(0, &[1]), scene.revoke(0, &[1])];
    scene.committed(0).await;
    block_in_place(|| {
        let edge = scene.cluster.replica_mut(Service::Edge, 2);
        edge.kill();
        edge.launch();
        edge.wait_ready();
    });
    // Two who revoke the same are both told so.
    for revoke in revokes {
        assert!(revoke.await.unwrap());
    }
    scene.cluster.replica(Service::Edge, 0).resume();
    for edge in 0..FEW {
        assert_ne!(scene.ask(0, edge).await, Said::Accepted);
    }
    scene.over(0).await;
}
