//! The log: JSON where nobody watches, one line for a failure, none for a success.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::{Stack, poll};
use serde_json::{Value, json};

/// Bound on a line's way from the process to the test.
const ARRIVES: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_failure_is_one_line_with_its_request_id_and_a_success_is_none() {
    // Its own: on the shared one others may be refused so often that this line is one of a count.
    let stack = Stack::start();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "quiet").await;
    let id = |call: e2e::Call| call.header("x-request-id", "success-marker");
    for _ in 0..5 {
        id(api.get("/health")).send().await.expect(200);
        id(api.get("/protected/user").bearer(&user.token)).send().await.expect(200);
        id(api.get("/protected/service").api_key(&key.key)).send().await.expect(200);
        id(api.get("/keys").bearer(&user.token)).send().await.expect(200);
        let body = json!({"username": user.username, "password": PASSWORD});
        id(api.post("/auth/login").json(&body)).send().await.expect(200);
    }
    let body = json!({"username": user.username, "password": "not this one"});
    let call = api.post("/auth/login").header("x-request-id", "failure-marker").json(&body);
    call.send().await.problem(401, "");
    // A later failure's line comes after any second line of the first.
    let call = api.post("/auth/login").header("x-request-id", "last-marker").json(&body);
    call.send().await.problem(401, "");
    let with = |marker: &str| stack.logs().iter().filter(|line| line.contains(marker)).count();
    poll::until("the failures are logged", ARRIVES, || (with("last-marker") > 0).then_some(()));
    assert_eq!(with("failure-marker"), 1, "{:#?}", stack.logs());
    assert_eq!(with("success-marker"), 0, "{:#?}", stack.logs());
}

#[tokio::test]
async fn every_line_is_json_whatever_a_client_sends() {
    let stack = Stack::start();
    let api = stack.api();
    let hostile = "x\u{1b}[31m\n{\"level\":\"ERROR\",\"message\":\"forged-line\"}\r\n";
    api.log_in(hostile, hostile).await;
    api.sign_up(hostile, hostile, hostile).await;
    api.get("/%0a%7B%22message%22:%22forged-line%22%7D%0a").send().await.problem(404, "");
    let body = json!({"username": "nobody-at-all", "password": "not this one"});
    let call = api.post("/auth/login").header("x-request-id", "hostile-marker").json(&body);
    call.send().await.problem(401, "");
    poll::until("the last failure is logged", ARRIVES, || {
        stack.logs().iter().any(|line| line.contains("hostile-marker")).then_some(())
    });
    for line in stack.logs() {
        let parsed: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_ne!(parsed["message"], "forged-line", "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn the_start_says_where_everything_is() {
    let stack = Stack::start();
    let text = stack.logs().join("\n");
    for edge in stack.edges() {
        assert!(text.contains(&edge), "no {edge} in {text}");
    }
    if let Some(embedded) = stack.embedded() {
        let data = embedded.database.parent().unwrap().to_str().unwrap().to_owned();
        for part in [data.as_str(), "/docs"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
