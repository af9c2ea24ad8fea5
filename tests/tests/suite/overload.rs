//! Thousands of logins at once: some are served, the rest are shed politely, and key checks go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::account::PASSWORD;
use e2e::{Api, Stack};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

/// Logins at once.
const STORM: usize = 2_000;

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
