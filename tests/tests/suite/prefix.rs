//! The form of keys: prefixes and environments beside each other, what an edge makes of a text that has the form and
//! is no key, and the settings that say what new keys look like.

use e2e::answer::id;
use e2e::database::execute;
use e2e::prometheus::{scrape, value};
use e2e::{Answer, Api, Service, Stack, User, forge, python};
use latchkey_contract::ApiKey;
use serde_json::{Value, json};

/// The random characters of a key, and what stands before them.
fn parts(key: &str) -> (&str, &str) {
    let at = key.rfind('_').unwrap() + 1;
    key.split_at(at)
}

/// Has a stored key be `key`: one of a prefix or environment that this stack gives to none. Gives its id.
async fn plant(stack: &Stack, user: &User, key: &ApiKey) -> i64 {
    let hash = key.hash().0.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let body = json!({"name": hash});
    let made = stack.api().make_key(&user.token, &body).await.expect(201);
    let database = stack.database(Service::Keys);
    let statement = if database.starts_with("sqlite:") {
        "UPDATE api_keys SET hash = unhex(name) WHERE name = $1"
    } else {
        "UPDATE api_keys SET hash = decode(name, 'hex') WHERE name = $1"
    };
    assert_eq!(execute(&database, statement, &hash).await, 1);
    id(&made["id"])
}

/// What each edge says of a key, twice: the second time from memory.
async fn everywhere(stack: &Stack, key: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for edge in stack.edges() {
        let api = Api::new(&edge);
        for path in ["/protected/service", "/protected/any", "/protected/service"] {
            answers.push(api.get(path).api_key(key).send().await);
        }
    }
    answers
}

#[tokio::test]
async fn keys_of_every_prefix_and_environment_work_at_every_edge_beside_each_other() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("API_KEY_PREFIX", "acme");
        config.set("API_KEY_ENVIRONMENTS", "live,test");
    });
    let api = stack.api();
    let user = api.user().await;
    let made = api.key(&user.token, "acme").await;
    let (lead, rest) = parts(&made.key);
    assert_eq!((lead, rest.len()), ("acme_", 49), "the first environment stands in no key");
    let mut keys = vec![(made.key, made.id)];
    let others =
        [("sk", None), ("sk", Some("sandbox")), ("acme", Some("test")), ("k0", Some("01"))];
    for (prefix, infix) in others {
        let key = forge::key_of(prefix, infix);
        keys.push((key.expose().to_owned(), plant(&stack, &user, &key).await));
    }
    for (key, id) in &keys {
        for answer in everywhere(&stack, key).await {
            let body = answer.expect(200);
            let details = body.get("details").unwrap_or(&body);
            assert_eq!(details["api_key_id"], *id, "{key}");
        }
    }
    for (key, id) in &keys {
        api.revoke(&user.token, *id).await.expect(200);
        for answer in everywhere(&stack, key).await {
            answer.unauthenticated();
        }
    }
}

#[tokio::test]
async fn a_change_of_the_prefix_leaves_every_key_as_it_is() {
    let mut stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let user = stack.api().user().await;
    let old = stack.api().key(&user.token, "old").await;
    assert_eq!(parts(&old.key).0, "sk_");
    let sandbox = forge::key_of("sk", Some("sandbox"));
    plant(&stack, &user, &sandbox).await;
    stack.restart_with(|config| {
        config.set("API_KEY_PREFIX", "acme").set("API_KEY_ENVIRONMENTS", "main");
    });
    let api = stack.api();
    let new = api.key(&user.token, "new").await;
    assert_eq!(parts(&new.key).0, "acme_");
    for key in [&old.key, sandbox.expose(), &new.key] {
        for answer in everywhere(&stack, key).await {
            answer.expect(200);
        }
    }
    let list = api.get("/keys").bearer(&user.token).send().await.expect(200);
    let hints: Vec<_> = list.as_array().unwrap().iter().map(|key| key["hint"].clone()).collect();
    let hint = |key: &str| {
        let (lead, rest) = parts(key);
        json!(format!("{lead}{}…{}", rest.split_at(4).0, rest.split_at(45).1))
    };
    assert_eq!((&hints[0], &hints[2]), (&hint(&old.key), &hint(&new.key)));
    api.revoke(&user.token, old.id).await.expect(200);
    for answer in everywhere(&stack, &old.key).await {
        answer.unauthenticated();
    }
}

/// How many keys were verified with this outcome, and about how many an authority was asked.
async fn counted(stack: &Stack, outcome: &str) -> (f64, f64) {
    let (mut verified, mut asked) = (0.0, 0.0);
    for monitor in stack.monitors(Service::Edge) {
        let text = scrape(&monitor).await;
        let labels = [("kind", "key"), ("outcome", outcome)];
        verified += value(&text, "latchkey_verifications_total", &labels).unwrap_or_default();
    }
    for monitor in stack.monitors(Service::Keys) {
        let labels = [("subject", "v1.keys.verify")];
        let text = scrape(&monitor).await;
        asked += value(&text, "latchkey_bus_served_total", &labels).unwrap_or_default();
    }
    (verified, asked)
}

