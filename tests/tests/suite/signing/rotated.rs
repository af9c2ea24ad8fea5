//! Keys follow each other, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use e2e::account::PASSWORD;
use e2e::{Api, poll};
use tokio::task::JoinSet;

use super::{DAY, HOUR, SOON, kid, pass, published, signing, until_published};

/// Clients that log in and use their tokens all the time.
const CLIENTS: usize = 3;
const ROTATIONS: usize = 3;

/// Logs in and uses the token, until it is to end: every answer is good, and every token's key was published before.
async fn client(api: Api, username: String, ends: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    while !ends.load(Ordering::SeqCst) {
        let before = published(&api).await;
        let token = api.token(&username, PASSWORD).await;
        assert!(before.contains(&kid(&token)), "{before:?} {}", kid(&token));
        for _ in 0..4 {
            api.as_user(&token).await.expect(200);
        }
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn three_keys_follow_each_other_under_load_and_no_request_fails() {
    let stack = signing("ES256");
    let api = stack.api();
    let user = api.user().await;
    let (ends, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let rounds: Vec<_> = (0..CLIENTS).map(|_| Arc::new(AtomicU64::new(0))).collect();
    for rounds in &rounds {
        let (username, ends) = (user.username.clone(), Arc::clone(&ends));
        clients.spawn(client(api.clone(), username, ends, Arc::clone(rounds)));
    }
    let mut last = kid(&user.token);
    for _ in 0..ROTATIONS {
        assert_eq!(published(&api).await, [last.as_str()]);
        pass(&stack, 89 * DAY + HOUR).await;
        until_published(&stack, "the next key is published", |keys| keys.len() == 2).await;
        let next = published(&api).await.into_iter().find(|key| *key != last).expect("another");
        // A day before it signs.
        assert_eq!(kid(&api.token(&user.username, PASSWORD).await), last);
        let old = api.token(&user.username, PASSWORD).await;
        pass(&stack, DAY).await;
        poll::until_async("the next key signs", SOON, async || {
            (kid(&api.token(&user.username, PASSWORD).await) == next).then_some(())
        })
        .await;
        api.as_user(&old).await.expect(200);
        // Whoever still has a token of the old one has done with it.
        let seen: Vec<_> = rounds.iter().map(|it| it.load(Ordering::SeqCst)).collect();
        poll::until_async("every client has a new token", SOON, async || {
            let now = rounds.iter().map(|it| it.load(Ordering::SeqCst));
            now.zip(&seen).all(|(now, seen)| now > seen + 1).then_some(())
        })
        .await;
        pass(&stack, HOUR).await;
        until_published(&stack, "the old key is not", |keys| keys == [next.as_str()]).await;
        poll::until_async("the old key is dropped", SOON, async || {
            (api.as_user(&old).await.status == 401).then_some(())
        })
        .await;
        last = next;
    }
    ends.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}
