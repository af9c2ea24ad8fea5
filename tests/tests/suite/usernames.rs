//! Usernames: their rules, and that two spellings of one name are one name.

use e2e::account::PASSWORD;
use e2e::{Stack, unique};
use serde_json::json;

/// Latin letters and digits in their full-width forms.
fn wide(text: &str) -> String {
    text.chars()
        .map(|c| char::from_u32(u32::from(c) + 0xfee0).expect("a full-width form"))
        .collect()
}

#[tokio::test]
async fn a_name_may_have_3_to_50_characters_of_any_script() {
    let api = Stack::shared().api();
    let tail = unique("");
    let good = [
        format!("{}{tail}", "n".repeat(50 - tail.len())),
        format!("{}{tail}", "ж".repeat(50 - tail.len())),
        format!("日本{tail}"),
        format!("é{tail}"),
        format!("!#$.-_~{tail}"),
    ];
    for name in &good {
        let answer = api.sign_up_as(name, PASSWORD).await;
        assert_eq!(answer.expect(201)["username"], *name);
        api.log_in(name, PASSWORD).await.expect(200);
    }
    for name in [format!("n{}", good[0]), format!("ж{}", good[1])] {
        api.sign_up_as(&name, PASSWORD).await.invalid(&["username"]);
    }
    for name in ["", "a", "ab", "жж"] {
        api.sign_up_as(name, PASSWORD).await.invalid(&["username"]);
    }
    // Three is enough; another run on the same data may have it already.
    let answer = api.sign_up_as("zq7", PASSWORD).await;
    assert!([201, 400].contains(&answer.status), "{}", answer.text());
}

#[tokio::test]
async fn spaces_controls_and_symbols_have_no_place_in_a_name() {
    let api = Stack::shared().api();
    let base = unique("bad");
    let faulty = [
        format!(" {base}"),
        format!("{base} "),
        format!("{base} x"),
        format!("{base}\0"),
        format!("{base}\n"),
        format!("{base}\u{7f}"),
        format!("{base}\u{200b}"),
        format!("{base}\u{202e}"),
        format!("{base}\u{a0}x"),
        format!("{base}\u{3000}x"),
        format!("{base}\u{fffe}"),
        format!("{base}🔑"),
        format!("{base}♥"),
    ];
    for name in faulty {
        let answer = api.sign_up_as(&name, PASSWORD).await;
        assert_eq!(answer.status, 422, "{name:?}: {}", answer.text());
        answer.invalid(&["username"]);
    }
}

#[tokio::test]
async fn one_name_in_another_case_is_taken() {
    let api = Stack::shared().api();
    let name = unique("Alice");
    api.sign_up_as(&name, PASSWORD).await.expect(201);
    for spelling in [name.clone(), name.to_uppercase(), name.to_lowercase()] {
        api.sign_up_as(&spelling, PASSWORD).await.problem(400, "Username already taken");
    }
}

#[tokio::test]
async fn one_name_in_full_width_letters_is_taken() {
    let api = Stack::shared().api();
    let name = unique("alice");
    api.sign_up_as(&name, PASSWORD).await.expect(201);
    api.sign_up_as(&wide(&name), PASSWORD).await.problem(400, "Username already taken");
    let other = unique("bob");
    api.sign_up_as(&wide(&other), PASSWORD).await.expect(201);
    api.sign_up_as(&other, PASSWORD).await.problem(400, "Username already taken");
}

#[tokio::test]
async fn composed_and_decomposed_letters_are_one_name() {
    let api = Stack::shared().api();
    let tail = unique("x");
    api.sign_up_as(&format!("caf\u{e9}{tail}"), PASSWORD).await.expect(201);
    let answer = api.sign_up_as(&format!("cafe\u{301}{tail}"), PASSWORD).await;
    answer.problem(400, "Username already taken");
    api.log_in(&format!("CAFE\u{301}{tail}"), PASSWORD).await.expect(200);
}

#[tokio::test]
async fn look_alike_letters_never_make_a_second_account_of_a_name() {
    let api = Stack::shared().api();
    let tail = unique("");
    api.sign_up_as(&format!("bigbird{tail}"), PASSWORD).await.expect(201);
    let answer = api.sign_up_as(&format!("ᴮᴵᴳᴮᴵᴿᴰ{tail}"), PASSWORD).await;
    assert!([400, 422].contains(&answer.status), "{}", answer.text());
    let answer = api.log_in(&format!("ᴮᴵᴳᴮᴵᴿᴰ{tail}"), PASSWORD).await;
    assert!([401, 422].contains(&answer.status), "{}", answer.text());
}

#[tokio::test]
async fn a_name_logs_in_in_any_spelling_and_is_shown_as_it_was_written() {
    let api = Stack::shared().api();
    let name = unique("McAnn");
    api.sign_up_as(&name, PASSWORD).await.expect(201);
    for spelling in [name.to_lowercase(), name.to_uppercase(), wide(&name)] {
        let token = api.token(&spelling, PASSWORD).await;
        let body = api.as_user(&token).await.expect(200);
        assert_eq!(body["message"], format!("Hello {name}!"));
    }
}

#[tokio::test]
async fn a_lone_surrogate_is_refused_in_every_field() {
    let api = Stack::shared().api();
    for field in ["email", "username", "password"] {
        let mut body =
            json!({"email": "a@example.com", "username": "abc", "password": PASSWORD}).to_string();
        let whole = body.clone();
        for text in ["a@example.com", "abc", PASSWORD] {
            body = body
                .replace(&format!("\"{field}\":\"{text}\""), &format!("\"{field}\":\"\\ud800\""));
        }
        assert_ne!(body, whole);
        let answer = api.post("/auth/signup").body("application/json", body).send().await;
        answer.problem(422, "");
    }
}

#[tokio::test]
async fn names_that_differ_by_a_final_sigma_or_a_sharp_s_are_one_name() {
    let api = Stack::shared().api();
    let spellings = [["Σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"], ["Straße", "STRASSE", "strasse"]];
    for names in spellings {
        let tail = unique("");
        let names = names.map(|name| format!("{tail}{name}"));
        for first in 0..names.len() {
            let name = format!("{first}{}", names[first]);
            assert_eq!(api.sign_up_as(&name, PASSWORD).await.expect(201)["username"], name);
            for other in &names {
                let other = format!("{first}{other}");
                api.sign_up_as(&other, PASSWORD).await.problem(400, "Username already taken");
                let token = api.token(&other, PASSWORD).await;
                let body = api.as_user(&token).await.expect(200);
                assert_eq!(body["message"], format!("Hello {name}!"));
            }
        }
    }
}

#[tokio::test]
async fn one_name_has_its_failures_in_every_spelling() {
    let stack = Stack::with(|config| {
        config.set("RATE_LIMIT", "on").cheap_passwords();
    });
    let api = stack.api();
    let name = unique("Σίσυφος");
    api.sign_up_as(&name, PASSWORD).await.expect(201);
    let spellings = [name.clone(), name.to_uppercase(), name.replace('ς', "σ")];
    let mut statuses = Vec::new();
    for number in 0..12 {
        statuses.push(api.log_in(&spellings[number % 3], "not this one").await.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert!(statuses[10..].contains(&429), "a spelling is no further name: {statuses:?}");
}
