//! `POST /keys/create` and `DELETE /keys/{key_id}`: the rules of a key's fields, and its end.

use e2e::answer::{exactly, id, time};
use e2e::{Api, Stack, User};
use serde_json::{Value, json};

/// What is shown of a key besides what always was.
const MORE: [&str; 19] = [
    "hint",
    "last_used_at",
    "state",
    "description",
    "metadata",
    "external_id",
    "tags",
    "environment",
    "origin",
    "scopes",
    "roles",
    "allowed_ips",
    "limits",
    "quota",
    "owner",
    "created_by",
    "lineage",
    "revocation",
    "version",
];

async fn ready() -> (Api, User) {
    let api = Stack::shared().api();
    let user = api.user().await;
    (api, user)
}

#[tokio::test]
async fn making_a_key_shows_it_this_once() {
    let (api, user) = ready().await;
    let answer = api.make_key(&user.token, &json!({"name": "deploy"})).await;
    let body = answer.expect(201);
    let always = ["id", "key", "name", "created_at", "expires_at", "is_revoked"];
    exactly(&body, &[&always[..], &MORE].concat());
    assert_eq!(answer.text().matches("\"id\":").count(), 3, "its own, its owner's, its lineage's");
    id(&body["id"]);
    assert_eq!(body["name"], "deploy");
    assert_eq!(body["is_revoked"], false);
    let key = body["key"].as_str().unwrap();
    let rest = key.strip_prefix("sk_").unwrap();
    assert_eq!(rest.len(), 49, "{rest}");
    assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{rest}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let list = api.get("/keys").bearer(&user.token).send().await;
    assert!(!list.text().contains(key));
}

#[tokio::test]
async fn a_key_lives_a_year_unless_told_otherwise() {
    let (api, user) = ready().await;
    let cases = [
        (json!({}), 365),
        (json!({"expires_in_days": 1}), 1),
        (json!({"expires_in_days": 3650}), 3650),
    ];
    for (mut body, days) in cases {
        body["name"] = json!("lives");
        let made = api.make_key(&user.token, &body).await.expect(201);
        let life = time(&made["expires_at"]) - time(&made["created_at"]);
        assert_eq!(life.whole_days(), days, "{made}");
        assert_eq!(life.whole_seconds() % 86_400, 0, "{made}");
    }
    let body = json!({"name": "null", "expires_in_days": null});
    api.make_key(&user.token, &body).await.expect(201);
}

#[tokio::test]
async fn the_days_are_a_whole_number_from_1_to_3650() {
    let (api, user) = ready().await;
    let faulty = [
        json!(0),
        json!(-1),
        json!(3651),
        json!(1.5),
        json!("5"),
        json!(true),
        json!([]),
        json!({}),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
    ];
    for days in faulty {
        let body = json!({"name": "days", "expires_in_days": days});
        api.make_key(&user.token, &body).await.invalid(&["expires_in_days"]);
    }
    for days in ["1e999", "99999999999999999999999999"] {
        let body = format!("{{\"name\": \"days\", \"expires_in_days\": {days}}}");
        let call = api.post("/keys/create").bearer(&user.token).body("application/json", body);
        call.send().await.problem(422, "");
    }
}

#[tokio::test]
async fn a_name_has_1_to_100_characters_after_trimming() {
    let (api, user) = ready().await;
    let (longest, wide) = ("n".repeat(100), "ж".repeat(100));
    let padded = format!("  {longest}\t");
    let cases = [
        ("x", "x"),
        ("  build server  ", "build server"),
        (&longest, &longest),
        (&padded, &longest),
        (&wide, &wide),
        ("日本 🔑", "日本 🔑"),
        ("👩\u{200d}💻 laptop", "👩\u{200d}💻 laptop"),
        ("❤\u{fe0f}", "❤\u{fe0f}"),
        ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ("उत्पादन क्\u{200d}ष", "उत्पादन क्\u{200d}ष"),
    ];
    for (name, shown) in cases {
        let made = api.make_key(&user.token, &json!({"name": name})).await.expect(201);
        assert_eq!(made["name"], shown);
        let key = made["key"].as_str().unwrap();
        assert_eq!(api.as_service(key).await.expect(200)["service_name"], shown);
    }
    let long = "n".repeat(101);
    let faulty = [
        json!(""),
        json!("   "),
        json!("\t\n"),
        json!(long),
        json!("ж".repeat(101)),
        json!("a\0b"),
        json!("a\nb"),
        json!("a\u{1b}[31mb"),
        json!("a\u{7f}b"),
        json!("a\u{85}b"),
        json!("a\u{2028}b"),
        json!("admin\u{202e}gpj.exe"),
        json!("\u{2067}admin\u{2069}"),
        json!("admin\u{200f}"),
        json!("ad\u{200b}min"),
        json!("ad\u{ad}min"),
        json!("\u{feff}admin"),
        json!("admin\u{e0061}\u{e007f}"),
        json!("\u{200b}"),
        json!("\u{2800}"),
        json!("\u{3164}"),
        json!("\u{200d}"),
        json!("a\u{200d}"),
        json!("\u{fe0f}"),
        json!(null),
        json!(5),
        json!(["a"]),
    ];
    for name in faulty {
        let answer = api.make_key(&user.token, &json!({"name": name})).await;
        assert_eq!(answer.status, 422, "{name:?}: {}", answer.text());
        answer.invalid(&["name"]);
    }
    api.make_key(&user.token, &json!({})).await.invalid(&["name"]);
    let surrogate = r#"{"name": "\ud800"}"#;
    let call = api.post("/keys/create").bearer(&user.token).body("application/json", surrogate);
    call.send().await.problem(422, "");
}

