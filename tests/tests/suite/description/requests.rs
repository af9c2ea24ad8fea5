//! A request of each operation of the API that is answered as it is meant to be.

use e2e::account::PASSWORD;
use e2e::{Answer, Api, Key, User, unique};
use serde_json::{Value, json};

/// The method, the path as it is described, and what was answered.
type Tried = (&'static str, &'static str, Answer);

/// Somebody who asks for everything there is.
struct Asker<'a> {
    api: &'a Api,
    user: User,
    key: Key,
    other: Key,
}

impl Asker<'_> {
    async fn post(&self, path: &str, body: Value) -> Answer {
        let token = self.api.token(&self.user.username, PASSWORD).await;
        self.api.post(path).bearer(&token).json(&body).send().await
    }

    async fn get(&self, path: &str) -> Answer {
        self.api.get(path).bearer(&self.user.token).send().await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.api.delete(path).bearer(&self.user.token).send().await
    }

    async fn made(&self, name: &str) -> Key {
        self.api.key(&self.user.token, name).await
    }
}

/// A request of each operation. The order matters: what ends something comes last.
pub async fn good(api: &Api) -> Vec<Tried> {
    let user = api.user().await;
    let key = api.key(&user.token, "described").await;
    let other = api.key(&user.token, "described too").await;
    let asker = Asker { api, user, key, other };
    let mut all = making(&asker).await;
    all.extend(reading(&asker).await);
    all.extend(changing(&asker).await);
    all.extend(accounts(&asker).await);
    all
}

async fn making(asker: &Asker<'_>) -> Vec<Tried> {
    let [rotated, later, many] = [
        asker.made("rotated").await,
        asker.made("rotated later").await,
        asker.made("one of many").await,
    ];
    let at_path = format!("/keys/{}/rotate", rotated.id);
    vec![
        (
            "post",
            "/keys/create",
            asker.post("/keys/create", json!({"name": "n", "expires_in_days": 1})).await,
        ),
        ("post", "/keys", asker.post("/keys", json!({"name": "n", "scopes": []})).await),
        ("post", "/keys/bulk", asker.post("/keys/bulk", json!({"keys": [scoped()]})).await),
        ("post", "/keys/lookup", asker.post("/keys/lookup", json!({"key": asker.key.key})).await),
        ("get", "/keys", asker.get("/keys?limit=2&after=0").await),
        ("post", "/keys/{key_id}/rotate", asker.post(&at_path, json!({"grace_seconds": 60})).await),
        (
            "post",
            "/keys/{key_id}/rotate",
            asker.post(&format!("/keys/{}/rotate?wait=false", later.id), json!({})).await,
        ),
        (
            "get",
            "/keys/{key_id}/rotation",
            asker.get(&format!("/keys/{}/rotation", rotated.id)).await,
        ),
        (
            "post",
            "/keys/revoke",
            asker.post("/keys/revoke", json!({"ids": [many.id, 1], "dry_run": true})).await,
        ),
        ("post", "/keys/revoke", asker.post("/keys/revoke", json!({"ids": [many.id]})).await),
    ]
}

async fn reading(asker: &Asker<'_>) -> Vec<Tried> {
    vec![
        ("get", "/audit", asker.get("/audit?limit=5&order=asc").await),
        ("get", "/protected/user", asker.get("/protected/user").await),
        ("get", "/protected/any", asker.get("/protected/any").await),
        (
            "get",
            "/protected/any",
            asker.api.get("/protected/any").api_key(&asker.key.key).send().await,
        ),
        ("get", "/protected/service", asker.api.as_service(&asker.key.key).await),
        ("get", "/.well-known/jwks.json", asker.get("/.well-known/jwks.json").await),
        ("get", "/", asker.get("/").await),
        ("get", "/health", asker.get("/health").await),
        ("get", "/health/ready", asker.get("/health/ready").await),
    ]
}

