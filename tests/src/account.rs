//! Accounts and keys that a test needs before its own story begins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::id;
use crate::{Answer, Api, poll};

/// The password of every user that does not choose one.
pub const PASSWORD: &str = "a quiet harbour at dusk";

/// Bound on waiting for room for what a test needs before its own story begins.
const ROOM: Duration = Duration::from_mins(1);

/// A user who has signed up and logged in.
#[derive(Debug, Clone)]
pub struct User {
    /// The id.
    pub id: i64,
    /// The name.
    pub username: String,
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// A fresh token.
    pub token: String,
}

/// A key that has just been made.
#[derive(Debug, Clone)]
pub struct Key {
    /// The id.
    pub id: i64,
    /// The key itself.
    pub key: String,
    /// The name.
    pub name: String,
}

/// A name that no other test of any run uses: `prefix` and at most 20 letters and digits.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What is answered once there is room: 503 says to come again, as a client does. For what a test begins
/// with, never for what it asserts: what was answered 503 may have been done all the same.
pub async fn made<F>(status: u16, ask: impl Fn() -> F + Send + Sync) -> Value
where
    F: Future<Output = Answer> + Send,
{
    let once = async || {
        let answer = ask().await;
        (answer.status != 503).then(|| answer.expect(status))
    };
    poll::until_async("room for what a test begins with", ROOM, once).await
}

impl Api {
    /// Signs up.
    pub async fn sign_up(&self, username: &str, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "username": username, "password": password});
        self.post_json("/auth/signup", &body).await
    }

    /// Signs up a name with an address made from a unique name.
    pub async fn sign_up_as(&self, username: &str, password: &str) -> Answer {
        self.sign_up(username, &format!("{}@example.com", unique("mail")), password).await
    }

    /// Logs in.
    pub async fn log_in(&self, username: &str, password: &str) -> Answer {
        let body = json!({"username": username, "password": password});
        self.post_json("/auth/login", &body).await
    }

    /// Logs in, once there is room, and gives the token.
    pub async fn token(&self, username: &str, password: &str) -> String {
        let body = made(200, || self.log_in(username, password)).await;
        body["access_token"].as_str().expect("a token").to_owned()
    }

    /// A new user with a token, once there is room.
    pub async fn user(&self) -> User {
        // A signup that was answered 503 may have been done: each attempt has a name of its own.
        let sign_up = async || {
            let username = unique("user");
            self.sign_up(&username, &format!("{username}@example.com"), PASSWORD).await
        };
        let body = made(201, sign_up).await;
        let text = |member: &str| body[member].as_str().expect("a text").to_owned();
        let (username, email) = (text("username"), text("email"));
        let token = self.token(&username, PASSWORD).await;
        User { id: id(&body["id"]), username, email, password: PASSWORD.to_owned(), token }
    }

    /// A new key of the token's owner, once there is room.
    pub async fn key(&self, token: &str, name: &str) -> Key {
        let named = json!({"name": name});
        let body = made(201, || self.make_key(token, &named)).await;
        let key = body["key"].as_str().expect("a key").to_owned();
        Key { id: id(&body["id"]), key, name: name.to_owned() }
    }

    /// Asks for a key with any body.
    pub async fn make_key(&self, token: &str, body: &serde_json::Value) -> Answer {
        self.post("/keys/create").bearer(token).json(body).send().await
    }

    /// Revokes a key.
    pub async fn revoke(&self, token: &str, id: i64) -> Answer {
        self.delete(&format!("/keys/{id}")).bearer(token).send().await
    }

    /// What `/protected/service` says to a key.
    pub async fn as_service(&self, key: &str) -> Answer {
        self.get("/protected/service").api_key(key).send().await
    }

    /// What `/protected/user` says to a token.
    pub async fn as_user(&self, token: &str) -> Answer {
        self.get("/protected/user").bearer(token).send().await
    }
}
