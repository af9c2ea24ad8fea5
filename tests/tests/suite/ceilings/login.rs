//! Logins that ask for less than everything, and what the ceiling of their user leaves of that.

use e2e::account::PASSWORD;
use e2e::forge::Token;
use e2e::{Answer, Api, Stack, User};
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// Asks for `scope` at the login.
async fn ask(api: &Api, user: &User, scope: &Value) -> Answer {
    let body = json!({"username": user.username, "password": PASSWORD, "scope": scope});
    api.post_json("/auth/login", &body).await
}

/// What is granted to whoever asks for `scope`, and what the token says of it.
async fn granted(api: &Api, user: &User, scope: &str) -> (Value, Value) {
    let body = ask(api, user, &scope.into()).await.expect(200);
    let token = Token::read(body["access_token"].as_str().unwrap());
    (body["scope"].clone(), token.claims["scope"].clone())
}

fn ceiling(stack: &Stack, user: &User, scopes: &str) -> String {
    let done = block_in_place(|| stack.operator(&["user", "ceiling", &user.username, scopes]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

#[tokio::test]
async fn a_login_that_asks_for_scopes_is_told_what_it_has() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let (said, claim) = granted(&api, &user, "orders:read latchkey:keys:read").await;
    assert_eq!((said, claim.clone()), ("latchkey:keys:read orders:read".into(), claim.clone()));
    assert_eq!(claim, "latchkey:keys:read orders:read");
    // What all users may have at most is granted, and the token says what was asked for.
    let (said, claim) = granted(&api, &user, "a:* latchkey:audit:read").await;
    assert_eq!((said, claim), ("a:*".into(), "a:* latchkey:audit:read".into()));
    let (said, claim) = granted(&api, &user, "offline_access a").await;
    assert_eq!((said, claim), ("a".into(), "a".into()));
    let (said, _) = granted(&api, &user, "latchkey:audit:read").await;
    assert_eq!(said, "", "nothing is not everything");
    let token = ask(&api, &user, &"a".into()).await.expect(200)["access_token"].clone();
    api.as_user(token.as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn where_nothing_is_asked_for_nothing_is_said_of_scopes() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let plain = api.log_in(&user.username, PASSWORD).await.expect(200);
    let offline = ask(&api, &user, &"offline_access".into()).await.expect(200);
    for body in [plain, offline] {
        assert!(body.get("scope").is_none(), "{body}");
        let token = Token::read(body["access_token"].as_str().unwrap());
        assert!(token.claims.get("scope").is_none(), "{}", token.claims);
    }
}

#[tokio::test]
async fn what_is_no_scope_is_refused_by_name_beside_every_other_fault() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let many = (0..65).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" ");
    for bad in ["", " ", "a  b", "a ", "a*", "ä", "a,b", "a\tb", &many, &"a".repeat(129)] {
        ask(&api, &user, &bad.into()).await.invalid(&["scope"]);
    }
    for bad in [Value::Null, 7.into(), json!(["a"]), json!({})] {
        ask(&api, &user, &bad).await.invalid(&["scope"]);
    }
    let answer = api.post_json("/auth/login", &json!({"password": 1, "scope": "a*"})).await;
    answer.invalid(&["username", "password", "scope"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceiling_takes_away_from_what_a_login_asks_for_and_gives_it_back() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let said = ceiling(stack, &user, "orders:read latchkey:keys:*");
    assert!(
        said.contains(r#"has the ceiling "latchkey:keys:* orders:read". Tokens: revision "#),
        "{said}"
    );
    assert!(said.contains(" Keys: revision "), "{said}");
    let asked = "orders:* latchkey:keys:read";
    let (said, claim) = granted(&api, &user, asked).await;
    assert_eq!(
        (said, claim),
        ("latchkey:keys:read orders:read".into(), "latchkey:keys:read orders:*".into())
    );
    ceiling(stack, &user, "");
    assert_eq!(granted(&api, &user, asked).await.0, "");
    // The login itself, and who it is, are no right.
    let plain = api.log_in(&user.username, PASSWORD).await.expect(200);
    assert!(plain.get("scope").is_none(), "{plain}");
    api.as_user(plain["access_token"].as_str().unwrap()).await.expect(200);
    ceiling(stack, &user, "--clear");
    assert_eq!(granted(&api, &user, asked).await.0, "latchkey:keys:read orders:*");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceiling_that_cannot_be_set_says_why() {
    let stack = Stack::shared();
    let user = stack.api().user().await;
    let run = |arguments: &[&str]| {
        let done = block_in_place(|| stack.operator(&[&["user", "ceiling"], arguments].concat()));
        (done.code, done.stderr)
    };
    let (code, said) = run(&["nobody at all", "a"]);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("there is no user"), "{said}");
    for wrong in
        [&[user.username.as_str()][..], &[&user.username, "a*"], &[&user.username, "a", "--clear"]]
    {
        let (code, said) = run(wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {said}");
    }
    for of_roles in ["latchkey:admin:write", "orders:read latchkey:audit:*"] {
        let (code, said) = run(&[&user.username, of_roles]);
        assert!(code == Some(2) && said.contains("comes with roles alone"), "{code:?}: {said}");
    }
}
