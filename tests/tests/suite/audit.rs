//! The audit log: each act that changes something is one event, and says who did it, from where and to what.

mod checked;
mod keys;
mod operated;
mod torn;
mod written;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

use e2e::{Api, Call, Service, Stack, database, poll, unique};
use serde_json::{Value, json};

/// Bound on a line that arrives.
const ARRIVES: Duration = Duration::from_mins(1);
const PASSWORD: &str = "three dull words 7";
const NEW_PASSWORD: &str = "four other dull words 8";
const WRONG: &str = "not this one at all 9";
/// What nobody may read in an event: somebody typed their password where the name belongs.
const TYPED: &str = "my secret typed as a name";

/// An event in a line, without its time and its request.
macro_rules! line {
    ($table:literal, $where:literal) => {
        concat!(
            "SELECT action || ' ' || outcome || ' ' || COALESCE(reason, '-') || ' ' || actor_type || ':' || \
             COALESCE(CAST(actor_id AS TEXT), '-') || ' ' || target_type || ':' || target_id || ' ' || \
             COALESCE(ip, '-') || ' ' || COALESCE(user_agent, '-') || ' ' || \
             CASE WHEN revision IS NULL THEN '-' ELSE 'revision' END FROM ",
            $table,
            "_audit_events WHERE ",
            $where,
            " = $1 ORDER BY id"
        )
    };
}

/// The events of a request, of both services.
async fn events(stack: &Stack, request: &str) -> Vec<String> {
    let (identity, keys) = (stack.database(Service::Identity), stack.database(Service::Keys));
    let mut all = database::texts(&identity, line!("identity", "request_id"), request).await;
    all.extend(database::texts(&keys, line!("keys", "request_id"), request).await);
    all
}

/// One after the other, each under an id of its own, and what their events have to say.
struct Acts {
    stack: Stack,
    api: Api,
    agent: String,
    said: Vec<(String, String)>,
}

impl Acts {
    /// Does it, and has `event` be the one that is there then: without address, user agent and what follows.
    async fn act(&mut self, call: Call, status: u16, event: &str, end: &str) -> Value {
        let id = self.sent(event, end);
        self.send(call, &id, status).await
    }

    fn sent(&mut self, event: &str, end: &str) -> String {
        let id = unique("audited-");
        self.said.push((id.clone(), format!("{event} 127.0.0.1 {} {end}", self.agent)));
        id
    }

    async fn send(&self, call: Call, id: &str, status: u16) -> Value {
        call.header("x-request-id", id)
            .header("user-agent", &self.agent)
            .send()
            .await
            .expect(status)
    }

    /// Does it, and has no event be there then.
    async fn nothing(&self, call: Call, status: u16) {
        let id = unique("unaudited-");
        call.header("x-request-id", &id).send().await.expect(status);
        assert_eq!(events(&self.stack, &id).await, Vec::<String>::new());
    }

