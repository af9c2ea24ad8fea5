//! Keys made without pause by whoever is ended meanwhile: none lives on that nobody was given.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Api, Stack, User, poll};
use serde_json::{Value, json};

use super::{Shown, list, post};

/// The contract's minute of tries, and what a loaded machine adds.
const REVOKED: Duration = Duration::from_secs(90);

/// How long an answer that is there may wait until this loaded machine reads it.
const READ: Duration = Duration::from_secs(2);

/// What a request gave, when it was begun and when its answer was read.
struct Given {
    begun: Instant,
    read: Instant,
    body: Value,
}

/// Makes keys by what is shown, one or two at a time, until that is not accepted or it is `over`.
async fn make_without_pause(shown: Shown, by_twos: bool, over: Arc<AtomicBool>) -> Vec<Given> {
    let (api, mut given) = (Stack::shared().api(), Vec::new());
    let one = json!({"name": "meanwhile", "scopes": []});
    let two = json!({"keys": [one, one]});
    while !over.load(Ordering::Relaxed) {
        let (path, body) = if by_twos { ("/keys/bulk", &two) } else { ("/keys", &one) };
        let begun = Instant::now();
        let answer = shown.post(&api, path, body).await;
        let read = Instant::now();
        match answer.status {
            201 => given.push(Given { begun, read, body: answer.json() }),
            401 => break,
            status => assert!([409, 429, 503].contains(&status), "{}", answer.text()),
        }
    }
    given
}

/// Ends what is shown while keys are made by it: none is given afterwards, and none lives on that nobody was given.
async fn end_while_keys_are_made(user: &User, shown: Shown, end: impl AsyncFnOnce()) {
    let api = Stack::shared().api();
    let over = Arc::new(AtomicBool::new(false));
    let before: HashSet<i64> = living(&api, user).await.into_iter().collect();
    let makers: Vec<_> = (0..4)
        .map(|number| {
            tokio::spawn(make_without_pause(shown.clone(), number == 0, Arc::clone(&over)))
        })
        .collect();
    poll::until_async("some keys", REVOKED, || async {
        (list(&api, &user.token).await.len() > 10).then_some(())
    })
    .await;
    end().await;
    let ended = Instant::now();
    over.store(true, Ordering::Relaxed);
    let mut given = before;
    for maker in makers {
        for Given { begun, read, body } in maker.await.unwrap() {
            assert!(begun <= ended, "a key was made after the end: {body}");
            let keys = body["keys"].as_array().cloned().unwrap_or_else(|| vec![body]);
            for key in keys {
                let works = api.as_service(key["key"].as_str().unwrap()).await.status == 200;
                assert!(read <= ended + READ || !works, "a key was given after the end: {key}");
                given.insert(key["id"].as_i64().unwrap());
            }
        }
    }
    poll::until_async("no key that nobody was given", REVOKED, || async {
        living(&api, user).await.iter().all(|id| given.contains(id)).then_some(())
    })
    .await;
}

async fn living(api: &Api, user: &User) -> Vec<i64> {
    let all = list(api, &user.token).await;
    let living = all.iter().filter(|key| key["is_revoked"] == false);
    living.map(|key| key["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_lives_on_that_was_made_by_a_session_which_ended_meanwhile() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let ending = api.token(&user.username, &user.password).await;
    end_while_keys_are_made(&user, Shown::Token(ending.clone()), async || {
        api.post("/auth/logout").bearer(&ending).send().await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_lives_on_that_was_made_by_a_key_which_was_revoked_meanwhile() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let body = json!({"name": "maker", "scopes": ["latchkey:keys:write"]});
    let maker = post(&api, &user.token, "/keys", &body).await.expect(201);
    let key = Shown::Key(maker["key"].as_str().unwrap().to_owned());
    end_while_keys_are_made(&user, key, async || {
        api.revoke(&user.token, maker["id"].as_i64().unwrap()).await.expect(200);
    })
    .await;
}
