//! The rows of the contract's error table that belong to no single route.

use e2e::account::PASSWORD;
use e2e::raw::exchange;
use e2e::{Stack, unique};
use serde_json::json;

const JSON: &str = "application/json";
const POSTS: [&str; 3] = ["/auth/signup", "/auth/login", "/keys/create"];

#[tokio::test]
async fn an_unknown_route_is_a_problem_document() {
    let api = Stack::shared().api();
    let paths = [
        "/nothing",
        "/auth",
        "/auth/nothing",
        "/protected",
        "/protected/",
        "/keys/1/2",
        "/KEYS/create/x",
        "//",
    ];
    for path in paths {
        let answer = api.get(path).send().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        answer.problem(404, "");
    }
    api.get("/../../etc/passwd").send().await.problem(404, "");
    api.get("/%2e%2e/%00/%ff").send().await.problem(404, "");
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_document_that_names_the_right_ones() {
    let api = Stack::shared().api();
    let cases = [
        ("GET", "/auth/signup", "POST"),
        ("PUT", "/auth/login", "POST"),
        ("DELETE", "/auth/logout", "POST"),
        ("GET", "/keys/create", "POST"),
        ("PUT", "/keys", "GET"),
        ("PUT", "/keys/1", "DELETE"),
        ("POST", "/keys/1", "PATCH"),
        ("POST", "/protected/user", "GET"),
        ("DELETE", "/protected/any", "GET"),
        ("PUT", "/protected/service", "GET"),
        ("POST", "/health", "GET"),
        ("DELETE", "/", "GET"),
        ("FANTASY", "/auth/login", "POST"),
    ];
    for (method, path, allowed) in cases {
        let answer = api.call(method, path).send().await;
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
        answer.problem(405, "");
        assert!(answer.header("allow").contains(allowed), "{method} {path}: {:?}", answer.headers);
    }
}

#[tokio::test]
async fn only_json_is_taken() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let body =
        json!({"email": "a@example.com", "username": "abc", "password": PASSWORD, "name": "n"})
            .to_string();
    let media = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
        "*/*",
    ];
    for path in POSTS {
        for media in media {
            let answer = api.post(path).bearer(&user.token).body(media, body.clone()).send().await;
            assert_eq!(answer.status, 415, "{path} {media}: {}", answer.text());
            answer.problem(415, "");
        }
    }
    let login = json!({"username": user.username, "password": PASSWORD}).to_string();
    for media in
        ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
    {
        api.post("/auth/login").body(media, login.clone()).send().await.expect(200);
    }
    let message = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(exchange(Stack::shared().url(), message).unwrap().status, 415);
}

