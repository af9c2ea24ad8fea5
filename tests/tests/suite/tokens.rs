//! Attacks on the access token: each is refused, and the same token untouched is accepted.

use e2e::forge::{Token, sign};
use e2e::{Api, SECRET, Stack, User};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Requests of one test under way at once.
const AT_ONCE: usize = 16;

async fn ready() -> (Api, User, Token) {
    let api = Stack::shared().api();
    let user = api.user().await;
    let token = Token::read(&user.token);
    // The control: a forger who has the secret and changes nothing makes the same token.
    api.as_user(&token.sign(SECRET)).await.expect(200);
    (api, user, token)
}

async fn refused(api: &Api, what: &str, token: &str) {
    for path in ["/protected/user", "/protected/any", "/keys"] {
        let answer = api.get(path).bearer(token).send().await;
        assert_eq!(answer.status, 401, "{what} on {path}: {}", answer.text());
        answer.unauthenticated();
    }
}

#[test]
fn the_forger_signs_as_the_published_example_does() {
    let claims = r#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#;
    let token = sign(r#"{"alg":"HS256","typ":"JWT"}"#, claims, "your-256-bit-secret");
    assert!(token.ends_with(".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"), "{token}");
}

#[tokio::test]
async fn no_algorithm_but_ours_is_accepted() {
    let (api, _, token) = ready().await;
    for name in
        ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256"]
    {
        let forged = token.clone().header("alg", json!(name));
        refused(&api, name, &forged.unsigned()).await;
        refused(&api, name, &forged.sign(SECRET)).await;
        refused(&api, name, forged.unsigned().trim_end_matches('.')).await;
    }
    for value in [json!(null), json!(["HS256"]), json!({"alg": "HS256"}), json!(256)] {
        let forged = token.clone().header("alg", value.clone());
        refused(&api, &value.to_string(), &forged.sign(SECRET)).await;
    }
    refused(&api, "HS512 with our secret", &token.sign_512(SECRET)).await;
    refused(&api, "no alg", &sign("{\"typ\":\"JWT\"}", &token.claims.to_string(), SECRET)).await;
}

#[tokio::test]
async fn no_secret_but_ours_is_accepted() {
    let (api, user, token) = ready().await;
    let longer = format!("{SECRET}x");
    let upper = SECRET.to_uppercase();
    for secret in ["", "secret", "changeme", &longer, &upper, "null", "\0"] {
        refused(&api, secret, &token.sign(secret)).await;
    }
    refused(&api, "no signature", &token.unsigned()).await;
    let (signed, _) = user.token.rsplit_once('.').unwrap();
    refused(&api, "no third part", signed).await;
    let other = api.user().await;
    let (_, signature) = other.token.rsplit_once('.').unwrap();
    refused(&api, "the signature of another token", &format!("{signed}.{signature}")).await;
}

#[tokio::test]
async fn every_claim_is_required() {
    let (api, _, token) = ready().await;
    for claim in ["sub", "exp", "iat", "jti", "iss", "aud"] {
        refused(&api, claim, &token.clone().without(claim).sign(SECRET)).await;
        refused(&api, claim, &token.clone().with(claim, Value::Null).sign(SECRET)).await;
    }
    refused(&api, "no claims", &sign("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{}", SECRET)).await;
}

#[tokio::test]
async fn a_claim_of_the_wrong_kind_is_refused() {
    let (api, _, token) = ready().await;
    let later = token.claims["exp"].as_i64().unwrap();
    let kinds = [
        (
            "exp",
            vec![
                json!("never"),
                json!(later.to_string()),
                json!(-1),
                json!(0),
                json!(1.5),
                json!([later]),
                json!({}),
                json!(true),
                json!(9_223_372_036_854_775_808_u64),
                json!(1e300),
            ],
        ),
        ("iat", vec![json!("now"), json!([]), json!({}), json!(true)]),
        (
            "sub",
            vec![
                json!(1),
                json!(""),
                json!("0"),
                json!("-1"),
                json!("abc"),
                json!("1 OR 1=1"),
                json!("1.0"),
                json!(["1"]),
                json!({}),
                json!("9223372036854775808"),
            ],
        ),
        (
            "jti",
            vec![json!(1), json!(""), json!("nope"), json!([]), json!({}), json!("a".repeat(1000))],
        ),
        ("iss", vec![json!("someone else"), json!(""), json!(1), json!(["someone else"])]),
        (
            "aud",
            vec![json!("someone else"), json!(""), json!(1), json!([]), json!(["someone else"])],
        ),
    ];
    for (claim, values) in kinds {
        for value in values {
            let forged = token.clone().with(claim, value.clone()).sign(SECRET);
            refused(&api, &format!("{claim} = {value}"), &forged).await;
        }
    }
}

#[tokio::test]
async fn a_token_is_refused_when_its_time_is_over_or_not_yet_come() {
    let (api, _, token) = ready().await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for ago in [6, 60, 3600, 100_000_000] {
        let forged = token.clone().with("exp", json!(now - ago)).sign(SECRET);
        refused(&api, &format!("expired {ago} s ago"), &forged).await;
    }
    let forged = token.clone().with("nbf", json!(now + 600)).sign(SECRET);
    refused(&api, "not valid for ten minutes", &forged).await;
}

#[tokio::test]
async fn a_token_of_no_session_or_of_anothers_is_refused() {
    let (api, user, token) = ready().await;
    let other = api.user().await;
    let forged = token.clone().with("sub", json!(other.id.to_string())).sign(SECRET);
    refused(&api, "the session of another user", &forged).await;
    let forged = token.clone().with("sub", json!((user.id + 1_000_000_000).to_string()));
    refused(&api, "a user that never was", &forged.sign(SECRET)).await;
    let mut unknown = token.claims["jti"].as_str().unwrap().to_owned();
    let last = unknown.pop().unwrap();
    unknown.push(if last == '0' { '1' } else { '0' });
    let forged = token.clone().with("jti", json!(unknown)).sign(SECRET);
    refused(&api, "a session that never was", &forged).await;
}

#[tokio::test]
async fn a_header_that_points_elsewhere_changes_nothing() {
    let (api, _, token) = ready().await;
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}/jwks.json", trap.local_addr().unwrap());
    let jwk = json!({"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"});
    let members = [
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' UNION SELECT 'secret")),
        ("kid", json!("a\0b")),
        ("kid", json!("k".repeat(2000))),
        ("kid", json!({"a": 1})),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", jwk),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
    ];
    for (member, value) in members {
        let forged = token.clone().header(member, value);
        refused(&api, member, &forged.sign("secret")).await;
        refused(&api, member, &forged.sign("")).await;
        // With the right secret it may pass or not, but nothing may break.
        let answer = api.as_user(&forged.sign(SECRET)).await;
        assert!([200, 401].contains(&answer.status), "{member}: {}", answer.text());
    }
    assert!(trap.accept().is_err(), "somebody followed the header's address");
}

