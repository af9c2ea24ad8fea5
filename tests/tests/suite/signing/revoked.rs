//! A revoked key: whatever it has signed is refused from the answer on, at every edge and by every replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use e2e::account::PASSWORD;
use e2e::process::Finished;
use e2e::{Api, Cluster, Service, poll};
use tokio::task::JoinSet;

use super::{SOON, kid, published, signing};

/// Clients that ask with one token, at each edge.
const ASKERS: usize = 4;

/// Asks with a token until it is to end; when the last request began that was accepted.
async fn asks(api: Api, token: String, ends: Arc<AtomicBool>) -> Option<Instant> {
    let mut accepted = None;
    while !ends.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let answer = api.as_user(&token).await;
        assert!([200, 401].contains(&answer.status), "{}", answer.text());
        if answer.status == 200 {
            accepted = accepted.max(Some(begun));
        }
    }
    accepted
}

fn done(end: &Finished) {
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

#[tokio::test]
async fn no_token_of_a_revoked_key_is_accepted_after_the_answer() {
    let cluster = Cluster::builder()
        .replicas(Service::Identity, 2)
        .replicas(Service::Edge, 2)
        .set("JWT_ALGORITHM", "ES256")
        .cheap_passwords()
        .start();
    cluster.joined(2).await;
    let user = cluster.api(0).user().await;
    for _ in 0..3 {
        let old = cluster.api(0).token(&user.username, PASSWORD).await;
        let (ends, mut askers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for asker in 0..2 * ASKERS {
            let (api, token) = (cluster.api(asker % 2), old.clone());
            api.as_user(&token).await.expect(200);
            askers.spawn(asks(api, token, Arc::clone(&ends)));
        }
        let revoke = ["signing-key", "revoke", &kid(&old)];
        done(&cluster.operator(&revoke));
        let answered = Instant::now();
        // Both replicas are asked, and logins at once are of another key, whichever signs.
        for login in 0..8 {
            let api = cluster.api(login % 2);
            let token = api.token(&user.username, PASSWORD).await;
            assert_ne!(kid(&token), kid(&old));
            api.as_user(&token).await.expect(200);
            api.as_user(&old).await.unauthenticated();
        }
        ends.store(true, Ordering::SeqCst);
        while let Some(accepted) = askers.join_next().await {
            let late = accepted.unwrap().filter(|begun| *begun > answered);
            assert!(late.is_none(), "accepted after the answer");
        }
        // A repeat waits, and does no more.
        done(&cluster.operator(&revoke));
    }
}

#[tokio::test]
async fn an_operator_lists_keys_and_revokes_one_and_there_is_another_at_once() {
    let stack = signing("RS256");
    let api = stack.api();
    let user = api.user().await;
    let old = kid(&user.token);
    let list = stack.operator(&["signing-key", "list"]);
    done(&list);
    let line = list.stdout.lines().find(|line| line.starts_with(&old)).expect("it is listed");
    assert!(line.contains("RS256") && line.contains("signs until @"), "{line}");
    let unknown = stack.operator(&["signing-key", "revoke", "no-such-key"]);
    assert_ne!(unknown.code, Some(0));
    assert!(unknown.stderr.contains("there is no signing key"), "{}", unknown.stderr);
    let end = stack.operator(&["signing-key", "revoke", &old]);
    done(&end);
    assert!(end.stdout.contains("is revoked"), "{}", end.stdout);
    api.as_user(&user.token).await.unauthenticated();
    let token = api.token(&user.username, PASSWORD).await;
    assert_ne!(kid(&token), old);
    api.as_user(&token).await.expect(200);
    poll::until_async("the other one alone is published", SOON, async || {
        (published(&api).await == [kid(&token)]).then_some(())
    })
    .await;
    let list = stack.operator(&["signing-key", "list"]).stdout;
    let line = list.lines().find(|line| line.starts_with(&old)).expect("it is listed");
    assert!(line.contains("revoked at @"), "{line}");
}
