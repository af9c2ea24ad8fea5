//! Rate limits: they come, they say for how long, and nobody talks their way around them.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::{Answer, Api, Stack, poll, unique};
use futures_util::future::join_all;
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

/// Fails unless whoever makes these attempts has used them up: a new client has a hundred, and one comes back
/// each second, however slow the machine is.
async fn is_exhausted(who: &str, attempt: impl AsyncFn() -> Answer) {
    for _ in 0..50 {
        let answer = attempt().await;
        if answer.status == 429 {
            answer.problem(429, "");
            return;
        }
    }
    panic!("{who} is another client");
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
        is_exhausted(address, async || attempt(&api, address).await).await;
    }
    for header in ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"] {
        let wrong = async || {
            let body = json!({"username": unique("nobody"), "password": "not this one"});
            let call = api.post("/auth/login").header(header, "198.51.100.99").json(&body);
            call.send().await
        };
        is_exhausted(header, wrong).await;
    }
    // Whoever is in already stays in.
    api.as_user(&user.token).await.expect(200);
    let key = api.key(&user.token, "still works").await;
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn a_success_gives_an_address_nothing_back() {
    let stack = limited("1");
    let api = stack.api();
    let user = api.user().await;
    let own = json!({"username": user.username, "password": PASSWORD});
    let log_in = || api.post("/auth/login").header("x-forwarded-for", "203.0.113.7").json(&own);
    let mut guesses = 0;
    loop {
        if log_in().send().await.status == 429 || attempt(&api, "203.0.113.7").await.status == 429 {
            break;
        }
        guesses += 1;
        assert!(guesses < MANY, "no limit on an address that logs in to its own account meanwhile");
    }
    is_exhausted("who logs in meanwhile", async || log_in().send().await).await;
}

#[tokio::test]
async fn who_shares_an_address_with_guessers_can_still_change_a_password() {
    let stack = limited("1");
    let api = stack.api();
    let user = api.user().await;
    exhaust(&api, |_| "203.0.113.7".to_owned()).await;
    let body = json!({"current_password": PASSWORD, "new_password": "another quiet harbour"});
    let call = api.post("/auth/password").bearer(&user.token);
    call.header("x-forwarded-for", "203.0.113.7").json(&body).send().await.expect(200);
}

#[tokio::test]
async fn behind_one_trusted_proxy_the_last_address_counts() {
    let stack = limited("1");
    let api = stack.api();
    let answer = exhaust(&api, |number| format!("10.0.0.{}, 203.0.113.7", number % 250)).await;
    says_when(&answer);
    for same in ["203.0.113.7", "198.51.100.1, 203.0.113.7"] {
        is_exhausted(same, async || attempt(&api, same).await).await;
    }
    attempt(&api, "203.0.113.7, 198.51.100.1").await.problem(401, "");
}