#[tokio::test]
async fn a_token_above_4_kib_is_refused() {
    let (api, _, token) = ready().await;
    let padded = token.clone().with("padding", json!("p".repeat(4096))).sign(SECRET);
    assert!(padded.len() > 4096);
    refused(&api, "a padded token", &padded).await;
    let answer = api.as_user(&"a".repeat(8000)).await;
    answer.unauthenticated();
}

#[tokio::test]
async fn text_that_is_nearly_a_token_is_refused() {
    let (api, user, token) = ready().await;
    let text = &user.token;
    let header = token.header.to_string();
    let doubled = token.claims.to_string().replacen('{', "{\"sub\":\"1\",", 1);
    let near = [
        format!("{text}="),
        format!("{text}."),
        format!("{text}A"),
        format!(".{text}"),
        text.replace('.', ".."),
        text.replacen('.', "", 1),
        format!("{text}.{text}"),
        text.to_uppercase(),
        sign(&header, &doubled, SECRET),
        sign(&header, "null", SECRET),
        sign(&header, "[]", SECRET),
        sign(&header, "not json", SECRET),
        sign("not json", &token.claims.to_string(), SECRET),
        sign(&header, &"[".repeat(1000), SECRET),
    ];
    for forged in near {
        refused(&api, &forged, &forged).await;
    }
}

#[tokio::test]
async fn of_all_single_bit_flips_of_a_token_none_is_accepted() {
    let (api, user, _) = ready().await;
    let mut flips = Vec::new();
    for at in 0..user.token.len() {
        for bit in 0..8 {
            let mut bytes = format!("Bearer {}", user.token).into_bytes();
            let changed = &mut bytes[at + 7];
            *changed ^= 1 << bit;
            // Control characters cannot be sent in a header at all.
            if *changed >= 0x20 && *changed != 0x7f {
                flips.push(bytes);
            }
        }
    }
    assert!(flips.len() > 1000, "{}", flips.len());
    let mut tasks = JoinSet::new();
    let mut seen = 0;
    for flip in flips {
        if tasks.len() == AT_ONCE {
            seen += usize::from(tasks.join_next().await.unwrap().unwrap());
        }
        let api = api.clone();
        tasks.spawn(async move {
            let text = String::from_utf8_lossy(&flip).into_owned();
            let call = api.get("/protected/user").header("authorization", flip);
            let answer = call.send().await;
            assert_eq!(answer.status, 401, "{text}: {}", answer.text());
            true
        });
    }
    seen += tasks.join_all().await.into_iter().filter(|refused| *refused).count();
    assert!(seen > 1000, "{seen}");
    api.as_user(&user.token).await.expect(200);
}
