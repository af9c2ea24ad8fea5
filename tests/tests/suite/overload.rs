//! Thousands of logins at once: some are served, the rest are shed politely, and key checks go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::account::{PASSWORD, made};
use e2e::cluster::UNHURRIED_LEASE;
use e2e::process::{peak_mib, resident_mib};
use e2e::prometheus::{scrape, value};
use e2e::{Api, Config, Service, Stack, poll};
use latchkey_contract::Rpc;
use latchkey_contract::identity::LogIn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

/// Logins at once.
const STORM: usize = 2_000;

/// Refusals from which on it is compared who refused.
const ENOUGH: usize = STORM / 20;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// Logins of the storm whose memory is watched, and how many of them at a time.
const LOGINS: usize = 500;
const AT_ONCE: usize = 16;
/// Memory above idle at the height of a storm on two cores, and for each further one (MiB).
const ALLOWED: f64 = 64.0;
const ALLOWED_A_CORE: f64 = 20.0;
/// The same when it is over (MiB), and how long it may take until then.
const LEFT: f64 = 16.0;
const GIVEN_BACK: Duration = Duration::from_mins(1);

/// Every connection is a file: the usual soft limit of 1,024 is too low for the storm.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// Has the edges' numbers shown. Each process of a cluster has a listener for them anyway.
fn monitored(config: &mut Config) {
    if !Stack::is_cluster() {
        config.set("MONITOR_ADDR", "127.0.0.1:0");
    }
}

/// The sum of one number of all edges.
async fn edges_count(stack: &Stack, name: &str, labels: &[(&str, &str)]) -> f64 {
    let mut sum = 0.0;
    for monitor in stack.monitors(Service::Edge) {
        sum += value(&scrape(&monitor).await, name, labels).unwrap_or_default();
    }
    sum
}

/// Checks of a key: good answers, and "come again".
#[derive(Debug, Default)]
struct Checks {
    good: AtomicUsize,
    unavailable: AtomicUsize,
}

