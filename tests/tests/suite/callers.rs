//! Who acts, from where and by which request: what an edge and an operator's command say of it, and what the services'
//! logs show.

use std::time::Duration;

use async_nats::Message;
use e2e::account::PASSWORD;
use e2e::tap::Tap;
use e2e::{Api, Call, Cluster, Stack, poll, unique};
use latchkey_contract::caller::UserAgent;
use serde_json::{Value, json};

/// Bound on a line's way from the process to the test.
const ARRIVES: Duration = Duration::from_secs(20);
const NEW_PASSWORD: &str = "a lantern above the tide";
/// What a client says of itself, by which it is found where it should not be.
const AGENT: &str = "marked-agent/1.0";

/// One command of a client: its request's id, and what the service that does it logs.
type Said = (String, &'static str, &'static str);

/// Every command that a client can give, each by a request whose id is its own.
async fn every_command(api: &Api, name: &str) -> Vec<Said> {
    let mut said = Vec::new();
    let mut note = |actor, message| {
        let id = unique("command-");
        said.push((id.clone(), actor, message));
        id
    };
    let email = format!("{name}@example.com");
    let send = async |call: Call, id: String, status| {
        call.header("x-request-id", id).header("user-agent", AGENT).send().await.expect(status)
    };
    let body = json!({"username": name, "email": email, "password": PASSWORD});
    send(api.post("/auth/signup").json(&body), note("anonymous", "signed up"), 201).await;
    let wrong = json!({"username": name, "password": "not this one"});
    let id = note("anonymous", "a login was refused");
    send(api.post("/auth/login").json(&wrong), id, 401).await;
    let right = json!({"username": name, "password": PASSWORD});
    let id = note("anonymous", "logged in");
    let token = send(api.post("/auth/login").json(&right), id, 200).await;
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let body = json!({"name": "by a command"});
    let call = api.post("/keys/create").bearer(&token).json(&body);
    let key = send(call, note("user", "a key was issued"), 201).await["id"].clone();
    let call = api.delete(&format!("/keys/{key}")).bearer(&token);
    send(call, note("user", "a key was revoked"), 200).await;
    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let call = api.post("/auth/password").bearer(&token).json(&body);
    send(call, note("user", "a password was changed"), 200).await;
    let call = api.post("/auth/logout").bearer(&token);
    send(call, note("user", "logged out"), 200).await;
    let token = api.token(name, NEW_PASSWORD).await;
    let call = api.post("/auth/logout-all").bearer(&token);
    send(call, note("user", "logged out everywhere"), 200).await;
    said
}

/// The first line with this message that `fits`.
fn line(stack: &Stack, message: &str, fits: impl Fn(&Value) -> bool) -> Value {
    poll::until(message, ARRIVES, || {
        stack.logs().iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            (line["message"] == message && fits(&line)).then_some(line)
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_of_each_command_says_who_acts_and_by_which_request_and_nothing_of_where_they_are()
{
    let stack = tokio::task::block_in_place(|| {
        Stack::with(|config| {
            config.cheap_passwords().set("RUST_LOG", "info,audit=debug");
        })
    });
    let name = unique("acts");
    for (id, actor, message) in every_command(&stack.api(), &name).await {
        let line = line(&stack, message, |line| line["request_id"] == *id);
        assert_eq!(line["actor"], actor, "{line}");
        let text = line.to_string();
        let hidden = [AGENT, "127.0.0.1", "example.com", name.as_str()];
        assert!(!hidden.iter().any(|part| text.contains(part)), "{line}");
    }
    let done = tokio::task::block_in_place(|| stack.operator(&["user", "deactivate", &name]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let set = line(&stack, "an account was set", |line| line["active"] == false);
    assert_eq!(set["actor"], "operator", "{set}");
    let id = set["request_id"].as_str().expect("an id");
    assert!(id.strip_prefix("operator-").is_some_and(|id| id.len() == 16), "{set}");
    // The key service was told by the same request, and by nobody's command.
    let told = line(&stack, "a user's keys were set", |line| line["request_id"] == id);
    assert_eq!(told["actor"], Value::Null, "{told}");
}

fn header(message: &Message, name: &str) -> String {
    let headers = message.headers.as_ref().expect("headers");
    headers.get(name).map(ToString::to_string).unwrap_or_default()
}

/// The session that a token belongs to.
fn session(token: &str) -> String {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("a session").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_edge_says_is_what_it_has_verified_and_not_what_the_client_says() {
    let builder = Cluster::builder().set("TRUSTED_PROXIES", "1");
    let cluster = tokio::task::block_in_place(|| builder.start());
    let api = cluster.api(0);
    let mut identity = Tap::on(&cluster.bus_url(), "v1.identity.*").await;
    let mut keys = Tap::on(&cluster.bus_url(), "v1.keys.*").await;
    let user = api.user().await;
    let hostile = format!("agent \u{202e}\t{}", "x".repeat(4_000));
    let shown = UserAgent::clean(hostile.as_bytes()).expect("a user agent");
    let forged = "user:1:00000000000000000000000000000000";
    let mark = |call: Call, id: &str| {
        call.header("x-request-id", id)
            .header("user-agent", &hostile)
            .header("x-forwarded-for", "6.6.6.6, 203.0.113.7")
            .header("latchkey-actor", forged)
            .header("latchkey-address", "6.6.6.6")
    };
    let right = json!({"username": user.username, "password": user.password});
    mark(api.post("/auth/login").json(&right), "by-login").send().await.expect(200);
    mark(api.get("/keys").bearer(&user.token), "by-list").send().await.expect(200);
    mark(api.post("/auth/logout-all").bearer(&user.token), "by-end").send().await.expect(200);

    let mut heard = identity.so_far("v1.identity.marker").await;
    heard.extend(keys.so_far("v1.keys.marker").await);
    let acts = format!("user:{}:{}", user.id, session(&user.token));
    for (id, subject, actor) in [
        ("by-login", "v1.identity.login", "anonymous"),
        ("by-list", "v1.keys.list", acts.as_str()),
        ("by-end", "v1.identity.user", acts.as_str()),
        ("by-end", "v1.identity.logout-all", acts.as_str()),
    ] {
        let message = heard.iter().find(|message| {
            message.subject.as_str() == subject && header(message, "Latchkey-Request-Id") == id
        });
        let message = message.unwrap_or_else(|| panic!("no {subject} by {id}"));
        assert_eq!(header(message, "Latchkey-Actor"), actor, "{subject}");
        assert_eq!(header(message, "Latchkey-Address"), "203.0.113.7", "{subject}");
        assert_eq!(header(message, "Latchkey-User-Agent"), shown.as_str(), "{subject}");
    }
    // What nobody's command is says nothing of anybody.
    let asks = heard.iter().filter(|message| message.subject.ends_with(".verify"));
    for message in asks {
        assert_eq!(header(message, "Latchkey-Actor"), "", "{}", message.subject);
        assert_eq!(header(message, "Latchkey-Address"), "", "{}", message.subject);
    }
}
