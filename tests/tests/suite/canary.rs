//! Secrets that can be recognised go through every route and every error: none is in a log, a span or an
//! error.

use e2e::otlp::Collector;
use e2e::{Answer, Api, Stack, unique};
use latchkey_contract::ApiKey;
use serde_json::json;

/// What must appear nowhere.
struct Canaries {
    password: String,
    wrong: String,
    email: String,
    username: String,
}

impl Canaries {
    fn new() -> Self {
        let mark = unique("");
        Self {
            password: format!("canarypass{mark}"),
            wrong: format!("canarywrong{mark}"),
            email: format!("canarymail{mark}@example.com"),
            username: format!("canaryname{mark}"),
        }
    }
}

/// Good requests to every route; gives the secrets that the server has made.
async fn succeed(api: &Api, canaries: &Canaries) -> Vec<String> {
    let made = api.sign_up(&canaries.username, &canaries.email, &canaries.password).await;
    made.expect(201);
    let token = api.token(&canaries.username, &canaries.password).await;
    let other = api.token(&canaries.username, &canaries.password).await;
    let key = api.key(&token, "canary").await;
    api.as_user(&token).await.expect(200);
    api.as_service(&key.key).await.expect(200);
    api.get("/protected/any").bearer(&token).api_key(&key.key).send().await.expect(200);
    api.get("/keys").bearer(&token).send().await.expect(200);
    let revoked = api.key(&token, "revoked canary").await;
    api.revoke(&token, revoked.id).await.expect(200);
    api.post("/auth/logout").bearer(&other).send().await.expect(200);
    vec![token, other, key.key, revoked.key]
}

/// Requests that fail in every way, with secrets in each.
async fn fail(api: &Api, canaries: &Canaries, secrets: &[String]) -> Vec<Answer> {
    let [token, ended, key, revoked] = secrets else { panic!("four secrets") };
    let Canaries { password, wrong, email, username } = canaries;
    let mut answers = vec![
        api.sign_up(username, email, password).await,
        api.sign_up("x", email, password).await,
        api.sign_up(&unique("other"), email, wrong).await,
        api.sign_up(&unique("other"), &format!("{email}\0"), wrong).await,
        api.sign_up(&unique("other"), "nowhere", &wrong.repeat(20)).await,
        api.log_in(username, wrong).await,
        api.log_in(&unique("nobody"), password).await,
        api.log_in(password, username).await,
        api.as_user(ended).await,
        api.as_user(&format!("{token}x")).await,
        api.as_user(key).await,
        api.as_service(revoked).await,
        api.as_service(&format!("{key}x")).await,
        api.as_service(token).await,
        api.get("/keys").api_key(key).send().await,
        api.revoke(token, i64::MAX).await,
        api.make_key(token, &json!({"name": "", "secret": password})).await,
        api.get(&format!("/protected/service?api_key={key}")).send().await,
        api.get(&format!("/protected/service?of_mine={key}")).send().await,
        api.get(&format!("/protected/user?access_token={token}")).send().await,
        api.get(&format!("/{password}/{key}?token={token}")).send().await,
        api.delete(&format!("/keys/{key}")).bearer(token).send().await,
        api.get("/protected/user").bearer(token).bearer(token).send().await,
        api.get("/protected/service").api_key(key).api_key(key).send().await,
        api.get("/protected/user")
            .header("authorization", format!("Basic {password}"))
            .send()
            .await,
        api.get("/nothing").header("x-request-id", format!("{password} {key}")).send().await,
        api.get("/nothing").header("cookie", format!("session={token}")).send().await,
    ];
    let broken = format!("{{\"username\": \"{username}\", \"password\": \"{password}\"");
    let typed = json!({"username": {"a": password}, "password": [password], "email": {"e": email}})
        .to_string();
    let large = json!({"username": username, "password": password.repeat(2000)}).to_string();
    for path in ["/auth/login", "/auth/signup", "/keys/create"] {
        for (media, body) in
            [("application/json", &broken), ("application/json", &typed), ("text/plain", &broken)]
        {
            answers.push(api.post(path).bearer(token).body(media, body.clone()).send().await);
        }
    }
    for path in ["/auth/login", "/auth/signup"] {
        answers.push(api.post(path).body("application/json", large.clone()).send().await);
    }
    // More of one kind in a second than are written where nobody asks for more than `info`.
    for _ in 0..20 {
        answers.push(api.as_service(revoked).await);
    }
    answers
}

/// Pieces by which a secret would be recognised even where it is cut short.
fn pieces(secret: &str) -> Vec<String> {
    let tail: String =
        secret.chars().rev().take(24).collect::<Vec<_>>().into_iter().rev().collect();
    match secret.rsplit_once('.') {
        Some((_, signature)) => vec![signature.to_owned()],
        None if ApiKey::parse(secret).is_ok() => {
            let middle = secret.chars().rev().skip(15).take(27).collect::<Vec<_>>();
            vec![middle.into_iter().rev().collect(), tail]
        }
        None => vec![secret.to_owned()],
    }
}

#[tokio::test]
async fn no_secret_is_ever_in_a_log_line_a_span_or_an_error() {
    none_leaks_of_keys_that_begin_with("sk").await;
}

#[tokio::test]
async fn no_key_of_another_prefix_is_ever_in_a_log_line_a_span_or_an_error() {
    none_leaks_of_keys_that_begin_with("acme").await;
}

async fn none_leaks_of_keys_that_begin_with(prefix: &str) {
    let collector = Collector::start();
    let mut stack = Stack::with(|config| {
        config.set("API_KEY_PREFIX", prefix);
        config.cheap_passwords().set("RUST_LOG", "trace");
        config.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
        config.set("OTEL_TRACES_SAMPLER", "always_on");
    });
    let api = stack.api();
    let canaries = Canaries::new();
    let made = succeed(&api, &canaries).await;
    assert!(made.iter().filter(|secret| secret.starts_with(&format!("{prefix}_"))).count() == 2);
    let answers = fail(&api, &canaries, &made).await;

    let mut secrets: Vec<String> = made.iter().flat_map(|secret| pieces(secret)).collect();
    secrets.extend([canaries.password.clone(), canaries.wrong.clone(), canaries.email.clone()]);
    secrets.push(e2e::SECRET.to_owned());
    for answer in &answers {
        assert!((400..500).contains(&answer.status), "{}: {}", answer.status, answer.text());
        answer.shows_nothing_internal();
        let whole = format!("{:?} {}", answer.headers, answer.text());
        for secret in &secrets {
            assert!(!whole.contains(secret), "{secret} in {whole}");
        }
    }
    let end = stack.stop();
    let log = format!("{}{}", end.stdout, end.stderr);
    assert!(log.lines().count() > 20, "is this the log at trace? {log}");
    // What is left out cannot be looked at.
    for answer in &answers {
        let id = answer.header("x-request-id");
        assert!(log.contains(&format!("\"request_id\":\"{id}\"")), "no line of {id} in {log}");
    }
    for line in log.lines() {
        for secret in &secrets {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
        assert!(!line.contains("$argon2id$"), "a stored hash in {line}");
    }
    // The stop has sent the last of them.
    let spans = collector.spans();
    assert!(spans.len() > 100, "are these all spans? {spans:#?}");
    secrets.push(canaries.username.clone());
    for span in &spans {
        for secret in &secrets {
            assert!(!span.whole.contains(secret), "{secret} in {}", span.whole);
        }
        assert!(!span.whole.contains("$argon2id$"), "a stored hash in {}", span.whole);
    }
}