#[tokio::test]
async fn every_faulty_field_of_a_key_is_named() {
    let (api, user) = ready().await;
    let body = json!({"name": "", "expires_in_days": 0});
    api.make_key(&user.token, &body).await.invalid(&["name", "expires_in_days"]);
}

#[tokio::test]
async fn two_keys_may_have_one_name() {
    let (api, user) = ready().await;
    let (one, two) = (api.key(&user.token, "same").await, api.key(&user.token, "same").await);
    assert_ne!(one.id, two.id);
    assert_ne!(one.key, two.key);
}

#[tokio::test]
async fn unknown_fields_of_a_key_are_ignored() {
    let (api, user) = ready().await;
    let body = json!({"name": "more", "is_revoked": true, "key": "sk_mine", "scopes": ["all"]});
    let made = api.make_key(&user.token, &body).await.expect(201);
    assert_eq!(made["is_revoked"], false);
    assert_ne!(made["key"], "sk_mine");
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_answer_on() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "ends").await;
    let other = api.key(&user.token, "stays").await;
    api.as_service(&key.key).await.expect(200);
    let body = api.revoke(&user.token, key.id).await.expect(200);
    exactly(&body, &["message", "key_id", "receipt"]);
    exactly(&body["receipt"], &["revision", "edges_confirmed", "waited_ms"]);
    assert_eq!(body["message"], "API key revoked successfully");
    assert_eq!(body["key_id"], key.id);
    api.as_service(&key.key).await.unauthenticated();
    api.get("/protected/any").api_key(&key.key).send().await.unauthenticated();
    api.as_service(&other.key).await.expect(200);
}

#[tokio::test]
async fn revoking_twice_gives_the_same_answer() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "twice").await;
    let first = api.revoke(&user.token, key.id).await;
    let second = api.revoke(&user.token, key.id).await;
    let (first, second) = (first.expect(200), second.expect(200));
    for field in ["message", "key_id"] {
        assert_eq!(first[field], second[field]);
    }
    // The first revoke was seen to its end: the second has nothing to wait for.
    assert_eq!(first["receipt"]["revision"], second["receipt"]["revision"]);
    api.as_service(&key.key).await.unauthenticated();
}

#[tokio::test]
async fn a_key_id_is_a_positive_64_bit_integer() {
    let (api, user) = ready().await;
    let faulty = [
        "0",
        "-1",
        "9223372036854775808",
        "18446744073709551616",
        "abc",
        "1.5",
        "1e3",
        "0x10",
        "%00",
        "%20",
        "1%00",
        "%F0%9F%94%91",
        "%FF",
        "1;drop",
    ];
    for text in faulty {
        let answer = api.delete(&format!("/keys/{text}")).bearer(&user.token).send().await;
        assert_eq!(answer.status, 422, "{text}: {}", answer.text());
        answer.invalid(&["key_id"]);
    }
    for text in ["9223372036854775807", "4611686018427387904"] {
        let answer = api.delete(&format!("/keys/{text}")).bearer(&user.token).send().await;
        answer.problem(404, "API key not found");
    }
}

#[tokio::test]
async fn a_key_that_is_being_made_many_times_at_once_is_many_keys() {
    let (api, user) = ready().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (api, token) = (api.clone(), user.token.clone());
        tasks.spawn(async move { api.key(&token, "many").await });
    }
    let mut keys: Vec<String> = tasks.join_all().await.into_iter().map(|key| key.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 50);
    let list = api.get("/keys").bearer(&user.token).send().await.expect(200);
    assert_eq!(list.as_array().map(Vec::len), Some(50));
    assert!(list.as_array().unwrap().iter().all(|key| key["is_revoked"] == Value::Bool(false)));
}

/// JSON Schema: an integer is any number without a fractional part, however it is written.
#[tokio::test]
async fn days_are_a_whole_number_in_any_spelling() {
    const JSON: &str = "application/json";
    let api = Stack::shared().api();
    let user = api.user().await;
    let create = async |days: &str| {
        let body = format!(r#"{{"name": "days", "expires_in_days": {days}}}"#);
        api.post("/keys/create").bearer(&user.token).body(JSON, body).send().await
    };
    for (written, days) in
        [("1.0", 1), ("1e2", 100), ("90.0", 90), ("9E+1", 90), ("3650.00", 3650), ("3.65e3", 3650)]
    {
        let made = create(written).await.expect(201);
        let life = time(&made["expires_at"]) - time(&made["created_at"]);
        assert_eq!(life.whole_days(), days, "{written}");
    }
    create("null").await.expect(201);
    for wrong in [
        "1.5",
        "0.0",
        "-0.0",
        "-1.0",
        "3650.5",
        "3651.0",
        "1e4",
        "1e18",
        "1e300",
        "-1e300",
        "0",
        "3651",
        "18446744073709551615",
        "99999999999999999999",
        "\"5\"",
        "\"\"",
        "true",
        "[]",
        "[5]",
        "{}",
        "{\"x\": 5}",
    ] {
        create(wrong).await.invalid(&["expires_in_days"]);
    }
    create("1e999").await.invalid(&["body"]);
}
