//! `/protected/user` and `/protected/service`: who is greeted, and which credential each takes.

use e2e::answer::exactly;
use e2e::{Stack, forge};

#[tokio::test]
async fn a_token_is_greeted_by_the_users_name() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let answer = api.as_user(&user.token).await;
    let body = answer.expect(200);
    exactly(&body, &["message", "user_id", "email", "auth_type"]);
    assert_eq!(body["message"], format!("Hello {}!", user.username));
    assert_eq!(body["user_id"], user.id);
    assert_eq!(body["email"], user.email);
    assert_eq!(body["auth_type"], "JWT Bearer Token");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_key_is_greeted_by_its_name() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "night build").await;
    let answer = api.as_service(&key.key).await;
    let body = answer.expect(200);
    exactly(&body, &["message", "service_name", "api_key_id", "user_id", "auth_type"]);
    assert_eq!(body["message"], "Hello service night build!");
    assert_eq!(body["service_name"], "night build");
    assert_eq!(body["api_key_id"], key.id);
    assert_eq!(body["user_id"], user.id);
    assert_eq!(body["auth_type"], "API Key");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn each_route_takes_its_own_credential_only() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "crossed").await;
    api.get("/protected/service").bearer(&user.token).send().await.unauthenticated();
    api.get("/protected/service").bearer(&key.key).send().await.unauthenticated();
    api.get("/protected/service").api_key(&user.token).send().await.unauthenticated();
    api.get("/protected/user").bearer(&key.key).send().await.unauthenticated();
    api.get("/protected/user").api_key(&user.token).send().await.unauthenticated();
    let answer = api.get("/protected/user").api_key(&key.key).send().await;
    assert!([401, 403].contains(&answer.status), "{}", answer.text());
    let answer = api.post("/auth/logout").api_key(&key.key).send().await;
    assert!([401, 403].contains(&answer.status), "{}", answer.text());
}

#[tokio::test]
async fn without_a_credential_nobody_gets_in() {
    let api = Stack::shared().api();
    let routes = [
        ("GET", "/protected/user"),
        ("GET", "/protected/service"),
        ("GET", "/protected/any"),
        ("GET", "/keys"),
        ("POST", "/keys/create"),
        ("DELETE", "/keys/1"),
        ("POST", "/auth/logout"),
    ];
    for (method, path) in routes {
        let answer = api.call(method, path).send().await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text());
        answer.unauthenticated();
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.contains("Bearer"), path != "/protected/service", "{challenge}");
        assert_eq!(answer.header("cache-control"), "no-store", "{method} {path}");
    }
}

#[tokio::test]
async fn a_malformed_authorization_is_refused() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let token = &user.token;
    let values = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        token.clone(),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer{token}"),
        format!("Bearer {token} x"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token},"),
        "Bearer null".into(),
        "Bearer undefined".into(),
        "Bearer ..".into(),
        "Bearer a.b.c".into(),
        "Basic YWRtaW46YWRtaW4=".into(),
        format!("Bearer Bearer {token}"),
    ];
    for value in values {
        let answer = api.get("/protected/user").header("authorization", &value).send().await;
        assert_eq!(answer.status, 401, "{value}: {}", answer.text());
        answer.unauthenticated();
    }
    for bytes in [&b"Bearer \xff\xfe"[..], b"\xc3\xa9", b"Bearer a\tb"] {
        api.get("/protected/user").header("authorization", bytes).send().await.unauthenticated();
    }
    for scheme in ["bearer", "BEARER"] {
        let value = format!("{scheme} {token}");
        api.get("/protected/user").header("authorization", value).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_refused_token_is_called_invalid_and_a_missing_one_is_not() {
    let api = Stack::shared().api();
    let forged = forge::sign("{\"alg\":\"HS256\"}", "{}", "another secret");
    let answer = api.as_user(&forged).await;
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "RFC 6750, 3.1");
    let answer = api.get("/protected/user").send().await;
    assert!(!answer.header("www-authenticate").contains("error="), "RFC 6750, 3.1");
}

#[tokio::test]
async fn a_malformed_key_is_refused() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "mangled").await.key;
    let mut last = key.clone().into_bytes();
    let end = last.len() - 1;
    last[end] = if last[end] == b'0' { b'1' } else { b'0' };
    let mut first = key.clone().into_bytes();
    first[3] = if first[3] == b'a' { b'b' } else { b'a' };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let values = [
        String::new(),
        "sk_".into(),
        "sk_live".into(),
        key.replace("sk_", "pk_"),
        key.replace("sk_", ""),
        key.to_uppercase(),
        key.to_lowercase(),
        format!("{key}0"),
        key.chars().take(51).collect(),
        format!("{key} {key}"),
        text(last),
        text(first),
        format!("sk_{}", "0".repeat(49)),
        format!("Bearer {key}"),
        format!("sk_{}", "a".repeat(5000)),
        "' OR 1=1 --".into(),
    ];
    for value in values {
        let answer = api.as_service(&value).await;
        assert_eq!(answer.status, 401, "{value}: {}", answer.text());
        answer.unauthenticated();
    }
    for bytes in [&b"sk_\xff\xfe"[..], "sk_\u{e9}".as_bytes()] {
        api.get("/protected/service").header("x-api-key", bytes).send().await.unauthenticated();
    }
    api.as_service(&key).await.expect(200);
}

#[tokio::test]
async fn an_answer_from_memory_is_the_one_that_the_routes_give() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "remembered \"both\" ways \u{fc}").await;
    let (token, key) = (format!("Bearer {}", user.token), key.key);
    for (path, header, value) in [
        ("/protected/user", "authorization", &token),
        ("/protected/service", "x-api-key", &key),
        ("/protected/any", "authorization", &token),
        ("/protected/any", "x-api-key", &key),
    ] {
        // Remembered from the first on. One with a body takes the way of every other request.
        let mut answers = Vec::new();
        for body in ["", "", "x"] {
            let request = api.get(path).header(header, value);
            answers.push(request.body("text/plain", body).send().await);
        }
        for answer in &mut answers {
            assert_eq!(answer.status, 200, "{path} {}", answer.text());
            for own in ["x-request-id", "date"] {
                assert!(answer.headers.remove(own).is_some(), "{path}: no {own}");
            }
        }
        assert_eq!(answers[1].body, answers[2].body, "{path}");
        assert_eq!(answers[1].headers, answers[2].headers, "{path}");
        assert_eq!(answers[0].headers, answers[2].headers, "{path}");
    }
}
