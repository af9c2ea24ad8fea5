//! Processes of two releases, by a variable that release builds do not know.

use e2e::{Cluster, Service, poll};
use tokio::task::block_in_place;

use super::{SOON, keys};

/// Has a process play not to know the newest steps.
const BEFORE: &str = "LATCHKEY_TEST_UNKNOWN_STEPS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_the_release_before_restarts_during_an_update_until_it_is_finished() {
    let newest = keys::MIGRATIONS.last().unwrap().version;
    let (known, needed) = (newest - 1, format!("step {newest} or later"));
    let builder = Cluster::builder().replicas(Service::Keys, 2);
    let builder = builder.set_for(Service::Keys, BEFORE, "1");
    let mut cluster = block_in_place(|| builder.start());
    let api = cluster.api(0);
    let mut exchange = |number: usize, unknown: &str| {
        let replica = cluster.replica_mut(Service::Keys, number);
        replica.set(BEFORE, unknown);
        block_in_place(|| replica.restart());
    };
    // Forward; the other one restarts; back; and forward again.
    for (number, unknown) in [(1, "0"), (0, "1"), (1, "1"), (1, "0")] {
        exchange(number, unknown);
        let user = api.user().await;
        let key = api.key(&user.token, "meanwhile").await;
        api.as_service(&key.key).await.expect(200);
    }
    let [old, new] = cluster.of(Service::Keys) else { panic!("two replicas") };
    let refused = block_in_place(|| new.run(&["migrate", "--finish"]));
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("knows step {known}")), "{}", refused.stderr);
    block_in_place(|| old.restart());

    let end = block_in_place(|| old.stop());
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    for since in ["since now", "since before"] {
        let finished = block_in_place(|| new.run(&["migrate", "--finish"]));
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stdout.contains(&needed), "{}", finished.stdout);
        assert!(finished.stdout.contains(since), "{}", finished.stdout);
    }
    old.launch();
    poll::until("it has ended", SOON, || (!old.runs()).then_some(()));
    let end = old.ended();
    assert_eq!(end.code, Some(73), "{}", end.stderr);
    let line = end.stderr.lines().last().unwrap_or_default();
    let parts = ["keys", &needed, &format!("knows {known}")];
    assert!(parts.iter().all(|part| line.contains(part)), "{}", end.stderr);
    let user = api.user().await;
    let key = api.key(&user.token, "since").await;
    api.as_service(&key.key).await.expect(200);
    // Forward.
    old.set(BEFORE, "0");
    block_in_place(|| {
        old.launch();
        old.wait_ready();
    });
}