/// Checks a key without pause until `over`.
async fn check_until(api: Api, key: String, over: Arc<AtomicBool>, checks: Arc<Checks>) {
    while !over.load(Ordering::SeqCst) {
        let answer = api.as_service(&key).await;
        if answer.status == 503 {
            checks.unavailable.fetch_add(1, Ordering::SeqCst);
        } else {
            answer.expect(200);
            checks.good.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Whether every edge may answer for keys from memory.
async fn remembers(stack: &Stack) -> bool {
    let edges = f64::from(u32::try_from(stack.edges().len()).unwrap());
    edges_count(stack, "latchkey_lease_held", &[("authority", "keys")]).await > edges - 0.5
}

/// The same each time that this looks, until `over`.
async fn remembers_until(stack: &Stack, over: &AtomicBool) -> bool {
    let mut always = true;
    while !over.load(Ordering::SeqCst) {
        always &= remembers(stack).await;
    }
    always
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_logins_is_shed_and_key_checks_go_on() {
    allow_many_files();
    let stack = Stack::with(|config| {
        monitored(config);
        config.set("LEASE_MS", &UNHURRIED_LEASE.as_millis().to_string());
    });
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "undisturbed").await;
    poll::until_async("every edge remembers", SOON, async || remembers(&stack).await.then_some(()))
        .await;
    let (over, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(Checks::default()));
    // A service that is there before the storm, with its connections open.
    let service = stack.api();
    for _ in stack.edges() {
        made(200, || service.as_service(&key.key)).await;
    }
    let checking =
        tokio::spawn(check_until(service, key.key.clone(), Arc::clone(&over), Arc::clone(&checks)));

    let mut storm = JoinSet::new();
    for _ in 0..STORM {
        let (api, name) = (api.clone(), user.username.clone());
        storm.spawn(async move { api.log_in(&name, PASSWORD).await });
    }
    let storm = async {
        let answers = storm.join_all().await;
        over.store(true, Ordering::SeqCst);
        answers
    };
    let (answers, remembered) = tokio::join!(storm, remembers_until(&stack, &over));
    checking.await.unwrap();
    assert!(checks.good.load(Ordering::SeqCst) > 0, "{checks:?}");
    // Without a lease an edge asks each time, and then a busy service may be too busy.
    assert!(!remembered || checks.unavailable.load(Ordering::SeqCst) == 0, "{checks:?}");

    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(served > 0);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.problem(503, "");
        let wait: u64 = answer.header("retry-after").parse().expect("whole seconds");
        assert!(wait >= 1);
    }
    // When the storm is over, so are its effects.
    let api = stack.api();
    made(200, || api.log_in(&user.username, PASSWORD)).await;
    made(200, || api.as_service(&key.key)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_random_keys_leaves_good_keys_alone() {
    let stack = Stack::start();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "undisturbed").await;
    let mut storm = JoinSet::new();
    for number in 0..STORM {
        let (api, key) = (api.clone(), key.key.clone());
        storm.spawn(async move {
            if number % 10 == 0 {
                api.as_service(&key).await.expect(200);
            } else {
                api.as_service(&format!("sk_{number:049}")).await.unauthenticated();
            }
        });
    }
    storm.join_all().await;
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_logins_takes_little_memory_and_gives_it_back() {
    let stack = Stack::start();
    let pids = stack.pids(Service::Identity);
    let idle: Vec<f64> = pids.iter().map(|pid| resident_mib(*pid)).collect();
    let user = stack.api().user().await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (api, name, next) = (stack.api(), user.username.clone(), Arc::clone(&next));
        clients.spawn(async move {
            while next.fetch_add(1, Ordering::SeqCst) < LOGINS {
                let answer = api.log_in(&name, PASSWORD).await;
                // A machine with much else to do may be too slow for some.
                assert!([200, 503].contains(&answer.status), "{}", answer.text());
            }
        });
    }
    clients.join_all().await;
    let cores = std::thread::available_parallelism().unwrap().get();
    let allowed =
        ALLOWED + ALLOWED_A_CORE * f64::from(u32::try_from(cores.saturating_sub(2)).unwrap());
    for (pid, idle) in pids.iter().zip(idle) {
        let height = peak_mib(*pid) - idle;
        assert!(height <= allowed, "{height:.0} MiB above {idle:.0}");
        poll::until("the memory is given back", GIVEN_BACK, || {
            (resident_mib(*pid) - idle <= LEFT).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_never_reaches_the_service_however_often_it_comes_back() {
    let stack = Stack::with(monitored);
    let api = stack.api();
    let user = api.user().await;
    let (over, refused) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    let mut storm = JoinSet::new();
    for _ in 0..STORM / 4 {
        let (api, name, refused) = (api.clone(), user.username.clone(), Arc::clone(&refused));
        storm.spawn(async move {
            let mut served = 0;
            for _ in 0..2 {
                let answer = api.log_in(&name, PASSWORD).await;
                if answer.status == 200 {
                    served += 1;
                } else {
                    answer.problem(503, "");
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            }
            served
        });
    }
    let storm = async {
        let served: usize = storm.join_all().await.into_iter().sum();
        over.store(true, Ordering::SeqCst);
        served
    };
    let (served, turned_away) = tokio::join!(storm, turned_away_until(&stack, &over, &refused));
    let all = refused.load(Ordering::SeqCst);
    assert!(served > 0 && all > 0, "{served} served, {all} refused");
    if let Some((shed, refused)) = turned_away {
        let refused = f64::from(u32::try_from(refused).unwrap());
        assert!(shed * 2.0 < refused, "the service had to turn {shed} of {refused} away");
    }
    made(200, || api.log_in(&user.username, PASSWORD)).await;
}

/// How many logins the service had to turn away, and how many were refused, until `over`, or until callers gave up:
/// from then on hashes take their places for longer than the edges count. Nothing where that was at once.
async fn turned_away_until(
    stack: &Stack,
    over: &AtomicBool,
    refused: &AtomicUsize,
) -> Option<(f64, usize)> {
    let logins = async |outcome: &str| {
        let labels = [("subject", LogIn::SUBJECT), ("outcome", outcome)];
        edges_count(stack, "latchkey_bus_requests_total", &labels).await
    };
    let mut last = None;
    loop {
        let is_over = over.load(Ordering::SeqCst);
        let shed = logins("overloaded").await;
        let now = (shed, refused.load(Ordering::SeqCst));
        if logins("timeout").await > 0.0 {
            return last;
        }
        // Few of them say nothing yet.
        last = Some(now).filter(|(_, refused)| *refused >= ENOUGH);
        if is_over {
            return last;
        }
    }
}
