//! What a good credential is not enough for: scopes, kinds, environments and addresses, judged on every request, by an
//! edge that remembers, by one that asks, and by services that ask or remember themselves.

mod taken;

use std::time::Duration;

use e2e::answer::exactly;
use e2e::poll::until_async;
use e2e::{Answer, Api, Cluster, Key, Service, Stack, User, database, python, unique};
use latchkey_client::{Memory, Options, Outcome, PrincipalKind, Required, Secret, Verifier};
use serde_json::{Value, json};

use crate::greet;

/// What a key is made to be before anybody has used it, by its name.
const READS: &str = "UPDATE api_keys SET scopes = 'orders:read', environment = 'test', metadata = '{\"team\":\"core\"}', \
    external_id = 'x-1' WHERE name = $1";
const NOTHING: &str = "UPDATE api_keys SET scopes = '' WHERE name = $1";
const ELSEWHERE: &str = "UPDATE api_keys SET scopes = '* latchkey:keys:read', allowed_ips = '192.0.2.0/24' WHERE name = $1";
const HERE: &str = "UPDATE api_keys SET scopes = '* latchkey:keys:read', allowed_ips = '127.0.0.0/8 ::1/128' WHERE name = $1";

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// A key that `statement` has made what it is to be.
async fn key(api: &Api, database: &str, user: &User, statement: &'static str) -> Key {
    database::until_told(database).await;
    let key = api.key(&user.token, &unique("scoped")).await;
    assert_eq!(database::execute(database, statement, &key.name).await, 1);
    key
}

/// Asks on the bus what each of these says of its credential, and gives the answers or refusals.
fn ask(url: &str, messages: &[(&str, Value)]) -> Vec<Value> {
    let line = |(subject, payload): &(&str, Value)| {
        json!({"subject": subject, "payload": payload.to_string()}).to_string()
    };
    let lines: Vec<String> = messages.iter().map(line).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let end = python::run("tests/foreign/ask.py", &[("NATS_URL", url)], &lines);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    end.stdout.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect()
}

/// Asks one thing twice: at first whoever is remembered, then out of the memory.
fn twice(url: &str, asked: &Value) -> Value {
    let answers = ask(url, &[("v1.verify", asked.clone()), ("v1.verify", asked.clone())]);
    assert_eq!(answers[0], answers[1], "{asked}");
    answers[0]["reply"].clone()
}

