//! `kill -9` while users do everything that there is to do: each change is there with its event, or neither is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;

const ROUNDS: usize = 3;
const CLIENTS: usize = 6;
/// Answers before the kill; each round adds some, to hit other moments.
const FIRST: usize = 45;
const STEP: usize = 13;

/// Rows of the identity service that differ from what its events say. Each user does each thing once, but for logins.
const IDENTITY: [&str; 6] = [
    "SELECT 'user ' || id FROM users WHERE $1 <> '' AND 1 <> (SELECT COUNT(*) FROM identity_audit_events \
        WHERE action = 'user.signed_up' AND target_type = 'user' AND target_id = CAST(users.id AS TEXT))",
    "SELECT 'signup ' || target_id FROM identity_audit_events WHERE $1 <> '' AND action = 'user.signed_up' \
        AND NOT EXISTS (SELECT 1 FROM users WHERE CAST(users.id AS TEXT) = target_id)",
    "SELECT 'logins of ' || id FROM users WHERE $1 <> '' AND \
        (SELECT COUNT(*) FROM sessions WHERE user_id = users.id) <> (SELECT COUNT(*) FROM identity_audit_events \
        WHERE action = 'user.logged_in' AND target_type = 'user' AND target_id = CAST(users.id AS TEXT))",
    "SELECT 'logouts of ' || id FROM users WHERE $1 <> '' AND \
        (SELECT COUNT(*) FROM sessions WHERE user_id = users.id AND ended_at IS NOT NULL) <> \
        (SELECT COUNT(*) FROM identity_audit_events WHERE action = 'user.logged_out' AND actor_id = users.id)",
    "SELECT 'password of ' || id FROM users WHERE $1 <> '' AND \
        (CASE WHEN password_mark IS NULL THEN 0 ELSE 1 END) <> (SELECT COUNT(*) FROM identity_audit_events \
        WHERE action = 'user.password_changed' AND outcome = 'success' AND actor_id = users.id)",
    "SELECT 'revision of ' || id FROM identity_audit_events WHERE $1 <> '' AND action IN ('user.logged_out') \
        AND revision IS NULL",
];
/// The same of the key service.
const KEYS: [&str; 3] = [
    "SELECT 'key ' || id FROM api_keys WHERE $1 <> '' AND 1 <> (SELECT COUNT(*) FROM keys_audit_events \
        WHERE action = 'key.created' AND target_type = 'key' AND target_id = CAST(api_keys.id AS TEXT))",
    "SELECT 'event of ' || target_id FROM keys_audit_events WHERE $1 <> '' AND target_type = 'key' \
        AND NOT EXISTS (SELECT 1 FROM api_keys WHERE CAST(api_keys.id AS TEXT) = target_id)",
    "SELECT 'revocation of ' || id FROM api_keys WHERE $1 <> '' AND \
        (CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END) <> (SELECT COUNT(*) FROM keys_audit_events \
        WHERE action = 'key.revoked' AND target_type = 'key' AND target_id = CAST(api_keys.id AS TEXT))",
];

/// What was answered until the kill.
#[derive(Default)]
struct Answers {
    count: AtomicUsize,
    is_over: AtomicBool,
}

impl Answers {
    async fn of(&self, call: Call) -> Option<Value> {
        if self.is_over.load(Ordering::SeqCst) {
            return None;
        }
        let answer = call.try_send().await.ok()?;
        self.count.fetch_add(1, Ordering::SeqCst);
        (answer.status < 300).then(|| answer.json())
    }
}

/// What each user does, until the server is gone.
async fn live(api: &Api, answers: &Answers) -> Option<()> {
    loop {
        let name = unique("torn");
        let email = format!("{name}@example.com");
        let body = json!({"username": name, "email": email, "password": PASSWORD});
        answers.of(api.post("/auth/signup").json(&body)).await?;
        let login = async |password: &str| {
            let body = json!({"username": name, "password": password});
            let token = answers.of(api.post("/auth/login").json(&body)).await?;
            token["access_token"].as_str().map(str::to_owned)
        };
        let token = login(PASSWORD).await?;
        let body = json!({"name": "torn"});
        let key = answers.of(api.post("/keys/create").bearer(&token).json(&body)).await?;
        let id = key["id"].clone();
        answers.of(api.delete(&format!("/keys/{id}")).bearer(&token)).await?;
        let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
        answers.of(api.post("/auth/password").bearer(&token).json(&body)).await?;
        answers.of(api.post("/auth/logout").bearer(&token)).await?;
        let token = login(NEW_PASSWORD).await?;
        answers.of(api.post("/auth/logout-all").bearer(&token)).await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_leaves_no_change_without_its_event_and_no_event_without_its_change() {
    let Acts { mut stack, .. } = acts();
    for round in 0..ROUNDS {
        let answers = Arc::new(Answers::default());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (api, answers) = (stack.api(), Arc::clone(&answers));
            clients.spawn(async move { live(&api, &answers).await });
        }
        let enough = FIRST + round * STEP;
        tokio::task::block_in_place(|| {
            poll::until("answers", ARRIVES, || {
                (answers.count.load(Ordering::SeqCst) >= enough).then_some(())
            });
            stack.kill();
        });
        answers.is_over.store(true, Ordering::SeqCst);
        drop(clients.join_all().await);
        tokio::task::block_in_place(|| stack.restart());
        for (service, statements) in [(Service::Identity, &IDENTITY[..]), (Service::Keys, &KEYS)] {
            let url = stack.database(service);
            for statement in statements {
                let torn = database::texts(&url, statement, "all").await;
                assert_eq!(torn, Vec::<String>::new(), "round {round}: {statement}");
            }
        }
        let signed_up =
            "SELECT CAST(COUNT(*) AS TEXT) FROM identity_audit_events WHERE action = $1";
        let identity = stack.database(Service::Identity);
        assert_ne!(database::text(&identity, signed_up, "user.signed_up").await, "0");
    }
}
