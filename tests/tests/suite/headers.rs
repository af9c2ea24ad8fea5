//! What every answer carries: security headers and a request id.

use e2e::account::PASSWORD;
use e2e::{Answer, Stack};

async fn one_of_each() -> Vec<(String, Answer)> {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "headers").await;
    let mut answers = Vec::new();
    for path in [
        "/",
        "/health",
        "/health/ready",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/nothing",
        "/auth/login",
        "/keys",
    ] {
        answers.push((path.to_owned(), api.get(path).send().await));
    }
    for path in ["/protected/user", "/protected/any", "/keys"] {
        answers.push((path.to_owned(), api.get(path).bearer(&user.token).send().await));
    }
    answers.push(("/protected/service".into(), api.as_service(&key.key).await));
    answers.push(("/auth/login".into(), api.log_in(&user.username, PASSWORD).await));
    answers.push(("/auth/login".into(), api.log_in(&user.username, "not this one").await));
    answers.push(("/auth/signup".into(), api.sign_up("", "", "").await));
    answers.push(("/keys/create".into(), api.make_key(&user.token, &serde_json::json!({})).await));
    answers.push(("/keys/1".into(), api.revoke(&user.token, i64::MAX).await));
    answers
}

#[tokio::test]
async fn every_answer_forbids_sniffing_and_framing() {
    for (path, answer) in one_of_each().await {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn answers_about_credentials_are_not_stored() {
    for (path, answer) in one_of_each().await {
        if ["/auth", "/keys", "/protected"].iter().any(|start| path.starts_with(start)) {
            assert_eq!(answer.header("cache-control"), "no-store", "{path} {}", answer.status);
        }
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let mut ids = Vec::new();
    for (path, answer) in one_of_each().await {
        let id = answer.header("x-request-id").to_owned();
        assert!(!id.is_empty(), "{path}");
        ids.push(id);
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn a_sane_request_id_is_kept() {
    let api = Stack::shared().api();
    for id in ["abc-123", "7f1c2f0e-6a0b-4c43-9d7e-2f4f5f6a7b8c", "01JE2ZK3F7X", "a_b"] {
        let answer = api.get("/nothing").header("x-request-id", id).send().await;
        assert_eq!(answer.header("x-request-id"), id);
        assert_eq!(answer.problem(404, "")["request_id"], id);
        let answer = api.get("/health").header("x-request-id", id).send().await;
        assert_eq!(answer.header("x-request-id"), id);
    }
}

#[tokio::test]
async fn any_other_request_id_is_replaced() {
    let api = Stack::shared().api();
    let long = "a".repeat(1000);
    let insane: [&[u8]; 9] =
        [b"", b" ", b"a b", b"<script>", b"a\"b", b"\xc3\xa9", b"\xff", b"a;b,c", long.as_bytes()];
    for id in insane {
        let answer = api.get("/nothing").header("x-request-id", id).send().await;
        let body = answer.problem(404, "");
        let made = body["request_id"].as_str().unwrap();
        assert_ne!(made.as_bytes(), id);
        assert!(made.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{made}");
    }
    let call = api.get("/nothing").header("x-request-id", "one").header("x-request-id", "two");
    let answer = call.send().await;
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
}

/// A GET of these routes takes a shorter way through the edge than a HEAD.
#[tokio::test]
async fn a_get_and_a_head_of_a_protected_route_are_answered_alike() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let (key, token) = (api.key(&user.token, "both ways").await.key, user.token);
    let unknown = e2e::forge::key();
    for path in ["/protected/user", "/protected/service", "/protected/any", "/protected/any?sk_"] {
        for token in [None, Some(token.as_str()), Some("a.b.c"), Some("")] {
            for key in [None, Some(key.as_str()), Some(unknown.expose()), Some("sk_")] {
                let mut answers = Vec::new();
                // Twice: what is asked for first is remembered then.
                for method in ["GET", "HEAD", "GET"] {
                    let mut call = api.call(method, path);
                    if let Some(token) = token {
                        call = call.bearer(token);
                    }
                    if let Some(key) = key {
                        call = call.api_key(key);
                    }
                    let answer = call.send().await;
                    let named = ["content-type", "cache-control", "www-authenticate"];
                    let headers = named.map(|name| answer.headers.get(name).cloned());
                    answers.push((answer.status, headers));
                }
                answers.dedup();
                assert_eq!(answers.len(), 1, "{path}, {token:?}, {key:?}: {answers:?}");
            }
        }
    }
}

#[tokio::test]
async fn head_and_options_are_answered_sanely() {
    let api = Stack::shared().api();
    for path in ["/", "/health", "/docs", "/openapi.json"] {
        let answer = api.call("HEAD", path).send().await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
    let answer = api.call("HEAD", "/protected/user").send().await;
    assert_eq!((answer.status, answer.body.len()), (401, 0));
    for path in ["/health", "/auth/login", "/keys", "/nothing"] {
        let answer = api.call("OPTIONS", path).send().await;
        assert!([200, 204, 404, 405].contains(&answer.status), "{path}: {}", answer.status);
    }
    for method in ["TRACE", "CONNECT"] {
        let message = format!("{method} /health HTTP/1.1\r\nHost: x\r\nX-Secret: echoed\r\n\r\n");
        let answer = e2e::raw::exchange(Stack::shared().url(), message);
        if let Some(answer) = answer {
            assert!(answer.status >= 400, "{method}: {}", answer.head);
            assert!(!String::from_utf8_lossy(&answer.body).contains("echoed"), "{method}");
        }
    }
}