#[tokio::test]
async fn what_is_required_is_judged_anew_for_each_request_alone_and_in_a_batch() {
    for cache in ["on", "off"] {
        let mut cluster = Cluster::builder().set("CACHE", cache).start();
        if cache == "on" {
            cluster.joined(1).await;
        }
        let (api, url) = (cluster.api(0), cluster.bus().url());
        let user = api.user().await;
        let reads = key(&api, cluster.database(Service::Keys), &user, READS).await;
        let nothing = key(&api, cluster.database(Service::Keys), &user, NOTHING).await;
        let denied = json!({"key_id": reads.id, "user_id": user.id});
        let with =
            |name: &str, value: Value| twice(&url, &json!({"credential": reads.key, name: value}));
        for (name, value, outcome) in [
            ("required_scope", json!("orders:write"), "insufficient_scope"),
            ("required_scope", json!(["orders:write", "orders:read"]), "valid"),
            ("required_scope", json!("orders:write orders:read"), "insufficient_scope"),
            ("required_scope", json!("orders:read"), "valid"),
            ("required_scope", Value::Null, "valid"),
            ("kind", json!("user"), "wrong_kind"),
            ("kind", json!("service"), "valid"),
            ("environment", json!("live"), "wrong_environment"),
            ("environment", json!("test"), "valid"),
            ("ip", json!("203.0.113.7"), "valid"),
        ] {
            let said = with(name, value.clone());
            exactly(&said, &["outcome", "principal", "denied"]);
            assert_eq!(said["outcome"], outcome, "{name} {value}");
            let is_valid = outcome == "valid";
            assert_eq!(said["principal"].is_null(), !is_valid, "{name} {value}");
            assert_eq!(said["denied"], if is_valid { Value::Null } else { denied.clone() });
        }
        let principal = &with("required_scope", json!("orders:read"))["principal"];
        for (member, value) in [
            ("scopes", json!(["orders:read"])),
            ("environment", json!("test")),
            ("owner", json!({"type": "user", "id": user.id})),
            ("external_id", json!("x-1")),
            ("metadata", json!({"team": "core"})),
            ("lineage_id", json!(reads.id)),
            ("session_id", Value::Null),
        ] {
            assert_eq!(principal[member], value, "{member}");
        }
        let credentials = json!([reads.key, nothing.key, user.token, "nonsense"]);
        let batch = json!({"credentials": credentials, "required_scope": "orders:read"});
        let said = &ask(&url, &[("v1.verify.batch", batch)])[0]["reply"]["results"];
        let outcomes: Vec<_> =
            (0..4).map(|place| said[place]["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["valid", "insufficient_scope", "valid", "malformed"]);
        assert_eq!(said[1]["denied"]["key_id"], nothing.id);
        assert_eq!(said[2]["principal"]["metadata"], Value::Null);
        assert!(said[2]["principal"]["session_id"].is_string());
    }
}

#[tokio::test]
async fn a_key_with_a_list_of_addresses_is_denied_on_the_bus_where_its_clients_is_not_said() {
    let mut cluster = Cluster::builder().start();
    let (api, url) = (cluster.api(0), cluster.bus().url());
    let user = api.user().await;
    let key = key(&api, cluster.database(Service::Keys), &user, ELSEWHERE).await;
    for (ip, outcome) in [
        (json!("192.0.2.7"), "valid"),
        (json!("::ffff:192.0.2.7"), "valid"),
        (json!("203.0.113.7"), "ip_denied"),
        (Value::Null, "ip_denied"),
        (json!("192.0.2.8"), "valid"),
    ] {
        let said = twice(&url, &json!({"credential": key.key, "ip": ip, "required_scope": "a"}));
        assert_eq!(said["outcome"], outcome, "{ip}");
    }
}

/// Waits until a key manages keys: what users may grant is told to the key service soon after a first start.
async fn manages(api: &Api, key: &Key, forwarded: Option<&str>) {
    until_async("a key manages keys", SOON, || async {
        let answers = both(api, "/keys", &key.key, forwarded).await;
        answers.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
}

/// The answer to the first request, and to the next, which is out of the memory.
async fn both(api: &Api, path: &str, key: &str, forwarded: Option<&str>) -> [Answer; 2] {
    let call = || {
        let call = api.get(path).api_key(key);
        match forwarded {
            Some(address) => call.header("x-forwarded-for", address),
            None => call,
        }
    };
    [call().send().await, call().send().await]
}

#[tokio::test]
async fn a_key_with_a_list_of_addresses_is_let_through_from_there_alone_on_every_route() {
    let stack = Stack::shared();
    let (api, url) = (stack.api(), stack.database(Service::Keys));
    let user = api.user().await;
    let (elsewhere, here) =
        (key(&api, &url, &user, ELSEWHERE).await, key(&api, &url, &user, HERE).await);
    manages(&api, &here, None).await;
    for path in ["/protected/service", "/protected/any", "/keys"] {
        for answer in both(&api, path, &elsewhere.key, None).await {
            let body = answer.problem(403, "may not be used from this address");
            assert_eq!(body["type"], "urn:problem-type:latchkey:ip-denied", "{path}");
        }
        for answer in both(&api, path, &here.key, None).await {
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        // Nobody has said that the header is to be believed.
        for answer in both(&api, path, &elsewhere.key, Some("192.0.2.7")).await {
            assert_eq!(answer.status, 403, "{path}");
        }
    }
    // It is good all the same: beside a token that counts nothing is asked of it.
    let call = api.get("/protected/any").bearer(&user.token).api_key(&elsewhere.key);
    assert_eq!(call.send().await.expect(200)["details"]["type"], "user");
    api.as_service(&format!("{}x", elsewhere.key)).await.unauthenticated();
}

#[tokio::test]
async fn behind_proxies_the_address_is_the_one_that_they_saw_or_none() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("TRUSTED_PROXIES", "1");
    });
    let (api, url) = (stack.api(), stack.database(Service::Keys));
    let user = api.user().await;
    let (elsewhere, here) =
        (key(&api, &url, &user, ELSEWHERE).await, key(&api, &url, &user, HERE).await);
    manages(&api, &elsewhere, Some("192.0.2.7")).await;
    for (key, forwarded, status) in [
        (&elsewhere, Some("192.0.2.7"), 200),
        (&elsewhere, Some("192.0.2.7, 203.0.113.7"), 403),
        (&elsewhere, Some("203.0.113.7, 192.0.2.7"), 200),
        (&elsewhere, Some("unknown"), 403),
        (&elsewhere, None, 403),
        // The proxy's own address is nobody's.
        (&here, None, 403),
    ] {
        for path in ["/protected/service", "/keys"] {
            for answer in both(&api, path, &key.key, forwarded).await {
                assert_eq!(answer.status, status, "{path} {forwarded:?}: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn whoever_calls_is_told_what_they_may_do() {
    let stack = Stack::shared();
    let (api, url) = (stack.api(), stack.database(Service::Keys));
    let user = api.user().await;
    let reads = key(&api, &url, &user, READS).await;
    let nothing = key(&api, &url, &user, NOTHING).await;
    for (key, scopes, environment) in
        [(&reads, json!(["orders:read"]), json!("test")), (&nothing, json!([]), json!("live"))]
    {
        for answer in both(&api, "/protected/any", &key.key, None).await {
            let details = &answer.expect(200)["details"];
            assert_eq!((&details["scopes"], &details["environment"]), (&scopes, &environment));
        }
        // No scope is required there.
        api.as_service(&key.key).await.expect(200);
    }
    let body = api.get("/protected/any").bearer(&user.token).send().await.expect(200);
    assert!(
        body["details"]["scopes"].as_array().is_some_and(|scopes| !scopes.is_empty()),
        "{body}"
    );
    assert_eq!(body["details"]["environment"], Value::Null);
}

/// The example, served until the test ends.
async fn guarded(verifier: Verifier) -> Api {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Api::new(&format!("http://{}", listener.local_addr().unwrap()));
    let app = greet::app(verifier);
    tokio::spawn(async move { axum::serve(listener, app).await });
    api
}

#[tokio::test]
async fn a_service_requires_scopes_whether_it_asks_or_remembers() {
    let mut cluster = Cluster::builder().start();
    let (api, url) = (cluster.api(0), cluster.bus().url());
    let user = api.user().await;
    let reads = key(&api, cluster.database(Service::Keys), &user, READS).await;
    let nothing = key(&api, cluster.database(Service::Keys), &user, NOTHING).await;
    let elsewhere = key(&api, cluster.database(Service::Keys), &user, ELSEWHERE).await;
    let options = || Options { url: url.clone(), ..Options::default() };
    let asking = Verifier::connect(options()).await.unwrap();
    let remembering = Verifier::remembering(options(), Memory::default()).await.unwrap();
    cluster.joined(2).await;
    for verifier in [asking, remembering] {
        let app = guarded(verifier.clone()).await;
        for _ in 0..2 {
            for call in [
                app.get("/orders").api_key(&reads.key),
                app.get("/orders").bearer(&user.token),
                app.get("/greet").api_key(&nothing.key),
            ] {
                let answer = call.send().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            let refused = app.get("/orders").api_key(&nothing.key).send().await;
            let body = refused.expect(403);
            assert_eq!(body["type"], "urn:problem-type:latchkey:insufficient-scope");
            assert_eq!(body["required"], json!(["orders:read", "admin"]));
            let challenge = refused.header("www-authenticate");
            assert!(challenge.starts_with("Bearer "), "{challenge}");
            let scope = r#"error="insufficient_scope", scope="orders:read""#;
            assert!(challenge.contains(scope), "{challenge}");
            // The example does not say where its clients are.
            let refused = app.get("/greet").api_key(&elsewhere.key).send().await.expect(403);
            assert_eq!(refused["type"], "urn:problem-type:latchkey:ip-denied");
            app.get("/orders").api_key("sk_nonsense").send().await.expect(401);
        }
        let outcome = async |key: &Key, required: Required| {
            let said = verifier.verify_for(Secret::new(key.key.clone()), &required).await.unwrap();
            assert_eq!(said.principal.is_some(), said.outcome == Outcome::Valid);
            said.outcome
        };
        let nothing_more = Required::default;
        let here = Some("192.0.2.7".parse().unwrap());
        for (key, required, expected) in [
            (&elsewhere, nothing_more().client(here), Outcome::Valid),
            (&elsewhere, nothing_more(), Outcome::IpDenied),
            (&reads, nothing_more().environment("test"), Outcome::Valid),
            (&reads, nothing_more().environment("live"), Outcome::WrongEnvironment),
            (&reads, nothing_more().kind(PrincipalKind::User), Outcome::WrongKind),
            (&reads, nothing_more().scope("orders:read").scope("b"), Outcome::InsufficientScope),
            (&reads, nothing_more().scope("b").or_scope("orders:read"), Outcome::Valid),
        ] {
            assert_eq!(outcome(key, required.clone()).await, expected, "{required:?}");
        }
        // What is empty requires nothing of anybody, and accepts nobody.
        let empty = nothing_more().scope("");
        assert!(verifier.verify_for(Secret::new(reads.key.clone()), &empty).await.is_err());
        verifier.close().await;
    }
}
