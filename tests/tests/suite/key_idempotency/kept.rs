//! Where answers are kept: over restarts and kills, for a day, and so that a copy of the database shows nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{Service, Stack, database, poll};
use latchkey_contract::ApiKey;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{SOON, count, fresh, is_replayed, name, post, ready, replayed};

/// Clients that ask until the system is killed, and requests of each at most.
const CLIENTS: usize = 8;
const REQUESTS: usize = 40;
/// Answers before the kill.
const ANSWERED: usize = 24;
/// Every row of every table of ours, as text.
const DUMP: &str = "SELECT CAST(query_to_xml('SELECT CAST(it AS TEXT) FROM ' || quote_ident(tablename) || ' AS it', true, false, '') AS TEXT) \
    FROM pg_tables WHERE schemaname = 'public' AND $1 = ''";

#[tokio::test]
async fn an_answer_outlives_a_restart() {
    let (mut stack, api, user) = ready().await;
    let (name, body) = (name(), json!({"name": "n"}));
    let first = fresh(&post(&api, &user.token, "/keys/create", &name, &body).await);
    stack.restart();
    let again = replayed(&post(&stack.api(), &user.token, "/keys/create", &name, &body).await);
    assert_eq!(again, first);
    stack.kill();
    stack.restart();
    let api = stack.api();
    assert_eq!(replayed(&post(&api, &user.token, "/keys/create", &name, &body).await), first);
    assert_eq!(count(&api, &user.token).await, 1);
}

#[tokio::test]
async fn after_a_kill_there_are_the_key_and_its_answer_or_neither() {
    let (mut stack, api, user) = ready().await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut asking: JoinSet<Vec<(String, Option<Value>)>> = JoinSet::new();
    for _ in 0..CLIENTS {
        let (api, token, answered) = (api.clone(), user.token.clone(), Arc::clone(&answered));
        asking.spawn(async move {
            let mut asked = Vec::new();
            for _ in 0..REQUESTS {
                let name = name();
                let call = api.post("/keys/create").bearer(&token);
                let call = call.header("idempotency-key", &name).json(&json!({"name": "n"}));
                match call.try_send().await {
                    Ok(answer) if answer.status == 201 => {
                        answered.fetch_add(1, Ordering::SeqCst);
                        asked.push((name, Some(answer.json())));
                    }
                    _ => {
                        asked.push((name, None));
                        break;
                    }
                }
            }
            asked
        });
    }
    poll::until_async("some answers", SOON, async || {
        (answered.load(Ordering::SeqCst) >= ANSWERED).then_some(())
    })
    .await;
    stack.kill();
    let asked: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
    stack.restart();
    let api = stack.api();
    let mut before = asked.iter().filter(|(_, answer)| answer.is_some()).count();
    for (name, first) in &asked {
        let again = post(&api, &user.token, "/keys/create", name, &json!({"name": "n"})).await;
        match first {
            Some(first) => assert_eq!(replayed(&again), *first),
            None => before += usize::from(again.status == 201 && is_replayed(&again)),
        }
        again.expect(201);
    }
    assert!(before >= ANSWERED);
    assert_eq!(count(&api, &user.token).await, asked.len(), "each request has made one key");
}

#[tokio::test]
async fn a_copy_of_the_database_shows_neither_a_key_nor_the_name_of_a_request() {
    let (mut stack, api, user) = ready().await;
    let (one, two) = (name(), name());
    let made = fresh(&post(&api, &user.token, "/keys/create", &one, &json!({"name": "n"})).await);
    let bulk = json!({"keys": [{"name": "one", "scopes": []}, {"name": "two", "scopes": []}]});
    let many = fresh(&post(&api, &user.token, "/keys/bulk", &two, &bulk).await);
    let mut secrets = vec![one.clone(), two];
    for key in [&made, &many["keys"][0], &many["keys"][1]] {
        let text = key["key"].as_str().unwrap();
        assert!(ApiKey::parse(text).is_ok());
        secrets.push(text.get(12..44).unwrap().to_owned());
    }
    let url = stack.database(Service::Keys);
    let rows = "SELECT CAST(COUNT(*) AS TEXT) FROM keys_idempotency WHERE $1 = ''";
    assert_eq!(database::text(&url, rows, "").await, "2");
    let mut copies: Vec<Vec<u8>> = Vec::new();
    if Stack::is_cluster() {
        let rows = database::texts(&url, DUMP, "").await;
        copies.extend(rows.into_iter().map(String::into_bytes));
    } else {
        // Also what is not moved from the log into the file yet.
        let file = stack.embedded().unwrap().database;
        let log = file.with_file_name(format!("{}-wal", file.file_name().unwrap().display()));
        copies.push(std::fs::read(&file).unwrap());
        copies.extend(std::fs::read(log).ok());
        stack.stop();
        copies.push(std::fs::read(file).unwrap());
    }
    let has = |text: &[u8]| copies.iter().any(|copy| contains(copy, text));
    assert!(has(user.username.as_bytes()) || Stack::is_cluster());
    assert!(has(b"POST /keys/create"), "the row is in the copy");
    for secret in secrets {
        assert!(!has(secret.as_bytes()), "{secret}");
        let hex = hex::encode(&secret);
        assert!(!has(hex.as_bytes()), "{secret} in hexadecimal digits");
    }
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}
