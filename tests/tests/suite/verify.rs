//! Verification on the bus, asked by a client in another language: the example of `docs/bus.md`.

use e2e::answer::{exactly, id, time};
use e2e::{Cluster, Service, User, python};
use serde_json::{Value, json};

/// A key of the right form that was never issued.
const UNKNOWN_KEY: &str = "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";

struct Credentials {
    user: User,
    key: String,
    revoked: String,
}

async fn ready() -> (Cluster, Credentials) {
    let cluster = Cluster::builder().start();
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "foreign").await;
    let ended = api.key(&user.token, "ended").await;
    api.revoke(&user.token, ended.id).await.expect(200);
    (cluster, Credentials { user, key: key.key, revoked: ended.key })
}

fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect()
}

/// What the example prints for these credentials.
fn example(url: &str, credentials: &[&str]) -> Vec<Value> {
    let end = python::run("docs/examples/verify.py", &[("NATS_URL", url)], credentials);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    documents(&end.stdout)
}

/// What the example's code makes of each of these messages.
fn ask(url: &str, messages: &[(&str, String)]) -> Vec<Value> {
    let lines: Vec<String> = messages
        .iter()
        .map(|(subject, payload)| json!({"subject": subject, "payload": payload}).to_string())
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let end = python::run("tests/foreign/ask.py", &[("NATS_URL", url)], &lines);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let results = documents(&end.stdout);
    assert_eq!(results.len(), messages.len(), "{}", end.stderr);
    results
}

fn one(credential: &str) -> (&'static str, String) {
    ("v1.verify", json!({"credential": credential}).to_string())
}

fn many(credentials: &[&str]) -> (&'static str, String) {
    ("v1.verify.batch", json!({"credentials": credentials}).to_string())
}

fn since(credential: &str, least: &Value) -> (&'static str, String) {
    ("v1.verify", json!({"credential": credential, "min_revision": least}).to_string())
}

const MEMBERS: [&str; 14] = [
    "type",
    "user_id",
    "username",
    "email",
    "key_id",
    "name",
    "expires_at",
    "scopes",
    "environment",
    "owner",
    "external_id",
    "metadata",
    "lineage_id",
    "session_id",
];

fn is_the_service(result: &Value, of: &Credentials) {
    exactly(result, &["outcome", "principal", "denied"]);
    let principal = &result["principal"];
    exactly(principal, &MEMBERS);
    assert_eq!(result["outcome"], "valid");
    assert_eq!((&principal["type"], &principal["name"]), (&json!("service"), &json!("foreign")));
    assert_eq!(principal["user_id"], of.user.id);
    assert_eq!((&principal["username"], &principal["email"]), (&Value::Null, &Value::Null));
    id(&principal["key_id"]);
    time(&principal["expires_at"]);
}

fn is_the_user(result: &Value, of: &Credentials) {
    let principal = &result["principal"];
    exactly(principal, &MEMBERS);
    assert_eq!((&result["outcome"], &principal["type"]), (&json!("valid"), &json!("user")));
    assert_eq!(principal["user_id"], of.user.id);
    assert_eq!(principal["username"], of.user.username);
    assert_eq!(principal["email"], of.user.email);
    assert_eq!((&principal["key_id"], &principal["name"]), (&Value::Null, &Value::Null));
    time(&principal["expires_at"]);
}

fn is(result: &Value, outcome: &str) {
    assert_eq!(result, &json!({"outcome": outcome, "principal": null, "denied": null}));
}

#[tokio::test]
async fn the_documented_example_tells_every_outcome_alone_and_in_a_batch() {
    let (mut cluster, of) = ready().await;
    let url = cluster.bus().url();
    is_the_service(&example(&url, &[&of.key])[0], &of);
    is_the_user(&example(&url, &[&of.user.token])[0], &of);
    is(&example(&url, &[&of.revoked])[0], "revoked");

    let credentials =
        [&of.key, &of.user.token, &of.revoked, UNKNOWN_KEY, "sk_mistyped", "", "no credential"];
    // 147 in all: the example asks twice.
    let repeated = credentials.repeat(21);
    let results = example(&url, &repeated);
    assert_eq!(results.len(), repeated.len());
    for group in results.chunks(credentials.len()) {
        is_the_service(&group[0], &of);
        is_the_user(&group[1], &of);
        is(&group[2], "revoked");
        is(&group[3], "unknown");
        group[4..].iter().for_each(|result| is(result, "malformed"));
    }

    let api = cluster.api(0);
    api.post("/auth/logout").bearer(&of.user.token).send().await.expect(200);
    is(&example(&url, &[&of.user.token])[0], "revoked");
}

