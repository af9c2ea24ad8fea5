//! `/oauth/token` and `/oauth/revoke`, as the standards have them.

use e2e::account::PASSWORD;
use e2e::{Answer, Api, Stack, User};
use serde_json::{Value, json};

fn edges(stack: &Stack) -> Vec<Api> {
    stack.edges().iter().map(|url| Api::new(url)).collect()
}

async fn log_in(api: &Api, user: &User, scope: Option<&str>) -> Value {
    let mut body = json!({"username": user.username, "password": PASSWORD, "refresh": true});
    if let Some(scope) = scope {
        body["scope"] = json!(scope);
    }
    e2e::account::made(200, || api.post_json("/auth/login", &body)).await
}

fn text(body: &Value, member: &str) -> String {
    body[member].as_str().expect("a text").to_owned()
}

async fn token(api: &Api, form: &[(&str, &str)]) -> Answer {
    api.post("/oauth/token").form(form).send().await
}

async fn revoke(api: &Api, token: &str) -> Answer {
    api.post("/oauth/revoke").form(&[("token", token)]).send().await
}

/// An error as RFC 6749 §5.2 has it.
fn error(answer: &Answer, error: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (400, "application/json"));
    let body = answer.json();
    e2e::answer::exactly(&body, &["error", "error_description"]);
    assert_eq!(body["error"], error, "{body}");
}

#[tokio::test]
async fn a_refresh_token_is_a_grant() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let login = log_in(&api, &user, None).await;
    let refresh = text(&login, "refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let answer = token(&api, &form).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.expect(200);
    assert_eq!(body["token_type"], "bearer");
    api.as_user(&text(&body, "access_token")).await.expect(200);
    assert_ne!(text(&body, "refresh_token"), refresh);
}

#[tokio::test]
async fn a_login_may_be_a_form_as_the_password_flow_has_it() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let log_in = async |form: &[(&str, &str)]| {
        let mut all = vec![("username", user.username.as_str())];
        all.extend(form);
        api.post("/auth/login").form(&all).send().await
    };
    let password = ("password", PASSWORD);
    for more in [
        &[][..],
        &[("grant_type", "password")],
        &[("grant_type", ""), ("client_id", "x"), ("client_secret", "y")],
    ] {
        let body = log_in(&[&[password], more].concat()).await.expect(200);
        e2e::answer::exactly(&body, &["access_token", "token_type", "expires_in"]);
        api.as_user(&text(&body, "access_token")).await.expect(200);
    }
    let offline = log_in(&[password, ("scope", "offline_access")]).await.expect(200);
    assert!(
        text(&offline, "refresh_token").starts_with("rt_") && offline["scope"].is_null(),
        "{offline}"
    );
    let narrowed = log_in(&[password, ("scope", "orders:read offline_access")]).await.expect(200);
    assert_eq!(narrowed["scope"], "orders:read");
    let refused = |answer: Answer, status: u16, error: &str| {
        let body = answer.problem(status, "");
        assert_eq!((&body["error"], &body["error_description"]), (&json!(error), &body["detail"]));
    };
    refused(log_in(&[("password", "wrong")]).await, 401, "invalid_grant");
    refused(log_in(&[]).await, 422, "invalid_request");
    refused(
        log_in(&[password, ("grant_type", "refresh_token")]).await,
        400,
        "unsupported_grant_type",
    );
    refused(log_in(&[password, password]).await, 400, "invalid_request");
    // What was sent as JSON is refused as before.
    let json = api.log_in(&user.username, "wrong").await.problem(401, "Incorrect");
    assert!(json["error"].is_null() && json["error_description"].is_null(), "{json}");
}

#[tokio::test]
async fn errors_are_those_of_the_standard() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let refresh = text(&log_in(&api, &user, None).await, "refresh_token");
    let grant = ("grant_type", "refresh_token");
    error(&token(&api, &[grant, ("refresh_token", "x")]).await, "invalid_grant");
    error(&token(&api, &[grant, ("refresh_token", &user.token)]).await, "invalid_grant");
    error(&token(&api, &[grant]).await, "invalid_request");
    error(&token(&api, &[grant, ("refresh_token", "")]).await, "invalid_request");
    error(&token(&api, &[("refresh_token", &refresh)]).await, "invalid_request");
    let twice = [grant, ("refresh_token", &refresh), ("refresh_token", &refresh)];
    error(&token(&api, &twice).await, "invalid_request");
    let other = [("grant_type", "password"), ("refresh_token", &refresh)];
    error(&token(&api, &other).await, "unsupported_grant_type");
    let query = api.post("/oauth/token?x=1").form(&[grant, ("refresh_token", &refresh)]);
    error(&query.send().await, "invalid_request");
    let url = api.post(&format!("/oauth/token?refresh_token={refresh}")).form(&[grant]);
    url.send().await.problem(400, "do not belong in a URL");
    api.post_json("/oauth/token", &json!({})).await.problem(415, "x-www-form-urlencoded");
    error(&api.post("/oauth/revoke").form(&[]).send().await, "invalid_request");
    // None of it has used it.
    token(&api, &[grant, ("refresh_token", &refresh)]).await.expect(200);
}

