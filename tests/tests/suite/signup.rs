//! `POST /auth/signup`: the account it makes, and the rules of the e-mail address.

use e2e::account::PASSWORD;
use e2e::answer::{exactly, id, time};
use e2e::{Stack, unique};
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::test]
async fn signing_up_answers_with_the_account_and_nothing_else() {
    let api = Stack::shared().api();
    let name = unique("Ann");
    let email = format!("{name}@Example.com");
    let answer = api.sign_up(&name, &email, PASSWORD).await;
    let body = answer.expect(201);
    exactly(&body, &["id", "email", "username", "created_at", "is_active"]);
    id(&body["id"]);
    assert_eq!(body["email"], email);
    assert_eq!(body["username"], name);
    assert_eq!(body["is_active"], true);
    let age = time::OffsetDateTime::now_utc() - time(&body["created_at"]);
    assert!(age.whole_minutes().abs() < 10, "{body}");
    assert!(answer.header("content-type").starts_with("application/json"));
}

#[tokio::test]
async fn later_accounts_have_other_ids() {
    let api = Stack::shared().api();
    assert_ne!(api.user().await.id, api.user().await.id);
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let api = Stack::shared().api();
    let name = unique("extra");
    let body = json!({
        "email": format!("{name}@example.com"), "username": name, "password": PASSWORD,
        "is_active": false, "id": 7, "full_name": {"any": ["thing"]},
    });
    let account = api.post_json("/auth/signup", &body).await.expect(201);
    assert_eq!(account["is_active"], true);
    assert_eq!(account["username"], name);
}

#[tokio::test]
async fn a_taken_address_is_refused_whatever_its_case() {
    let api = Stack::shared().api();
    let email = format!("{}@example.com", unique("taken"));
    api.sign_up(&unique("first"), &email, PASSWORD).await.expect(201);
    for spelling in [email.clone(), email.to_uppercase(), email.replace("taken", "Taken")] {
        let answer = api.sign_up(&unique("second"), &spelling, PASSWORD).await;
        answer.problem(400, "Email already registered");
    }
}

#[tokio::test]
async fn text_that_is_no_address_is_refused() {
    let api = Stack::shared().api();
    let long = format!("{}@example.com", "a".repeat(65));
    let faulty = [
        "",
        " ",
        "plain",
        "@example.com",
        "a@",
        "a b@example.com",
        "a@b@example.com",
        "a@exa mple.com",
        "Ann <ann@example.com>",
        "ann@example.com ",
        "ann@example.com\r\nBcc: all@example.com",
        "ann\0@example.com",
        "ann@exam\u{7f}ple.com",
        "a..b@example.com",
        ".a@example.com",
        &long,
    ];
    for email in faulty {
        let answer = api.sign_up(&unique("addr"), email, PASSWORD).await;
        assert_eq!(answer.status, 422, "{email:?}: {}", answer.text());
        answer.invalid(&["email"]);
    }
}

#[tokio::test]
async fn an_address_may_have_254_characters_and_not_one_more() {
    let api = Stack::shared().api();
    let local = unique("long");
    let local = format!("{local}{}", "a".repeat(64 - local.len()));
    let domain = format!("{}.{}.{}.com", "d".repeat(63), "d".repeat(63), "d".repeat(57));
    let longest = format!("{local}@{domain}");
    assert_eq!(longest.len(), 254);
    let body = api.sign_up(&unique("long"), &longest, PASSWORD).await.expect(201);
    assert_eq!(body["email"], longest);
    let longer = format!("{local}@{domain}m");
    api.sign_up(&unique("long"), &longer, PASSWORD).await.invalid(&["email"]);
}

#[tokio::test]
async fn every_faulty_field_is_named() {
    let api = Stack::shared().api();
    api.sign_up("ab", "nowhere", "short").await.invalid(&["email", "username", "password"]);
    api.sign_up("ab", &format!("{}@example.com", unique("ok")), PASSWORD)
        .await
        .invalid(&["username"]);
}

#[tokio::test]
async fn missing_fields_and_wrong_types_are_named() {
    let api = Stack::shared().api();
    let all = ["email", "username", "password"];
    api.post_json("/auth/signup", &json!({})).await.invalid(&all);
    let nulls = json!({"email": null, "username": null, "password": null});
    api.post_json("/auth/signup", &nulls).await.invalid(&all);
    let wrong = json!({"email": 5, "username": ["x"], "password": {"a": 1}});
    api.post_json("/auth/signup", &wrong).await.invalid(&all);
    for body in [json!([]), json!("text"), json!(7), json!(null)] {
        api.post_json("/auth/signup", &body).await.problem(422, "");
    }
}

#[tokio::test]
async fn a_name_or_address_that_was_refused_stays_free() {
    let api = Stack::shared().api();
    let (name, email) = (unique("free"), format!("{}@example.com", unique("free")));
    api.sign_up(&name, &email, "short").await.invalid(&["password"]);
    api.sign_up(&name, "nowhere", PASSWORD).await.invalid(&["email"]);
    api.sign_up(&name, &email, PASSWORD).await.expect(201);
}

#[tokio::test]
async fn of_64_signups_of_one_name_at_once_exactly_one_succeeds() {
    let stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let api = stack.api();
    let name = unique("race");
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let (api, name) = (api.clone(), name.clone());
        let email = format!("{name}n{number}@example.com");
        tasks.spawn(async move { api.sign_up(&name, &email, PASSWORD).await });
    }
    let answers = tasks.join_all().await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        match answer.status {
            400 => drop(answer.problem(400, "Username already taken")),
            // Sixty-four hashes at once are more than the workers' queue has to take.
            503 => assert!(!answer.header("retry-after").is_empty()),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    api.log_in(&name, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn an_address_may_be_of_any_script_and_is_one_in_every_spelling() {
    let api = Stack::shared().api();
    let (tail, mark) = (unique("x"), unique("d"));
    let addresses = [
        (
            format!("संपर्क{tail}@{mark}.डाटामेल.भारत"),
            format!("संपर्क{tail}@{mark}.xn--c2bd4bq1db8d.xn--h2brj9c"),
        ),
        (
            format!("Dörte{tail}@{mark}.Sörensen.example"),
            format!("DO\u{308}RTE{tail}@{mark}.xn--srensen-90a.example"),
        ),
        (format!("коля{tail}@{mark}.почта.рф"), format!("КОЛЯ{tail}@{mark}.ПОЧТА.РФ")),
        (
            format!("שאלה{tail}@{mark}.דואר.קום"),
            format!("שאלה{tail}@{mark}.xn--4dbfg1f.xn--9dbq2a"),
        ),
        (format!("伊昭傑{tail}@{mark}.郵件.商務"), format!("伊昭傑{tail}@{mark}\u{3002}郵件.商務")),
        (
            format!("தொடர்பு{tail}@{mark}.மின்னஞ்சல்.இந்தியா"),
            format!("தொடர்பு{tail}@{mark}.xn--hlch6aax2a0g7ecc.xn--xkc2dl3a5ee0h"),
        ),
    ];
    for (address, same) in addresses {
        let made = api.sign_up(&unique("script"), &address, PASSWORD).await.expect(201);
        assert_eq!(made["email"], address, "it is shown as it was written");
        let answer = api.sign_up(&unique("script"), &same, PASSWORD).await;
        answer.problem(400, "Email already registered");
    }
}
