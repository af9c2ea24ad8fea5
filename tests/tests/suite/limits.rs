//! Rate limits: they come, they say for how long, and nobody talks their way around them.

use e2e::account::PASSWORD;
use e2e::{Answer, Api, Stack, unique};
use serde_json::json;

/// More attempts than any sensible limit lets through at once.
const MANY: usize = 600;

fn limited(hops: &str) -> Stack {
    Stack::with(|config| {
        // Each edge counts on its own.
        config.one_edge().cheap_passwords().set("RATE_LIMIT", "on").set("TRUSTED_PROXIES", hops);
    })
}

/// One wrong login of a name nobody has, as if forwarded for `forwarded`.
async fn attempt(api: &Api, forwarded: &str) -> Answer {
    let body = json!({"username": unique("nobody"), "password": "not this one"});
    api.post("/auth/login").header("x-forwarded-for", forwarded).json(&body).send().await
}

/// Goes on until the limit is hit; gives the answer that says so.
async fn exhaust(api: &Api, forwarded: impl Fn(usize) -> String) -> Answer {
    for number in 0..MANY {
        let answer = attempt(api, &forwarded(number)).await;
        match answer.status {
            401 => {}
            429 => return answer,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    panic!("{MANY} wrong logins and no limit");
}

#[track_caller]
fn says_when(answer: &Answer) {
    let wait: u64 = answer.header("retry-after").parse().expect("whole seconds");
    assert!(wait >= 1, "{wait}");
}

#[tokio::test]
async fn guessing_hits_a_limit_that_a_forged_address_does_not_lift() {
    let stack = limited("0");
    let api = stack.api();
    let user = api.user().await;
    let answer = exhaust(&api, |number| format!("203.0.113.{}", number % 250)).await;
    answer.problem(429, "");
    says_when(&answer);
    let forged = ["198.51.100.77", "127.0.0.1", "::1", "10.0.0.1, 192.0.2.1", "nonsense", ""];
    for address in forged {
        attempt(&api, address).await.problem(429, "");
    }
    for header in ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"] {
        let body = json!({"username": unique("nobody"), "password": "not this one"});
        let call = api.post("/auth/login").header(header, "198.51.100.99").json(&body);
        call.send().await.problem(429, "");
    }
    // Whoever is in already stays in.
    api.as_user(&user.token).await.expect(200);
    let key = api.key(&user.token, "still works").await;
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn behind_one_trusted_proxy_the_last_address_counts() {
    let stack = limited("1");
    let api = stack.api();
    let answer = exhaust(&api, |number| format!("10.0.0.{}, 203.0.113.7", number % 250)).await;
    says_when(&answer);
    attempt(&api, "203.0.113.7").await.problem(429, "");
    attempt(&api, "198.51.100.1, 203.0.113.7").await.problem(429, "");
    attempt(&api, "203.0.113.7, 198.51.100.1").await.problem(401, "");
}

#[tokio::test]
async fn guessing_one_account_hits_a_limit_from_whatever_address() {
    let stack = limited("1");
    let api = stack.api();
    let user = api.user().await;
    let mut statuses = Vec::new();
    for number in 0..MANY {
        let body = json!({"username": user.username, "password": "not this one"});
        let address = format!("10.{}.{}.9", number / 250, number % 250);
        let call = api.post("/auth/login").header("x-forwarded-for", address).json(&body);
        let answer = call.send().await;
        statuses.push(answer.status);
        if answer.status == 429 {
            says_when(&answer);
            break;
        }
        answer.problem(401, "Incorrect username or password");
    }
    assert_eq!(statuses.last(), Some(&429), "no limit on one account");
    assert!(statuses.len() <= 101, "NIST allows at most 100 failures in a row: {}", statuses.len());
    // The account's own sessions go on, and so does everybody else.
    api.as_user(&user.token).await.expect(200);
    let other = json!({"username": unique("nobody"), "password": "not this one"});
    let call = api.post("/auth/login").header("x-forwarded-for", "192.0.2.200").json(&other);
    call.send().await.problem(401, "");
}

#[tokio::test]
async fn an_unknown_name_is_limited_like_a_known_one() {
    let stack = limited("1");
    let api = stack.api();
    let user = api.user().await;
    let mut counts = Vec::new();
    for (net, name) in [("10", user.username.clone()), ("11", unique("nobody"))] {
        let mut count = 0;
        while count < MANY {
            let body = json!({"username": name, "password": "not this one"});
            let address = format!("{net}.{}.{}.9", count / 250, count % 250);
            let call = api.post("/auth/login").header("x-forwarded-for", address).json(&body);
            if call.send().await.status == 429 {
                break;
            }
            count += 1;
        }
        counts.push(count);
    }
    // A limit that refills may let one more through while the loop runs.
    assert!(counts[0].abs_diff(counts[1]) <= 2, "known and unknown differ: {counts:?}");
}

#[tokio::test]
async fn without_limits_nobody_is_limited_and_the_log_warns_of_it() {
    let stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let api = stack.api();
    let user = api.user().await;
    for _ in 0..150 {
        let answer = api.log_in(&user.username, "not this one").await;
        answer.problem(401, "Incorrect username or password");
    }
    api.log_in(&user.username, PASSWORD).await.expect(200);
    assert!(stack.logs().iter().any(|line| line.contains("RATE_LIMIT")), "no warning at start");
}
