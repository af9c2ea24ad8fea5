//! `POST /auth/login`: the token it gives, and that a refusal tells nothing.

use e2e::account::PASSWORD;
use e2e::forge::Token;
use e2e::{Answer, Stack, unique};
use serde_json::json;

#[tokio::test]
async fn logging_in_gives_a_bearer_token() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let answer = api.log_in(&user.username, PASSWORD).await;
    let body = answer.expect(200);
    assert_eq!(body["token_type"], "bearer");
    let token = body["access_token"].as_str().unwrap();
    assert!(token.len() < 4096, "{}", token.len());
    api.as_user(token).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_token_says_who_until_when_and_for_whom() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let token = Token::read(&user.token);
    assert_eq!(token.header["alg"], "HS256");
    assert_eq!(token.header["typ"], "JWT");
    assert_eq!(token.claims["sub"], user.id.to_string());
    let number = |claim: &str| token.claims[claim].as_i64().unwrap_or_else(|| panic!("{claim}"));
    assert_eq!(number("exp") - number("iat"), 30 * 60);
    for claim in ["jti", "iss"] {
        assert!(token.claims[claim].as_str().is_some_and(|text| !text.is_empty()), "{claim}");
    }
    assert!(!token.claims["aud"].is_null());
    let text = token.claims.to_string();
    assert!(!text.contains(&user.email) && !text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn every_login_is_a_session_of_its_own() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let other = api.token(&user.username, PASSWORD).await;
    assert_ne!(Token::read(&user.token).claims["jti"], Token::read(&other).claims["jti"]);
}

/// Headers that may differ between any two answers are left out.
fn telling(answer: &Answer) -> Vec<(String, String)> {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| name != "date")
        .collect();
    headers.sort();
    headers
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_bytes() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let ask = async |username: &str| {
        let body = json!({"username": username, "password": "not this one"});
        api.post("/auth/login").header("x-request-id", "same-for-both").json(&body).send().await
    };
    let wrong = ask(&user.username).await;
    let unknown = ask(&unique("nobody")).await;
    wrong.problem(401, "Incorrect username or password");
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(telling(&wrong), telling(&unknown));
    // A name that no signup would take is only one more unknown name.
    let odd = ask("no such name\u{202e}").await;
    assert!([401, 422].contains(&odd.status), "{}", odd.text());
}

#[tokio::test]
async fn a_login_needs_both_fields_as_text() {
    let api = Stack::shared().api();
    let both = ["username", "password"];
    api.post_json("/auth/login", &json!({})).await.invalid(&both);
    api.post_json("/auth/login", &json!({"username": 1, "password": []})).await.invalid(&both);
    let user = api.user().await;
    let body = json!({"username": user.username});
    api.post_json("/auth/login", &body).await.invalid(&["password"]);
    let body = json!({"username": user.username, "password": PASSWORD, "otp": "123"});
    api.post_json("/auth/login", &body).await.expect(200);
}

#[tokio::test]
async fn hostile_names_are_only_unknown_names() {
    let api = Stack::shared().api();
    let names = ["' OR '1'='1", "admin'--", "a\0b", "%", "*", "\u{feff}", "../../etc/passwd", ""];
    for name in names {
        let answer = api.log_in(name, PASSWORD).await;
        assert!([401, 422].contains(&answer.status), "{name:?}: {}", answer.text());
        answer.shows_nothing_internal();
    }
}

#[tokio::test]
async fn a_deactivated_user_is_told_so_only_with_the_right_password() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "still here").await;

    let done = stack.operator(&["user", "deactivate", &user.username]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);

    api.log_in(&user.username, PASSWORD).await.problem(400, "Inactive user account");
    let wrong = api.log_in(&user.username, "not this one").await;
    wrong.problem(401, "Incorrect username or password");
    api.as_user(&user.token).await.unauthenticated();
    api.get("/keys").bearer(&user.token).send().await.unauthenticated();
    api.revoke(&user.token, key.id).await.unauthenticated();
}

#[tokio::test]
async fn what_no_name_or_password_can_be_is_told_by_its_form_alone() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let (known, unknown) = (user.username.as_str(), "nobody-has-this-name");
    let ends = "begins or ends with a space";
    for name in [known, unknown] {
        for (username, password, part) in [
            (format!("{name} "), PASSWORD, ends),
            (format!(" {name}"), PASSWORD, ends),
            (format!("{name}\n"), PASSWORD, ends),
            (format!("{name}\u{a0}"), PASSWORD, ends),
            (format!("\u{feff}{name}"), PASSWORD, ends),
            (format!("{name}\u{200b}"), PASSWORD, ends),
            (format!("{name} x"), PASSWORD, "holds a space"),
            (format!("x\u{200e}{name}"), PASSWORD, "holds a space or an invisible"),
            (name.to_owned(), "pasted with a line break\n", "line break"),
        ] {
            let answer = api.log_in(&username, password).await;
            let body = answer.problem(401, "Incorrect username or password");
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.contains(part), "{username:?}: {detail}");
            assert!(!detail.contains(name), "{detail}");
        }
    }
    let detail = |answer: Answer| answer.json()["detail"].clone();
    let slip = async |name: &str| detail(api.log_in(&format!("{name} "), PASSWORD).await);
    assert_eq!(slip(known).await, slip(unknown).await, "the form alone decides");
    // A space may be a part of a password.
    for name in [known, unknown] {
        let plain = detail(api.log_in(name, " wrong ").await);
        assert_eq!(plain, "Incorrect username or password");
    }
}
