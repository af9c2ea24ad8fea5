//! Keys are sealed with `SECRET_KEY`: they are kept where that is changed with the former one at hand, and gone where not.

use e2e::account::PASSWORD;
use e2e::forge::Token;
use e2e::{SECRET, Service, Stack, database};

use super::{kid, published, signing, until_published};

const NEXT: &str = "the-next-secret-the-next-secret-the-next";

#[tokio::test]
async fn the_secret_is_changed_and_the_key_stays_and_without_the_former_one_everything_ends() {
    let mut stack = signing("EdDSA");
    let user = stack.api().user().await;
    let key = kid(&user.token);
    let again = |stack: &mut Stack, previous: Option<&str>| {
        stack.restart_with(|config| {
            config.set("SECRET_KEY", NEXT);
            match previous {
                Some(previous) => config.set("SECRET_KEY_PREVIOUS", previous),
                None => config.unset("SECRET_KEY_PREVIOUS"),
            };
        });
    };
    again(&mut stack, Some(SECRET));
    stack.api().as_user(&user.token).await.expect(200);
    // What is sealed anew is opened without the former secret.
    stack.enforce(NEXT);
    again(&mut stack, None);
    stack.api().as_user(&user.token).await.expect(200);
    let token = stack.api().token(&user.username, PASSWORD).await;
    assert_eq!(kid(&token), key);

    stack.enforce("a-third-secret-a-third-secret-a-third-se");
    stack.restart_with(|config| {
        config.set("SECRET_KEY", "a-third-secret-a-third-secret-a-third-se");
    });
    let api = stack.api();
    for token in [&user.token, &token] {
        api.as_user(token).await.unauthenticated();
    }
    until_published(&stack, "another key is published", |keys| keys.len() == 1 && keys[0] != key)
        .await;
    let token = api.token(&user.username, PASSWORD).await;
    api.as_user(&token).await.expect(200);
    assert_eq!(published(&api).await, [kid(&token)]);
    // No half that signs is in the rows as it is: each begins as what is sealed does, and a revoked one has none.
    let halves = "SELECT CASE WHEN length(sealed) = 0 THEN 'none' ELSE 'sealed' END FROM signing_keys \
        WHERE $1 = '' ORDER BY created_at";
    let url = stack.database(Service::Identity);
    assert_eq!(database::texts(&url, halves, "").await, ["none", "sealed"]);
}

#[tokio::test]
async fn the_algorithm_is_changed_to_and_fro_and_no_token_ends() {
    let mut stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let user = stack.api().user().await;
    assert!(published(&stack.api()).await.is_empty());
    let mut tokens = vec![user.token];
    for algorithm in ["RS256", "EdDSA", "ES256", "HS256"] {
        stack.restart_with(|config| {
            config.set("JWT_ALGORITHM", algorithm);
        });
        let api = stack.api();
        let token = api.token(&user.username, PASSWORD).await;
        assert_eq!(Token::read(&token).header["alg"], algorithm);
        assert_eq!(published(&api).await.contains(&kid(&token)), algorithm != "HS256");
        tokens.push(token);
        for token in &tokens {
            api.as_user(token).await.expect(200);
        }
    }
    assert_eq!(published(&stack.api()).await.len(), 3);
}