/// All that proxies are known to write for one and the same client.
#[tokio::test]
async fn a_client_is_known_by_its_address_in_whatever_form_a_proxy_writes_it() {
    let stack = limited("1");
    let api = stack.api();
    says_when(&exhaust(&api, |number| format!("203.0.113.9:{}", 1024 + number)).await);
    for same in ["203.0.113.9", "\"203.0.113.9:1\"", "  203.0.113.9 ", "::ffff:203.0.113.9"] {
        is_exhausted(same, async || attempt(&api, same).await).await;
    }
    // Bytes that are no text do not hide what the proxy wrote behind them.
    is_exhausted("whoever sends bytes that are no text", async || {
        let body = json!({"username": unique("nobody"), "password": "not this one"});
        let forwarded: &[u8] = b"\xff\xfe, 203.0.113.9";
        api.post("/auth/login").header("x-forwarded-for", forwarded).json(&body).send().await
    })
    .await;
    // Everybody else goes on, also those whose address nobody can read.
    let others =
        ["198.51.100.1:99", "[2001:db8::1]:99", "2001:db8:9::1%eth0", "unknown", "_hidden"];
    for other in others {
        attempt(&api, other).await.problem(401, "");
    }
    let network = |number| format!("[2001:db8:7::{number:x}]:{}", 1024 + number);
    says_when(&exhaust(&api, network).await);
    let same = "2001:db8:7::ffff%1";
    is_exhausted(same, async || attempt(&api, same).await).await;
    attempt(&api, "2001:db8:8::1").await.problem(401, "");
    // What is no address is a client by its text, and a longer text too.
    says_when(&exhaust(&api, |_| "unknown".to_owned()).await);
    attempt(&api, "unknowable").await.problem(401, "");
    attempt(&api, &"x".repeat(5_000)).await.problem(401, "");
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

/// Bound on what is told soon.
const SOON: Duration = Duration::from_mins(1);
/// How many commands on a key that is not there are sent at the same time.
const AT_ONCE: usize = 64;

/// Whether one of many that are sent at the same time is one too many.
async fn is_limited(attempt: impl AsyncFn() -> Answer) -> bool {
    let answers = join_all((0..AT_ONCE).map(|_| attempt())).await;
    let limited = answers.iter().find(|answer| answer.status == 429);
    limited.inspect(|answer| says_when(answer)).is_some()
}

/// A user's changes of keys that are not there, until they are one too many.
#[expect(clippy::future_not_send, reason = "the test's own thread waits for it")]
async fn exhaust_changes(attempt: impl AsyncFn() -> Answer) {
    let mut attempts = 0;
    while !is_limited(&attempt).await {
        attempts += AT_ONCE;
        assert!(attempts < 100 * AT_ONCE, "{attempts} changes and no limit");
    }
    assert!(attempts >= 1_000 - AT_ONCE, "a limit after {attempts} changes");
}

#[tokio::test]
async fn who_changes_keys_again_and_again_hits_a_limit_and_what_keys_do_is_counted_apart() {
    let stack = limited("0");
    let api = stack.api();
    let (user, other) = (api.user().await, api.user().await);
    let body = json!({"name": "manages", "scopes": ["latchkey:keys:write"]});
    // What users may grant is told to the key service soon after a first start.
    poll::until_async("keys manage keys", SOON, async || {
        let made = api.make_key(&other.token, &body).await.status;
        (made == 201).then_some(())
    })
    .await;
    let manages = api.make_key(&user.token, &body).await.expect(201)["key"].clone();
    let manages = manages.as_str().expect("a key");
    let (first, second) = (api.key(&user.token, "a").await, api.key(&user.token, "b").await);
    let missing = first.id + 1_000_000_000;
    exhaust_changes(async || {
        api.post(&format!("/keys/{missing}/disable")).api_key(manages).send().await
    })
    .await;
    // The user is hindered by nothing that a key of theirs has done.
    api.revoke(&user.token, first.id).await.expect(200);
    let name = json!({"name": "c"});
    let call = || api.call("PATCH", &format!("/keys/{}", second.id));
    exhaust_changes(async || {
        api.post(&format!("/keys/{missing}/enable")).bearer(&user.token).send().await
    })
    .await;
    let path = format!("/keys/{missing}");
    let (revoke, purge) = (format!("{path}/revoke"), format!("{path}?purge=true"));
    for (method, path) in
        [("PATCH", &path), ("POST", &revoke), ("DELETE", &path), ("DELETE", &purge)]
    {
        let attempt = async || {
            let call = api.call(method, path).bearer(&user.token);
            if method == "PATCH" { call.json(&name).send().await } else { call.send().await }
        };
        assert!(is_limited(attempt).await, "{method} {path}");
    }
    // Nobody else is, and nothing that is only read.
    call().bearer(&other.token).json(&name).send().await.problem(404, "");
    api.get("/keys").bearer(&user.token).send().await.expect(200);
    api.as_service(&second.key).await.expect(200);
}

#[tokio::test]
async fn keys_that_are_made_together_count_each() {
    let stack = limited("0");
    let api = stack.api();
    let user = api.user().await;
    let keys: Vec<_> = (0..90).map(|n| json!({"name": format!("{n}"), "scopes": []})).collect();
    let bulk = json!({"keys": keys});
    let make = || api.post("/keys/bulk").bearer(&user.token).json(&bulk).send();
    make().await.expect(201);
    // Ten are left, and one more comes each second.
    let refused = make().await;
    refused.problem(429, "");
    says_when(&refused);
    let list = api.get("/keys?limit=1000").bearer(&user.token).send().await.expect(200);
    assert_eq!(list.as_array().map(Vec::len), Some(90));
    api.key(&user.token, "one more").await;
}
