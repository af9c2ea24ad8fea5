//! `/protected/any` and requests that carry more than one credential.

use e2e::account::PASSWORD;
use e2e::{Api, Key, Stack, User};

async fn ready() -> (Api, User, Key) {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "either").await;
    (api, user, key)
}

#[tokio::test]
async fn either_credential_is_told_who_it_is() {
    let (api, user, key) = ready().await;
    let body = api.get("/protected/any").bearer(&user.token).send().await.expect(200);
    let message = body["message"].as_str().unwrap();
    assert!(message.contains(&format!("user {}", user.username)), "{message}");
    assert_eq!(body["auth_type"], "JWT Bearer Token");
    assert_eq!(body["details"]["type"], "user");
    assert_eq!(body["details"]["user_id"], user.id);

    let body = api.get("/protected/any").api_key(&key.key).send().await.expect(200);
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("service either"), "{message}");
    assert_eq!(body["auth_type"], "API Key");
    assert_eq!(body["details"]["type"], "service");
    assert_eq!(body["details"]["user_id"], user.id);
}

#[tokio::test]
async fn of_two_good_credentials_the_token_wins() {
    let (api, user, key) = ready().await;
    let call = api.get("/protected/any").bearer(&user.token).api_key(&key.key);
    assert_eq!(call.send().await.expect(200)["details"]["type"], "user");
    let call = api.get("/protected/any").api_key(&key.key).bearer(&user.token);
    assert_eq!(call.send().await.expect(200)["details"]["type"], "user");
    let call = api.get("/protected/any").bearer(&user.token).api_key("sk_nonsense");
    assert_eq!(call.send().await.expect(200)["details"]["type"], "user");
}

#[tokio::test]
async fn a_good_token_wins_over_a_key_that_is_remembered_when_it_is_not() {
    let (api, user, key) = ready().await;
    api.as_service(&key.key).await.expect(200);
    let login = api.log_in(&user.username, PASSWORD).await.expect(200);
    let token = login["access_token"].as_str().unwrap();
    let call = api.get("/protected/any").bearer(token).api_key(&key.key);
    assert_eq!(call.send().await.expect(200)["details"]["type"], "user");
}

#[tokio::test]
async fn a_bad_token_beside_a_good_key_is_served_as_the_key() {
    let (api, user, key) = ready().await;
    api.post("/auth/logout").bearer(&user.token).send().await.expect(200);
    for value in ["Bearer nonsense", "Basic abc", "Bearer", &format!("Bearer {}", user.token)] {
        let call = api.get("/protected/any").header("authorization", value).api_key(&key.key);
        assert_eq!(call.send().await.expect(200)["details"]["type"], "service", "{value}");
    }
}

#[tokio::test]
async fn two_bad_credentials_are_none() {
    let (api, user, key) = ready().await;
    api.revoke(&user.token, key.id).await.expect(200);
    let call = api.get("/protected/any").bearer("nonsense").api_key(&key.key);
    call.send().await.unauthenticated();
    let call = api.get("/protected/any").bearer("nonsense").api_key("sk_nonsense");
    call.send().await.unauthenticated();
}

#[tokio::test]
async fn a_route_for_one_credential_ignores_the_other_kind() {
    let (api, user, key) = ready().await;
    for good in ["/protected/user", "/keys"] {
        api.get(good).bearer(&user.token).api_key(&key.key).send().await.expect(200);
        api.get(good).bearer(&user.token).api_key("sk_nonsense").send().await.expect(200);
    }
    let call = api.get("/protected/service").bearer("nonsense").api_key(&key.key);
    call.send().await.expect(200);
}

#[tokio::test]
async fn a_credential_header_sent_twice_is_a_bad_request() {
    let (api, user, key) = ready().await;
    let bearer = format!("Bearer {}", user.token);
    for path in ["/protected/user", "/protected/service", "/protected/any", "/keys"] {
        for (name, value) in [("authorization", &bearer), ("x-api-key", &key.key)] {
            let call = api.get(path).header(name, value).header(name, value);
            call.send().await.problem(400, "");
            let call = api.get(path).header(name, value).header(name, "other");
            call.send().await.problem(400, "");
        }
    }
}

#[tokio::test]
async fn a_credential_in_the_address_is_a_bad_request() {
    let (api, user, key) = ready().await;
    for name in ["api_key", "x-api-key", "key", "apikey", "token"] {
        let path = format!("/protected/service?{name}={}", key.key);
        let answer = api.get(&path).send().await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        answer.problem(400, "");
        assert!(!answer.text().contains(&key.key));
        api.get(&path).api_key(&key.key).send().await.problem(400, "");
    }
    let path = format!("/protected/user?access_token={}", user.token);
    let answer = api.get(&path).send().await;
    answer.problem(400, "");
    assert!(!answer.text().contains(&user.token));
}