#[tokio::test]
async fn a_wrong_message_is_refused_with_a_code_and_its_faulty_fields() {
    let (mut cluster, of) = ready().await;
    let with = |name: &str, value: Value| {
        ("v1.verify", json!({"credential": of.key, name: value}).to_string())
    };
    let scoped = with("required_scope", json!("")).1;
    let misspelt = json!({"credential": of.key, "required_scopes": "admin"}).to_string();
    let large = format!("{}{}", one(&of.key).1, " ".repeat(64 * 1024));
    let cases = [
        (("v1.verify", "{\"credential\": ".to_owned()), 400, "unreadable", ""),
        (("v1.verify", json!({"credential": 5}).to_string()), 400, "unreadable", "credential"),
        (("v1.verify", misspelt), 400, "unreadable", ""),
        (("v1.verify", large), 400, "unreadable", ""),
        (("v1.verify", "{}".to_owned()), 422, "invalid", "credential"),
        (("v1.verify", scoped), 422, "invalid", "required_scope"),
        (with("required_scope", json!([])), 422, "invalid", "required_scope"),
        (with("required_scope", json!(["a", ""])), 422, "invalid", "required_scope"),
        (with("required_scope", json!("orders:*")), 422, "invalid", "required_scope"),
        (with("required_scope", json!(vec!["a"; 17])), 422, "invalid", "required_scope"),
        (with("required_scope", json!(5)), 400, "unreadable", "required_scope"),
        (with("kind", json!("key")), 400, "unreadable", "kind"),
        (with("environment", json!("")), 422, "invalid", "environment"),
        (with("ip", json!("")), 422, "invalid", "ip"),
        (with("ip", json!("example.com")), 422, "invalid", "ip"),
        (since(&of.key, &json!({"keys": -1})), 422, "invalid", "min_revision.keys"),
        (since(&of.key, &json!({"identity": -7})), 422, "invalid", "min_revision.identity"),
        (since(&of.key, &json!(7)), 400, "unreadable", "min_revision"),
        (since(&of.key, &json!({"key": 7})), 400, "unreadable", "min_revision"),
        (since(&of.key, &json!({"keys": 1_u64 << 63})), 400, "unreadable", "min_revision.keys"),
        (many(&[]), 422, "invalid", "credentials"),
        (many(&[of.key.as_str(); 101]), 422, "invalid", "credentials"),
    ];
    let messages: Vec<(&str, String)> =
        cases.iter().map(|((subject, payload), ..)| (*subject, payload.clone())).collect();
    let results = ask(&cluster.bus().url(), &messages);
    for ((_, status, code, field), result) in cases.iter().zip(&results) {
        assert_eq!(result["refused"], *status, "{result}");
        exactly(&result["document"], &["code", "errors"]);
        assert_eq!(result["document"]["code"], *code, "{result}");
        assert_eq!(result["document"]["errors"][0]["field"], *field, "{result}");
        assert!(!result["document"]["errors"][0]["message"].as_str().unwrap().is_empty());
        assert!(!result.to_string().contains(&of.key), "{result}");
    }
    // A hundred is not too many.
    let most = ask(&cluster.bus().url(), &[many(&[of.key.as_str(); 100])]);
    assert_eq!(most[0]["reply"]["results"].as_array().map(Vec::len), Some(100));
}

#[tokio::test]
async fn an_outcome_that_cannot_be_had_is_an_error_and_never_an_outcome() {
    let (mut cluster, of) = ready().await;
    cluster.replica_mut(Service::Keys, 0).kill();
    let (key, token) = (of.key.as_str(), of.user.token.as_str());
    let messages = [one(key), many(&[token, key]), one(UNKNOWN_KEY), one(token), one("sk_x")];
    let results = ask(&cluster.bus().url(), &messages);
    for result in &results[..3] {
        let text = result["no_outcome"].as_str().unwrap_or_else(|| panic!("{result}"));
        assert!(text.starts_with("503 "), "{text}");
    }
    is_the_user(&results[3]["reply"], &of);
    is(&results[4]["reply"], "malformed");

    cluster.replica_mut(Service::Edge, 0).stop();
    let results = ask(&cluster.bus().url(), &[one(token)]);
    assert_eq!(results[0]["no_outcome"], "NoRespondersError");
}

