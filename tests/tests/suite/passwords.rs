//! Passwords: length, screening, Unicode, and that every character counts.

use e2e::account::PASSWORD;
use e2e::{Stack, unique};
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;

/// Among the commonest of every published list.
const COMMON: [&str; 12] = [
    "password",
    "12345678",
    "123456789",
    "1234567890",
    "password1",
    "iloveyou",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "trustno1",
    "passw0rd",
];

#[tokio::test]
async fn a_password_has_8_to_128_characters_whatever_their_bytes() {
    let api = Stack::shared().api();
    // No sequence: screening would take that for a common password.
    let long: String = (1..129_u32).filter_map(|n| char::from_u32(0x4e00 + n * n)).collect();
    let good = ["ab cd-fg", "жюлъщыэя", "🔑🐚🌋🎻🏮🌊🎺🐘", &"x y".repeat(42), &long];
    for password in good {
        let name = unique("len");
        api.sign_up_as(&name, password).await.expect(201);
        api.log_in(&name, password).await.expect(200);
    }
    let too_long = format!("{long}x");
    let (longest, long_enough) = ("x".repeat(15_000), "y".repeat(257));
    for password in ["", "a", "ab cd-f", "жюлъщыэ", &too_long, &long_enough, &longest] {
        api.sign_up_as(&unique("len"), password).await.invalid(&["password"]);
    }
}

#[tokio::test]
async fn characters_of_newer_unicode_versions_are_taken_too() {
    let api = Stack::shared().api();
    // Unicode 9, 11 and 12: 2016 to 2019.
    for password in ["mossgreen 🦊🥑🦉", "mossgreen 🧭🧩🧵", "mossgreen 🪁🪂🪕"] {
        let name = unique("emoji");
        api.sign_up_as(&name, password).await.expect(201);
        api.log_in(&name, password).await.expect(200);
    }
}

#[tokio::test]
async fn no_composition_is_asked_for() {
    let api = Stack::shared().api();
    for password in ["mossgreenlantern", "48151623420917", "........,,,,,,,,"] {
        api.sign_up_as(&unique("comp"), password).await.expect(201);
    }
}

#[tokio::test]
async fn the_commonest_passwords_are_refused() {
    let api = Stack::shared().api();
    for password in COMMON {
        let answer = api.sign_up_as(&unique("common"), password).await;
        assert_eq!(answer.status, 422, "{password}: {}", answer.text());
        answer.invalid(&["password"]);
    }
}

#[tokio::test]
async fn a_taken_name_or_address_is_said_before_a_common_password() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let answer = api.sign_up_as(&user.username, "password1").await;
    answer.problem(400, "Username already taken");
    let answer = api.sign_up(&unique("other"), &user.email, "password1").await;
    answer.problem(400, "Email already registered");
}

#[tokio::test]
async fn control_characters_are_refused() {
    let api = Stack::shared().api();
    for password in ["quiet\0harbour", "quiet\nharbour", "quiet\u{7}harbour", "quiet\u{85}harbour"]
    {
        let answer = api.sign_up_as(&unique("ctrl"), password).await;
        assert_eq!(answer.status, 422, "{password:?}: {}", answer.text());
        answer.invalid(&["password"]);
    }
}

#[tokio::test]
async fn composed_and_decomposed_forms_are_one_password() {
    let api = Stack::shared().api();
    let (composed, decomposed) = ("caf\u{e9} cr\u{e8}me", "cafe\u{301} cre\u{300}me");
    let name = unique("nfc");
    api.sign_up_as(&name, composed).await.expect(201);
    api.log_in(&name, decomposed).await.expect(200);
    let name = unique("nfd");
    api.sign_up_as(&name, decomposed).await.expect(201);
    api.log_in(&name, composed).await.expect(200);
}

#[tokio::test]
async fn passwords_that_begin_with_the_same_72_bytes_differ() {
    let api = Stack::shared().api();
    let start = "abcdefgh ".repeat(8);
    assert_eq!(start.len(), 72);
    let name = unique("same");
    api.sign_up_as(&name, &format!("{start}one")).await.expect(201);
    for other in [format!("{start}two"), start.clone(), format!("{start}one1")] {
        api.log_in(&name, &other).await.problem(401, "Incorrect username or password");
    }
    api.log_in(&name, &format!("{start}one")).await.expect(200);
}

#[tokio::test]
async fn case_and_surrounding_spaces_count() {
    let api = Stack::shared().api();
    let name = unique("exact");
    api.sign_up_as(&name, " A quiet Harbour ").await.expect(201);
    for other in ["A quiet Harbour", " a quiet harbour ", " A quiet Harbour", "A quiet Harbour "] {
        api.log_in(&name, other).await.problem(401, "Incorrect username or password");
    }
    api.log_in(&name, " A quiet Harbour ").await.expect(200);
}

#[tokio::test]
async fn no_login_accepts_what_no_signup_would() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let long = format!("{PASSWORD}{}", "x".repeat(10_000));
    for password in ["", "short", &long, &format!("{PASSWORD}\0"), &format!("{PASSWORD} ")] {
        let answer = api.log_in(&user.username, password).await;
        assert!([401, 422].contains(&answer.status), "{password:?}: {}", answer.text());
        let unknown = api.log_in(&unique("nobody"), password).await;
        assert_eq!(answer.status, unknown.status, "known and unknown names are told apart");
    }
}

/// Logs in until the password is no longer the right one; gives the tokens.
async fn log_in_while_possible(api: e2e::Api, username: String) -> Vec<String> {
    let mut tokens = Vec::new();
    loop {
        let answer = api.log_in(&username, PASSWORD).await;
        match answer.status {
            200 => tokens.push(answer.json()["access_token"].as_str().unwrap().to_owned()),
            401 => return tokens,
            _ => answer.shows_nothing_internal(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_of_the_old_password_outlives_a_change_that_others_log_in_during() {
    const CHANGES: usize = 4;
    const CLIENTS: usize = 4;
    let api = Stack::shared().api();
    for _ in 0..CHANGES {
        let user = api.user().await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(log_in_while_possible(Stack::shared().api(), user.username.clone()));
        }
        let body =
            json!({"current_password": PASSWORD, "new_password": "the harbour is quiet now"});
        let change = api.post("/auth/password").bearer(&user.token).json(&body).send().await;
        change.expect(200);
        let tokens = clients.join_all().await.concat();
        let tried = join_all(tokens.iter().map(|token| api.as_user(token))).await;
        let good = tried.iter().filter(|answer| answer.status != 401).count();
        assert_eq!(good, 0, "of {} tokens that were made with the old password", tokens.len());
        api.as_user(&user.token).await.expect(200);
    }
}
