//! `kill -9` under load, again and again: whatever was acknowledged is there after the restart.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::{Api, Key, Stack, poll, unique};
use serde_json::json;
use tokio::task::JoinSet;

const ROUNDS: usize = 6;
const CLIENTS: usize = 8;
/// Acknowledgements of one round before the kill; each round adds some, to hit other moments.
const FIRST: usize = 40;
const STEP: usize = 17;
/// Bound on collecting them.
const LOAD: Duration = Duration::from_mins(2);

/// What the server has promised, and what was asked for when it died.
#[derive(Debug, Default)]
struct Promises {
    users: Vec<String>,
    keys: Vec<Key>,
    revoked: Vec<Key>,
    tokens: Vec<String>,
    ended: Vec<String>,
    /// Revocations and logouts that were sent: until they are acknowledged either outcome is right.
    asked: Vec<String>,
}

#[derive(Debug, Default)]
struct Journal {
    promises: Mutex<Promises>,
    acknowledged: AtomicUsize,
    over: AtomicBool,
}

impl Journal {
    fn note(&self, change: impl FnOnce(&mut Promises)) {
        change(&mut self.promises.lock().unwrap());
    }

    fn acknowledge(&self, change: impl FnOnce(&mut Promises)) {
        self.note(change);
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// One client's work until the server is gone: nothing is left where a request got no answer.
async fn work(api: &Api, journal: &Journal) -> Option<()> {
    while !journal.over.load(Ordering::SeqCst) {
        let name = unique("kill");
        let body =
            json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        let made = api.post("/auth/signup").json(&body).try_send().await.ok()?;
        assert_eq!(made.status, 201, "{}", made.text());
        journal.acknowledge(|promises| promises.users.push(name.clone()));
        let body = json!({"username": name, "password": PASSWORD});
        let login = api.post("/auth/login").json(&body).try_send().await.ok()?;
        let token = login.expect(200)["access_token"].as_str().unwrap().to_owned();
        journal.acknowledge(|promises| promises.tokens.push(token.clone()));
        for number in 0..3 {
            let call = api.post("/keys/create").bearer(&token).json(&json!({"name": name}));
            let made = call.try_send().await.ok()?.expect(201);
            let text = made["key"].as_str().unwrap().to_owned();
            let key = Key { id: made["id"].as_i64().unwrap(), key: text, name: name.clone() };
            journal.acknowledge(|promises| promises.keys.push(key.clone()));
            if number == 0 {
                continue;
            }
            journal.note(|promises| promises.asked.push(key.key.clone()));
            let call = api.delete(&format!("/keys/{}", key.id)).bearer(&token);
            call.try_send().await.ok()?.expect(200);
            journal.acknowledge(|promises| promises.revoked.push(key));
        }
        journal.note(|promises| promises.asked.push(token.clone()));
        let call = api.post("/auth/logout").bearer(&token);
        call.try_send().await.ok()?.expect(200);
        journal.acknowledge(|promises| promises.ended.push(token));
    }
    Some(())
}

async fn kept(api: &Api, promises: &Promises) {
    for name in &promises.users {
        let answer = api.log_in(name, PASSWORD).await;
        assert_eq!(answer.status, 200, "{name} is lost: {}", answer.text());
    }
    for key in &promises.keys {
        let answer = api.as_service(&key.key).await;
        if promises.revoked.iter().any(|revoked| revoked.key == key.key) {
            assert_eq!(answer.status, 401, "key {} lives again", key.id);
        } else if !promises.asked.contains(&key.key) {
            assert_eq!(answer.status, 200, "key {} is lost: {}", key.id, answer.text());
        }
    }
    for token in &promises.tokens {
        let answer = api.as_user(token).await;
        if promises.ended.contains(token) {
            assert_eq!(answer.status, 401, "a session lives again");
        } else if !promises.asked.contains(token) {
            assert_eq!(answer.status, 200, "a session is lost: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed_under_load() {
    let mut stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    for round in 0..ROUNDS {
        let journal = Arc::new(Journal::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (api, journal) = (stack.api(), Arc::clone(&journal));
            tasks.spawn(async move { work(&api, &journal).await });
        }
        let enough = FIRST + round * STEP;
        poll::until_async("the round's acknowledgements", LOAD, async || {
            (journal.acknowledged.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
        stack.kill();
        journal.over.store(true, Ordering::SeqCst);
        tasks.join_all().await;
        stack.restart();
        let promises = std::mem::take(&mut *journal.promises.lock().unwrap());
        assert!(
            !promises.keys.is_empty() && !promises.revoked.is_empty(),
            "round {round} was too short"
        );
        kept(&stack.api(), &promises).await;
    }
}

#[tokio::test]
async fn a_kill_in_the_moment_of_the_answer_loses_nothing() {
    let mut stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let user = stack.api().user().await;
    for round in 0..5 {
        let api = stack.api();
        let name = unique("moment");
        let key = api.key(&user.token, &name).await;
        match round {
            0 => drop(api.sign_up_as(&name, PASSWORD).await.expect(201)),
            1 => drop(api.key(&user.token, "newest").await),
            2 => drop(api.revoke(&user.token, key.id).await.expect(200)),
            3 => drop(api.token(&user.username, PASSWORD).await),
            _ => drop(api.post("/auth/logout").bearer(&user.token).send().await.expect(200)),
        }
        stack.kill();
        stack.restart();
        let api = stack.api();
        match round {
            0 => drop(api.log_in(&name, PASSWORD).await.expect(200)),
            1 => {
                let list = api.get("/keys").bearer(&user.token).send().await.expect(200);
                assert_eq!(list.as_array().unwrap().last().unwrap()["name"], "newest");
            }
            2 => api.as_service(&key.key).await.unauthenticated(),
            3 => drop(api.as_user(&user.token).await.expect(200)),
            _ => api.as_user(&user.token).await.unauthenticated(),
        }
    }
}