#[tokio::test]
async fn a_revision_that_its_authority_has_not_reached_is_an_error_and_never_an_outcome() {
    let (mut cluster, of) = ready().await;
    let api = cluster.api(0);
    let key = api.key(&of.user.token, "ended too").await;
    let revoked = api.revoke(&of.user.token, key.id).await.expect(200);
    let revision = revoked["receipt"]["revision"].as_i64().unwrap();
    let (token, far) = (of.user.token.as_str(), 1_000_000_000);
    // From now on the edge remembers them.
    ask(&cluster.bus().url(), &[one(&of.key), one(&of.revoked), one(UNKNOWN_KEY), one(token)]);
    let batch = json!({"credentials": [&of.key, token], "min_revision": {"identity": far}});
    let results = ask(
        &cluster.bus().url(),
        &[
            since(&of.key, &json!({"keys": far})),
            since(&of.revoked, &json!({"keys": revision + 1})),
            since(UNKNOWN_KEY, &json!({"keys": far})),
            since(token, &json!({"keys": 0, "identity": far})),
            ("v1.verify.batch", batch.to_string()),
            // Each authority judges its own, and what it has reached it knows.
            since(&of.key, &json!({"keys": revision, "identity": far})),
            since(token, &json!({"keys": far, "identity": null})),
            since(&key.key, &json!({"keys": revision})),
            since(&of.revoked, &json!({})),
            since(&of.key, &Value::Null),
            since("sk_mistyped", &json!({"keys": far})),
        ],
    );
    for result in &results[..5] {
        let text = result["no_outcome"].as_str().unwrap_or_else(|| panic!("{result}"));
        assert!(text.starts_with("503 "), "{text}");
    }
    is_the_service(&results[5]["reply"], &of);
    is_the_user(&results[6]["reply"], &of);
    is(&results[7]["reply"], "revoked");
    is(&results[8]["reply"], "revoked");
    is_the_service(&results[9]["reply"], &of);
    is(&results[10]["reply"], "malformed");
}

#[tokio::test]
async fn the_edge_is_discovered_with_its_endpoints() {
    let (mut cluster, of) = ready().await;
    let asked = [one(&of.key), ("v1.verify", "{}".to_owned())];
    ask(&cluster.bus().url(), &asked);
    let results = ask(
        &cluster.bus().url(),
        &[("$SRV.INFO.edge", String::new()), ("$SRV.STATS.edge", String::new())],
    );
    let info = &results[0]["reply"];
    assert_eq!(info["name"], "edge");
    let endpoints = info["endpoints"].as_array().unwrap();
    let mut subjects: Vec<_> =
        endpoints.iter().map(|endpoint| endpoint["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["v1.verify", "v1.verify.batch"]);
    assert!(endpoints.iter().all(|endpoint| endpoint["queue_group"] == "edge"), "{info}");
    let stats = results[1]["reply"]["endpoints"].as_array().unwrap();
    let verify = stats.iter().find(|endpoint| endpoint["name"] == "v1-verify").unwrap();
    // A refusal is an answer: it is counted as a request and not as an error.
    assert_eq!(
        (&verify["num_requests"], &verify["num_errors"]),
        (&json!(2), &json!(0)),
        "{verify}"
    );
}

#[tokio::test]
async fn no_credential_that_is_asked_about_is_in_a_log() {
    let mut cluster = Cluster::builder().set("RUST_LOG", "trace").set("CACHE", "off").start();
    let user = cluster.api(0).user().await;
    let key = cluster.api(0).key(&user.token, "canary").await.key;
    let cut = |text: &str, end: usize| text.chars().take(end).collect::<String>();
    let misspelt = json!({"credential": key, "scope": user.token}).to_string();
    let typed = json!({"credential": {"key": key}}).to_string();
    let scoped = json!({"credential": key, "required_scope": user.token}).to_string();
    let broken = cut(&one(&user.token).1, 120);
    let messages = [
        one(&key),
        one(&user.token),
        many(&[&key, &user.token]),
        one(&cut(&key, 40)),
        ("v1.verify", misspelt),
        ("v1.verify", typed),
        ("v1.verify", scoped),
        ("v1.verify", broken),
        ("v1.verify.batch", json!({"credentials": key}).to_string()),
    ];
    let results = ask(&cluster.bus().url(), &messages);
    assert!(results[..4].iter().all(|result| result.get("reply").is_some()), "{results:?}");
    assert!(results[4..].iter().all(|result| result.get("refused").is_some()), "{results:?}");
    cluster.replica_mut(Service::Identity, 0).kill();
    cluster.replica_mut(Service::Keys, 0).kill();
    let results = ask(&cluster.bus().url(), &messages[..3]);
    assert!(results.iter().all(|result| result.get("no_outcome").is_some()), "{results:?}");
    let end = cluster.replica_mut(Service::Edge, 0).stop();
    let log = format!("{}{}", end.stdout, end.stderr);
    assert!(log.contains("a request cannot be read"), "is this the log at trace? {log}");
    let (signature, random) = (user.token.rsplit('.').next().unwrap(), cut(&key, 24));
    for line in log.lines() {
        for secret in [signature, &random, &user.email] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}

#[test]
fn the_documentation_quotes_its_examples_as_they_are() {
    let page = include_str!("../../../docs/bus.md");
    let python = include_str!("../../../docs/examples/verify.py");
    let rust = include_str!("../../../docs/examples/greet.rs");
    assert!(
        page.contains(&format!("```python\n{python}```")),
        "docs/examples/verify.py has changed"
    );
    assert!(page.contains(&format!("```rust\n{rust}```")), "docs/examples/greet.rs has changed");
}