async fn changing(asker: &Asker<'_>) -> Vec<Tried> {
    let token = &asker.user.token;
    vec![
        ("get", "/keys/{key_id}", asker.get(&format!("/keys/{}", asker.other.id)).await),
        ("patch", "/keys/{key_id}", {
            let call = asker.api.call("PATCH", &format!("/keys/{}", asker.other.id)).bearer(token);
            call.json(&json!({"name": "described anew"})).send().await
        }),
        (
            "post",
            "/keys/{key_id}/disable",
            asker.post(&format!("/keys/{}/disable", asker.other.id), json!({})).await,
        ),
        (
            "post",
            "/keys/{key_id}/enable",
            asker.post(&format!("/keys/{}/enable", asker.other.id), json!({})).await,
        ),
        (
            "post",
            "/keys/{key_id}/revoke",
            asker.post(&format!("/keys/{}/revoke", asker.key.id), json!({"dry_run": true})).await,
        ),
        (
            "post",
            "/keys/{key_id}/revoke",
            asker.post(&format!("/keys/{}/revoke", asker.key.id), json!({})).await,
        ),
        ("get", "/keys", asker.get("/keys").await),
        ("get", "/keys/self", asker.api.get("/keys/self").api_key(&asker.other.key).send().await),
        ("post", "/keys/self/revoke", {
            let own = asker.made("itself").await;
            asker.api.post("/keys/self/revoke").api_key(&own.key).send().await
        }),
        ("delete", "/keys/self", {
            let own = asker.made("itself").await;
            asker.api.delete("/keys/self").api_key(&own.key).send().await
        }),
        ("delete", "/keys/{key_id}", asker.delete(&format!("/keys/{}", asker.key.id)).await),
        (
            "delete",
            "/keys/{key_id}",
            asker.delete(&format!("/keys/{}?wait=false", asker.other.id)).await,
        ),
    ]
}

async fn accounts(asker: &Asker<'_>) -> Vec<Tried> {
    let name = unique("described");
    let sign_up =
        json!({"email": format!("{name}@example.com"), "username": name, "password": PASSWORD});
    let change = json!({"current_password": PASSWORD, "new_password": PASSWORD});
    let login = json!({"username": asker.user.username, "password": PASSWORD});
    let refresh = json!({"refresh_token": refresh_token(asker.api, &asker.user).await});
    let refreshed = asker.post("/auth/refresh", refresh).await;
    let next = refreshed.json()["refresh_token"].as_str().unwrap().to_owned();
    let form = [("grant_type", "refresh_token"), ("refresh_token", next.as_str())];
    let token = asker.api.post("/oauth/token").form(&form).send().await;
    let sessions = asker.get("/auth/sessions").await;
    let one = sessions.json()[0]["id"].as_str().unwrap().to_owned();
    vec![
        ("post", "/auth/refresh", refreshed),
        ("post", "/oauth/token", token),
        (
            "post",
            "/oauth/revoke",
            asker.api.post("/oauth/revoke").form(&[("token", "x")]).send().await,
        ),
        ("get", "/auth/sessions", sessions),
        (
            "delete",
            "/auth/sessions/{session_id}",
            asker.delete(&format!("/auth/sessions/{one}")).await,
        ),
        ("post", "/auth/signup", asker.post("/auth/signup", sign_up).await),
        ("post", "/auth/login", asker.post("/auth/login", login).await),
        ("post", "/auth/logout", asker.post("/auth/logout", json!({})).await),
        ("post", "/auth/password", asker.post("/auth/password", change).await),
        ("post", "/auth/logout-all", asker.post("/auth/logout-all", json!({})).await),
    ]
}

/// A refresh token of a session of its own.
pub async fn refresh_token(api: &Api, user: &User) -> String {
    let login = json!({"username": user.username, "password": PASSWORD, "refresh": true});
    let login = api.post("/auth/login").json(&login).send().await.expect(200);
    login["refresh_token"].as_str().expect("it was asked for").to_owned()
}

/// A key that may do something.
pub fn scoped() -> Value {
    json!({"name": "described", "scopes": ["orders:read"]})
}

/// A body of `path` with every required field right.
pub fn good_body(path: &str, user: &User) -> Value {
    let name = unique("field");
    match path {
        "/auth/signup" => {
            json!({"email": format!("{name}@example.com"), "username": name, "password": PASSWORD})
        }
        "/auth/login" => json!({"username": user.username, "password": PASSWORD}),
        "/auth/password" => json!({"current_password": PASSWORD, "new_password": PASSWORD}),
        "/keys/create" => json!({"name": "described"}),
        "/keys/revoke" => json!({"ids": [i64::MAX]}),
        "/keys" => scoped(),
        "/keys/bulk" => json!({"keys": [scoped()]}),
        path if path.starts_with("/keys/{key_id}") || path.starts_with("/keys/self") => json!({}),
        other => panic!("{other} has a body that nobody has told the test of"),
    }
}
