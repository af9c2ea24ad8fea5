//! What identity decided of the owners of keys is carried out by the key service, whatever is away meanwhile.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::{Cluster, Service, poll};
use tokio::task::block_in_place;

/// Bound on whatever comes back by itself.
const SOON: Duration = Duration::from_mins(1);
/// Exit code: not confirmed yet.
const UNAVAILABLE: i32 = 69;

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivation_reaches_the_keys_once_the_key_service_is_back_without_being_repeated() {
    let mut cluster = block_in_place(|| Cluster::builder().start());
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "ci").await;
    api.as_service(&key.key).await.expect(200);

    cluster.replica_mut(Service::Keys, 0).kill();
    let done = block_in_place(|| cluster.operator(&["user", "deactivate", &user.username]));
    assert_eq!(done.code, Some(UNAVAILABLE), "{} {}", done.stdout, done.stderr);
    assert!(done.stderr.contains("is deactivated"), "{}", done.stderr);
    assert!(done.stderr.contains("Keys: not confirmed yet"), "{}", done.stderr);
    api.as_user(&user.token).await.unauthenticated();
    api.log_in(&user.username, PASSWORD).await.problem(400, "Inactive user account");

    // Also over a restart of the service that decided it.
    cluster.replica_mut(Service::Identity, 0).kill();
    block_in_place(|| cluster.launch());
    let is_refused = async || {
        let answer = api.as_service(&key.key).await;
        (answer.status == 401).then_some(())
    };
    poll::until_async("the key is refused", SOON, is_refused).await;

    let done = block_in_place(|| cluster.operator(&["user", "reactivate", &user.username]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    api.as_service(&key.key).await.expect(200);
    // A session that was cut stays cut.
    api.as_user(&user.token).await.unauthenticated();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_last_is_what_the_key_service_is_told() {
    let mut cluster = block_in_place(|| Cluster::builder().start());
    let api = cluster.api(0);
    let (stays, comes_back) = (api.user().await, api.user().await);
    let out = api.key(&stays.token, "ci").await;
    let back = api.key(&comes_back.token, "ci").await;
    let done = block_in_place(|| cluster.operator(&["user", "deactivate", &comes_back.username]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    api.as_service(&back.key).await.unauthenticated();
    cluster.replica_mut(Service::Keys, 0).kill();
    for (command, user) in [
        ("deactivate", &stays),
        ("reactivate", &stays),
        ("deactivate", &stays),
        ("reactivate", &comes_back),
    ] {
        let done = block_in_place(|| cluster.operator(&["user", command, &user.username]));
        assert_eq!(done.code, Some(UNAVAILABLE), "{}", done.stderr);
    }
    block_in_place(|| cluster.launch());
    let is_refused = async || (api.as_service(&out.key).await.status == 401).then_some(());
    poll::until_async("the key is refused", SOON, is_refused).await;
    let is_accepted = async || (api.as_service(&back.key).await.status == 200).then_some(());
    poll::until_async("the other key is accepted", SOON, is_accepted).await;
    api.as_service(&out.key).await.unauthenticated();
}