#[tokio::test]
async fn a_list_is_no_object_and_logs_nobody_in() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let (name, mail) = (unique("list"), format!("{}@example.com", unique("list")));
    let bodies = [
        ("/auth/signup", json!([mail, name, PASSWORD])),
        ("/auth/login", json!([user.username, PASSWORD])),
        ("/auth/password", json!([PASSWORD, "another quiet harbour"])),
        ("/keys/create", json!(["ci", 5])),
    ];
    for (path, list) in bodies {
        for body in [list.clone(), json!([list]), json!("text"), json!(5), json!(null), json!(true)]
        {
            let answer = api.post(path).bearer(&user.token).json(&body).send().await;
            answer.invalid(&["body"]);
        }
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_taken_and_says_what_is() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let login = json!({"username": user.username, "password": PASSWORD}).to_string();
    for coding in ["gzip", "deflate", "br", "zstd", "x-gzip", "nonsense", "gzip, identity"] {
        for path in ["/auth/signup", "/auth/login", "/auth/password", "/keys/create"] {
            let call = api.post(path).bearer(&user.token).header("content-encoding", coding);
            let answer = call.body(JSON, login.clone()).send().await;
            answer.problem(415, "compressed");
            // RFC 9110 §12.5.3
            assert_eq!(answer.header("accept-encoding"), "identity", "{path} {coding}");
        }
    }
    for coding in ["identity", "Identity", ""] {
        let call = api.post("/auth/login").header("content-encoding", coding);
        call.body(JSON, login.clone()).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_member_is_given_once_and_others_are_ignored() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let (name, password) = (&user.username, PASSWORD);
    let twice = [
        format!(r#"{{"username":"{name}","username":"{name}","password":"{password}"}}"#),
        format!(r#"{{"username":"{name}","user\u006eame":"{name}","password":"{password}"}}"#),
        format!(r#"{{"username":"{name}","password":"x","password":"{password}"}}"#),
    ];
    for body in twice {
        api.post("/auth/login").body(JSON, body).send().await.invalid(&["body"]);
    }
    let others = [
        format!(r#"{{"x":1,"x":2,"username":"{name}","password":"{password}","deep":[[[{{}}]]]}}"#),
        format!(r#" {{"username":"{name}","password":"{password}","big":1e999,"Username":null}} "#),
    ];
    for body in others {
        api.post("/auth/login").body(JSON, body).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let deep = "[".repeat(7000);
    let objects = "{\"a\":".repeat(2000);
    let bodies: [&[u8]; 14] = [
        b"NaN",
        b"{\"expires_in_days\": Infinity}",
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"{'username': 'x'}",
        b"{\"username\": \"x\",}",
        b"{} trailing",
        b"{\"username\": \"\xff\xfe\"}",
        b"\xef\xbb\xbf{}",
        b"\0",
        deep.as_bytes(),
        objects.as_bytes(),
    ];
    for path in POSTS {
        for body in bodies {
            let answer = api.post(path).bearer(&user.token).body(JSON, body.to_vec()).send().await;
            assert_eq!(answer.status, 422, "{path} {:?}: {}", &body.get(..20), answer.text());
            answer.problem(422, "");
        }
    }
}

#[tokio::test]
async fn a_body_above_64_kib_is_too_large_and_one_below_is_not() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let body = |size: usize| json!({"name": "padded", "padding": "p".repeat(size)}).to_string();
    let post = async |size| {
        api.post("/keys/create").bearer(&user.token).body(JSON, body(size)).send().await
    };
    post(63 * 1024).await.expect(201);
    post(65 * 1024).await.problem(413, "");
    post(1024 * 1024).await.problem(413, "");
}

#[tokio::test]
async fn a_body_above_16_kib_is_too_large_for_a_route_that_hashes() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let padded = |size: usize| {
        let padding = "p".repeat(size);
        json!({"username": user.username, "password": PASSWORD, "padding": padding}).to_string()
    };
    api.post("/auth/login").body(JSON, padded(15 * 1024)).send().await.expect(200);
    for path in ["/auth/login", "/auth/signup"] {
        for size in [17 * 1024, 65 * 1024, 1024 * 1024] {
            api.post(path).body(JSON, padded(size)).send().await.problem(413, "");
        }
    }
    let password = "x".repeat(1024 * 1024);
    api.sign_up_as(&unique("huge"), &password).await.problem(413, "");
}

#[test]
fn a_body_is_refused_by_its_announced_length_before_it_is_sent() {
    for path in ["/auth/login", "/auth/signup"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 104857600\r\n\r\n"
        );
        assert_eq!(exchange(Stack::shared().url(), head).unwrap().status, 413, "{path}");
    }
}

#[test]
fn a_body_of_unknown_length_is_refused_when_it_grows_too_large() {
    let mut message = format!(
        "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for _ in 0..80 {
        message.push_str("400\r\n");
        message.push_str(&" ".repeat(0x400));
        message.push_str("\r\n");
    }
    message.push_str("0\r\n\r\n");
    assert_eq!(exchange(Stack::shared().url(), message).unwrap().status, 413);
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_changes_nothing() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "slash").await;
    let get = async |path: &str| {
        let answer = api.get(path).bearer(&user.token).api_key(&key.key).send().await;
        assert!(answer.url.ends_with(path), "no redirect: {}", answer.url);
        answer
    };
    for path in [
        "/keys",
        "/health",
        "/health/ready",
        "/protected/user",
        "/protected/service",
        "/protected/any",
        "/openapi.json",
    ] {
        let (with, without) = (get(&format!("{path}/")).await, get(path).await);
        assert_eq!(with.status, 200, "{path}/: {}", with.text());
        assert_eq!(with.text(), without.text(), "{path}/");
    }
    get("/keys/?limit=1").await.expect(200);
    get("/docs/").await;
    let login = json!({"username": user.username, "password": PASSWORD});
    api.post_json("/auth/login/", &login).await.expect(200);
    let made = api.post("/keys/create/").bearer(&user.token).json(&json!({"name": "n"}));
    let made = made.send().await.expect(201);
    let path = format!("/keys/{}/", made["id"]);
    api.delete(&path).bearer(&user.token).send().await.expect(200);
    api.post("/auth/logout/").bearer(&user.token).send().await.expect(200);
    for path in ["//", "/keys//", "//keys", "/protected/", "/auth/", "/keys/1/2/", "/nothing/"] {
        api.get(path).send().await.problem(404, "");
    }
    api.post("/health/").send().await.problem(405, "");
}

#[tokio::test]
async fn a_credential_is_asked_for_before_a_body_is_read() {
    let api = Stack::shared().api();
    api.post("/keys/create").body(JSON, "nonsense").send().await.unauthenticated();
    api.delete("/keys/abc").send().await.unauthenticated();
}
