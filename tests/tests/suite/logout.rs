//! `POST /auth/logout`: the session ends with the answer, everywhere, and no other session with it.

use e2e::Stack;
use e2e::account::PASSWORD;

#[tokio::test]
async fn after_a_logout_the_token_is_refused_everywhere() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "outlives").await;
    let answer = api.post("/auth/logout").bearer(&user.token).send().await;
    answer.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let routes = [
        ("GET", "/protected/user"),
        ("GET", "/protected/any"),
        ("GET", "/keys"),
        ("POST", "/keys/create"),
        ("POST", "/auth/logout"),
    ];
    for (method, path) in routes {
        let answer = api.call(method, path).bearer(&user.token).send().await;
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text());
        answer.unauthenticated();
    }
    api.revoke(&user.token, key.id).await.unauthenticated();
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn a_logout_ends_one_session_and_not_the_users_others() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let other = api.token(&user.username, PASSWORD).await;
    api.post("/auth/logout").bearer(&user.token).send().await.expect(200);
    api.as_user(&other).await.expect(200);
    let again = api.token(&user.username, PASSWORD).await;
    api.as_user(&again).await.expect(200);
}

#[tokio::test]
async fn a_logout_takes_any_body_or_none() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let call = api.post("/auth/logout").bearer(&user.token).body("text/plain", "good bye");
    call.send().await.expect(200);
}
