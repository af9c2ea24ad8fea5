//! Thousands of logins at once: some are served, the rest are shed politely, and key checks go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::process::{peak_mib, resident_mib};
use e2e::prometheus::{scrape, value};
use e2e::{Api, Service, Stack, poll};
use latchkey_contract::Rpc;
use latchkey_contract::identity::LogIn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

/// Logins at once.
const STORM: usize = 2_000;

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

/// Checks a key without pause until `over`; gives how many checks there were.
async fn check_until(api: Api, key: String, over: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !over.load(Ordering::SeqCst) {
        api.as_service(&key).await.expect(200);
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_logins_is_shed_and_key_checks_go_on() {
    allow_many_files();
    let stack = Stack::start();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "undisturbed").await;
    let over = Arc::new(AtomicBool::new(false));
    // A service that is there before the storm, with its connection open.
    let service = stack.api();
    service.as_service(&key.key).await.expect(200);
    let checks = tokio::spawn(check_until(service, key.key.clone(), Arc::clone(&over)));

    let mut storm = JoinSet::new();
    for _ in 0..STORM {
        let (api, name) = (api.clone(), user.username.clone());
        storm.spawn(async move { api.log_in(&name, PASSWORD).await });
    }
    let answers = storm.join_all().await;
    over.store(true, Ordering::SeqCst);
    assert!(checks.await.unwrap() > 0);

    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(served > 0);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.problem(503, "");
        let wait: u64 = answer.header("retry-after").parse().expect("whole seconds");
        assert!(wait >= 1);
    }
    // When the storm is over, so are its effects.
    let api = stack.api();
    api.log_in(&user.username, PASSWORD).await.expect(200);
    api.as_service(&key.key).await.expect(200);
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
    let stack = Stack::with(|config| {
        // Each process of a cluster has one of its own.
        if !Stack::is_cluster() {
            config.set("MONITOR_ADDR", "127.0.0.1:0");
        }
    });
    let api = stack.api();
    let user = api.user().await;
    let shed_by_the_service = async || {
        let mut shed = 0.0;
        for monitor in stack.monitors(Service::Edge) {
            let text = scrape(&monitor).await;
            let labels = [("subject", LogIn::SUBJECT), ("outcome", "overloaded")];
            shed += value(&text, "latchkey_bus_requests_total", &labels).unwrap_or_default();
        }
        shed
    };
    let mut storm = JoinSet::new();
    for _ in 0..STORM / 4 {
        let (api, name) = (api.clone(), user.username.clone());
        storm.spawn(async move {
            let first = api.log_in(&name, PASSWORD).await;
            [first, api.log_in(&name, PASSWORD).await]
        });
    }
    let answers: Vec<_> = storm.join_all().await.into_iter().flatten().collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.len() - served;
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
    answers.iter().filter(|answer| answer.status != 200).for_each(|answer| {
        answer.problem(503, "");
    });
    // Where hashes are so slow that callers give up, their places are taken for longer than theirs here.
    let shed = shed_by_the_service().await;
    let refused = f64::from(u32::try_from(refused).unwrap());
    assert!(shed * 2.0 < refused, "the service had to turn {shed} of {refused} away");
    api.log_in(&user.username, PASSWORD).await.expect(200);
}