#[tokio::test]
async fn a_forged_prefix_or_environment_finds_nothing_and_costs_what_an_unknown_key_costs() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().one_edge();
        if !Stack::is_cluster() {
            config.set("MONITOR_ADDR", "127.0.0.1:0");
        }
    });
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "copied").await.key;
    let rest = parts(&key).1;
    let forged: Vec<String> = ["pk_", "acme_", "sk_live_", "sk_sandbox_", "acme_test_"]
        .iter()
        .map(|lead| format!("{lead}{rest}"))
        .collect();
    let unknown = forge::key();
    let mut cost = Vec::new();
    for text in forged.iter().map(String::as_str).chain([unknown.expose()]) {
        let before = counted(&stack, "unknown").await;
        api.as_service(text).await.unauthenticated();
        api.as_service(text).await.unauthenticated();
        let after = counted(&stack, "unknown").await;
        cost.push((after.0 - before.0, after.1 - before.1));
    }
    assert_eq!(cost, vec![(2.0, 1.0); forged.len() + 1], "asked once, and remembered");
    let before = counted(&stack, "malformed").await;
    for text in
        [format!("s_{rest}"), format!("sk_a_b_{rest}"), format!("Sk_{rest}"), format!("{key}0")]
    {
        api.as_service(&text).await.unauthenticated();
    }
    let after = counted(&stack, "malformed").await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (4.0, 0.0), "nobody is asked");
    api.as_service(&key).await.expect(200);
}

#[tokio::test]
async fn a_key_of_any_prefix_in_a_url_is_refused() {
    let api = Stack::shared().api();
    for (prefix, infix) in [("sk", None), ("acme", None), ("acme", Some("test"))] {
        let key = forge::key_of(prefix, infix);
        for path in ["/protected/service", "/protected/any", "/keys", "/health"] {
            let answer = api.get(&format!("{path}?x={}", key.expose())).send().await;
            if path == "/health" {
                answer.expect(200);
            } else {
                answer.problem(400, "URL");
                assert!(!answer.text().contains(key.expose()));
            }
        }
    }
    // What only begins like one is a parameter like any other.
    let user = api.user().await;
    api.get("/protected/user?x=acme_test").bearer(&user.token).send().await.expect(200);
}

#[tokio::test]
async fn no_key_lives_longer_than_is_configured() {
    let stack = Stack::with(|config| {
        config.cheap_passwords();
        config.set("API_KEY_MAX_DAYS", "30").set("API_KEY_EXPIRE_DAYS", "7");
    });
    let api = stack.api();
    let user = api.user().await;
    for days in [1, 30] {
        let body = json!({"name": "within", "expires_in_days": days});
        api.make_key(&user.token, &body).await.expect(201);
    }
    for days in [json!(0), json!(31), json!(3650), json!("30")] {
        let answer =
            api.make_key(&user.token, &json!({"name": "x", "expires_in_days": days})).await;
        answer.invalid(&["expires_in_days"]);
        assert!(answer.text().contains("from 1 to 30\""), "{}", answer.text());
    }
}

#[test]
fn scanners_of_secrets_find_the_keys_of_the_prefixes_that_they_are_told_and_nothing_else() {
    let key = |prefix, infix| forge::key_of(prefix, infix).expose().to_owned();
    let (sk, sandbox) = (key("sk", None), key("sk", Some("sandbox")));
    let (acme, test) = (key("acme", None), key("acme", Some("test")));
    let own = ["sk", "acme"];
    let cases = [
        (&["sk"][..], format!("KEY={sk}"), Some(&sk)),
        (&["sk"], format!("-H 'x-api-key: {sandbox}'"), Some(&sandbox)),
        (&["sk"], format!("{{\"key\":\"{acme}\"}}"), None),
        (&own, format!("{{\"key\":\"{acme}\"}}"), Some(&acme)),
        (&own, format!("https://a.example/?k={test}&x=1"), Some(&test)),
        (&own, sk.clone(), Some(&sk)),
        (&own, format!("{sk}0"), None),
        (&own, format!("x{acme}"), None),
        (
            &own,
            "sk_EXFE…q7Zk sk_live_0123456789abcdef disk_usage_of_acme_production".to_owned(),
            None,
        ),
    ];
    let lines: Vec<String> = cases
        .iter()
        .map(|(prefixes, text, _)| json!({"prefixes": prefixes, "text": text}).to_string())
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let end = python::run("tests/foreign/scan.py", &[], &lines);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let said: Vec<Value> =
        end.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said.len(), cases.len(), "{}", end.stderr);
    for (said, (_, text, expected)) in said.iter().zip(&cases) {
        assert_eq!(said, &json!({"gitleaks": expected, "trufflehog": expected}), "{text}");
    }
}