    fn operate(&self, command: &str, name: &str) {
        let done = tokio::task::block_in_place(|| self.stack.operator(&["user", command, name]));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
}

/// The session that a token belongs to.
fn session(token: &Value) -> String {
    let claims = token.as_str().expect("a token").split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("a session").to_owned()
}

fn acts() -> Acts {
    let stack = tokio::task::block_in_place(|| {
        Stack::with(|config| {
            config.cheap_passwords();
        })
    });
    let api = stack.api();
    Acts { stack, api, agent: unique("agent-"), said: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_act_is_one_event_and_a_repeat_that_changes_nothing_is_none() {
    let mut acts = acts();
    let (api, name) = (acts.api.clone(), unique("audited"));
    let email = format!("{name}@example.com");
    let body = json!({"username": name, "email": email, "password": PASSWORD});
    // What the account's id is, its answer says.
    let id = unique("audited-");
    let user = acts.send(api.post("/auth/signup").json(&body), &id, 201).await["id"].clone();
    let event =
        format!("user.signed_up success - anonymous:- user:{user} 127.0.0.1 {} -", acts.agent);
    acts.said.push((id, event));
    acts.nothing(api.post("/auth/signup").json(&body), 400).await;

    let login = |name: &str, password: &str| {
        api.post("/auth/login").json(&json!({"username": name, "password": password}))
    };
    let failed = format!("user.login_failed failure wrong-credentials anonymous:- user:{user}");
    acts.act(login(&name, WRONG), 401, &failed, "-").await;
    let logged_in = format!("user.logged_in success - anonymous:- user:{user}");
    let token =
        acts.act(login(&name, PASSWORD), 200, &logged_in, "-").await["access_token"].clone();
    let bearer = token.as_str().expect("a token");

    let id = unique("audited-");
    let call = api.post("/keys/create").bearer(bearer).json(&json!({"name": "audited"}));
    let key = acts.send(call, &id, 201).await["id"].clone();
    let event = format!("key.created success - user:{user} key:{key} 127.0.0.1 {} -", acts.agent);
    acts.said.push((id, event));
    let revoke = || api.delete(&format!("/keys/{key}")).bearer(bearer);
    let revoked = format!("key.revoked success - user:{user} key:{key}");
    acts.act(revoke(), 200, &revoked, "revision").await;
    acts.nothing(revoke(), 200).await;
    acts.nothing(api.delete("/keys/999999999").bearer(bearer), 404).await;

    let change = |current: &str| {
        let body = json!({"current_password": current, "new_password": NEW_PASSWORD});
        api.post("/auth/password").bearer(bearer).json(&body)
    };
    let refused =
        format!("user.password_changed failure wrong-credentials user:{user} user:{user}");
    acts.act(change(WRONG), 401, &refused, "-").await;
    let changed = format!("user.password_changed success - user:{user} user:{user}");
    acts.act(change(PASSWORD), 200, &changed, "revision").await;
    let out = format!("user.logged_out success - user:{user} session:{}", session(&token));
    acts.act(api.post("/auth/logout").bearer(bearer), 200, &out, "revision").await;

    let token = api.token(&name, NEW_PASSWORD).await;
    let out = format!("user.logged_out success - user:{user} user:{user}");
    acts.act(api.post("/auth/logout-all").bearer(&token), 200, &out, "revision").await;
    acts.operate("deactivate", &name);
    let inactive = format!("user.login_failed failure inactive-user anonymous:- user:{user}");
    acts.act(login(&name, NEW_PASSWORD), 400, &inactive, "-").await;

    for (id, event) in &acts.said {
        assert_eq!(events(&acts.stack, id).await, [event.as_str()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_command_is_one_event_of_the_operator() {
    let acts = acts();
    let name = unique("operated");
    let email = format!("{name}@example.com");
    let user = acts.api.sign_up(&name, &email, PASSWORD).await.expect(201)["id"].to_string();
    for command in ["deactivate", "deactivate", "reactivate", "reactivate"] {
        acts.operate(command, &name);
    }
    let query = "SELECT action || ' ' || outcome || ' ' || actor_type || ':' || actor_name || ' ' || \
        CASE WHEN revision IS NULL THEN '-' ELSE 'revision' END FROM identity_audit_events \
        WHERE target_type = 'user' AND target_id = $1 AND actor_type = 'operator' ORDER BY id";
    let identity = acts.stack.database(Service::Identity);
    let expected = ["deactivated", "reactivated"]
        .map(|done| format!("user.{done} success operator:operator revision"));
    assert_eq!(database::texts(&identity, query, &user).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_typed_at_a_failed_login_stands_in_no_event() {
    let acts = acts();
    for _ in 0..2 {
        let body = json!({"username": TYPED, "password": WRONG});
        let call = acts.api.post("/auth/login").json(&body).header("user-agent", &acts.agent);
        call.send().await.expect(401);
    }
    let identity = acts.stack.database(Service::Identity);
    let lines = database::texts(&identity, line!("identity", "user_agent"), &acts.agent).await;
    let [one, other] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(one, other, "tries at one name are of one name");
    assert!(one.contains(" name:") && !one.contains("secret"), "{one}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_sealed_soon_and_the_log_has_an_anchor_of_each_chain() {
    let acts = acts();
    let user = acts.api.user().await;
    acts.api.key(&user.token, "sealed").await;
    for service in [Service::Identity, Service::Keys] {
        let name = if service == Service::Keys { "keys" } else { "identity" };
        let line = tokio::task::block_in_place(|| {
            poll::until("an anchor", ARRIVES, || {
                let logs = acts.stack.logs();
                let lines = logs.iter().filter_map(|line| serde_json::from_str(line).ok());
                lines.into_iter().find(|line: &Value| {
                    line["message"] == "audit.anchor" && line["service"] == name
                })
            })
        });
        let (url, seq) = (acts.stack.database(service), line["seq"].to_string());
        let query = if service == Service::Keys {
            "SELECT request_id FROM keys_audit_events WHERE CAST(seq AS TEXT) = $1"
        } else {
            "SELECT request_id FROM identity_audit_events WHERE CAST(seq AS TEXT) = $1"
        };
        assert_eq!(database::texts(&url, query, &seq).await.len(), 1, "{line}");
        assert_eq!(line["hash"].as_str().map(str::len), Some(64), "{line}");
    }
}