#[tokio::test]
async fn a_scope_narrows_one_token_and_never_widens() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let login = log_in(&api, &user, Some("orders:read latchkey:keys:read")).await;
    let refresh = text(&login, "refresh_token");
    let with = |refresh: &str, scope: &str| {
        let (api, refresh, scope) = (api.clone(), refresh.to_owned(), scope.to_owned());
        async move {
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("scope", &scope)];
            token(&api, &form).await
        }
    };
    for wider in ["*", "orders:write", "orders:read orders:write", "latchkey:keys:write", "a  b"] {
        error(&with(&refresh, wider).await, "invalid_scope");
    }
    let narrow = with(&refresh, "orders:read").await.expect(200);
    assert_eq!(narrow["scope"], "orders:read");
    let keys = async |token: &str| api.get("/keys").bearer(token).send().await;
    keys(&text(&login, "access_token")).await.expect(200);
    keys(&text(&narrow, "access_token")).await.problem(403, "latchkey:keys:read");
    // The session keeps what was granted at the login.
    let form =
        [("grant_type", "refresh_token"), ("refresh_token", &text(&narrow, "refresh_token"))];
    let whole = token(&api, &form).await.expect(200);
    keys(&text(&whole, "access_token")).await.expect(200);
    assert_eq!(whole["scope"], login["scope"]);
}

#[tokio::test]
async fn whoever_shows_a_token_ends_its_session_at_every_edge() {
    let stack = Stack::shared();
    let edges = edges(stack);
    let user = stack.api().user().await;
    for shown in ["access_token", "refresh_token"] {
        let login = log_in(&edges[0], &user, None).await;
        let access = text(&login, "access_token");
        for edge in &edges {
            edge.as_user(&access).await.expect(200);
        }
        let answer = revoke(&edges[0], &text(&login, shown)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        let receipt = answer.header("latchkey-receipt");
        assert!(receipt.starts_with("revision=") && receipt.contains(", edges="), "{receipt}");
        for edge in edges.iter().rev() {
            edge.as_user(&access).await.unauthenticated();
        }
        // Once more is no error.
        assert_eq!(revoke(&edges[0], &text(&login, shown)).await.status, 200);
    }
    stack.api().as_user(&user.token).await.expect(200);
    let plain = stack.api().token(&user.username, PASSWORD).await;
    assert_eq!(revoke(&edges[0], &plain).await.status, 200);
    for edge in &edges {
        edge.as_user(&plain).await.unauthenticated();
    }
}

#[tokio::test]
async fn whoever_shows_a_key_revokes_it_and_what_is_unknown_is_no_error() {
    let stack = Stack::shared();
    let edges = edges(stack);
    let user = stack.api().user().await;
    let key = stack.api().key(&user.token, "leaked").await;
    for edge in &edges {
        edge.as_service(&key.key).await.expect(200);
    }
    let answer = revoke(&edges[0], &key.key).await;
    assert!(answer.status == 200 && answer.header("latchkey-receipt").starts_with("revision="));
    for edge in edges.iter().rev() {
        edge.as_service(&key.key).await.unauthenticated();
    }
    let listed = stack.api().get("/keys").bearer(&user.token).send().await.expect(200);
    assert_eq!(listed[0]["is_revoked"], true);
    assert_eq!(revoke(&edges[0], &key.key).await.status, 200);
    for unknown in ["x", "a.b.c", "sk_", &key.key.replace("sk_", "pk_")] {
        let answer = revoke(&edges[0], unknown).await;
        assert_eq!((answer.status, answer.header("latchkey-receipt")), (200, ""), "{unknown}");
    }
    stack.api().as_user(&user.token).await.expect(200);
}
