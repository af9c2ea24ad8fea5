//! Guessing passwords: tries at the same time count, and nobody locks anybody else out.

use std::time::Duration;

use e2e::account::{PASSWORD, made};
use e2e::{Answer, Api, Cluster, Service, Stack, database, poll, unique};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Wrong passwords of one name that are looked at before the next one has to wait.
const FREE: usize = 10;
/// Bound on a budget that is to be spent.
const SOON: Duration = Duration::from_mins(1);
/// From where the owner of an account logs in.
const HOME: &str = "198.51.100.7";

/// A system behind one proxy, with limits on. Each of a cluster's services has several replicas.
fn limited() -> Stack {
    Stack::with(|config| {
        config.cheap_passwords().set("RATE_LIMIT", "on").set("TRUSTED_PROXIES", "1");
    })
}

/// An address for each number, in networks of its own.
fn elsewhere(number: usize) -> String {
    format!("10.{}.{}.9", number / 250, number % 250)
}

async fn log_in_from(api: &Api, address: &str, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password});
    api.post("/auth/login").header("x-forwarded-for", address).json(&body).send().await
}

/// The same with the right password, once there is room.
async fn logged_in(api: &Api, address: &str, username: &str, password: &str) -> Value {
    made(200, || log_in_from(api, address, username, password)).await
}

/// So many logins at the same time, each from where `address` says.
async fn at_once(
    api: &Api,
    count: usize,
    (username, password): (&str, &str),
    address: impl Fn(usize) -> String,
) -> Vec<Answer> {
    let logins = (0..count).map(|number| {
        let (api, address) = (api.clone(), address(number));
        let (username, password) = (username.to_owned(), password.to_owned());
        tokio::spawn(async move { log_in_from(&api, &address, &username, &password).await })
    });
    let mut answers = Vec::new();
    for login in logins.collect::<Vec<_>>() {
        answers.push(login.await.unwrap());
    }
    answers
}

/// No more were told 401 than a budget has since `begun`, and no fewer unless there was no room; all others were told
/// when to come again.
#[track_caller]
fn counted(answers: &[Answer], begun: Instant) {
    let (checked, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 401);
    let unavailable = refused.iter().filter(|answer| answer.status == 503).count();
    for answer in refused {
        answer.problem(if answer.status == 503 { 503 } else { 429 }, "");
        let wait: u64 = answer.header("retry-after").parse().expect("whole seconds");
        assert!(wait >= 1, "{wait}");
    }
    // On a slow machine the first waits, of 1, 2, 4 s and so on, are over before the last login has arrived.
    let (waited, checked) = (begun.elapsed().as_secs(), checked.len());
    let more = (1..u64::BITS).take_while(|waits| (1_u64 << waits) - 1 <= waited).count();
    assert!(checked <= FREE + more, "{checked} in {waited} s");
    assert!(checked + unavailable >= FREE, "{checked}, and {unavailable} without room");
}

/// Guesses from there until it has to wait: where there was no room, some of the budget may be left.
async fn spend(api: &Api, address: &str, username: &str) {
    let guess = async || {
        let answer = log_in_from(api, address, username, "not this one").await;
        assert!([401, 429, 503].contains(&answer.status), "{}", answer.text());
        (answer.status == 429).then_some(())
    };
    poll::until_async("the budget is spent", SOON, guess).await;
}

/// Lets nobody whose budget is spent try again for an hour, however slow the machine is.
async fn hold(stack: &Stack) {
    let statement = "UPDATE login_failures SET last_failure_at = last_failure_at + 3600000 \
        WHERE failures >= CAST($1 AS BIGINT)";
    let url = stack.database(Service::Identity);
    assert!(database::execute(&url, statement, &FREE.to_string()).await > 0);
}

/// Has strangers guess until they have to wait, for an hour.
async fn exhaust_strangers(stack: &Stack, api: &Api, username: &str) {
    let begun = Instant::now();
    let wrong = at_once(api, 2 * FREE, (username, "not this one"), |n| elsewhere(1_000 + n)).await;
    counted(&wrong, begun);
    spend(api, &elsewhere(1_000), username).await;
    hold(stack).await;
}

/// A user who has logged in from home; the token of that login.
async fn at_home(api: &Api) -> (e2e::account::User, String) {
    let user = api.user().await;
    let body = logged_in(api, HOME, &user.username, PASSWORD).await;
    (user, body["access_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn wrong_passwords_at_the_same_time_are_counted() {
    let stack = limited();
    let api = stack.api();
    let user = api.user().await;
    for name in [user.username.clone(), unique("nobody")] {
        let begun = Instant::now();
        let answers = at_once(&api, 60, (&name, "not this one"), elsewhere).await;
        counted(&answers, begun);
    }
    api.as_user(&user.token).await.expect(200);
}

#[tokio::test]
async fn replicas_and_edges_count_together() {
    let cluster = Cluster::builder()
        .replicas(Service::Identity, 3)
        .replicas(Service::Edge, 3)
        .set("ARGON2_MEMORY_KIB", "8192")
        .set("ARGON2_ITERATIONS", "1")
        .set("RATE_LIMIT", "on")
        .set("TRUSTED_PROXIES", "1")
        .start();
    let api = Api::over(cluster.edges());
    let (user, _) = at_home(&api).await;
    let begun = Instant::now();
    let wrong = at_once(&api, 60, (&user.username, "not this one"), elsewhere).await;
    counted(&wrong, begun);
    // So they do for a client that is known.
    let begun = Instant::now();
    let wrong = at_once(&api, 60, (&user.username, "not this one"), |_| HOME.to_owned()).await;
    counted(&wrong, begun);
}

#[tokio::test]
async fn right_passwords_at_the_same_time_are_not_guesses() {
    let stack = limited();
    let api = stack.api();
    let user = api.user().await;
    let right = (user.username.as_str(), PASSWORD);
    for turn in 0..3 {
        // From nowhere that is known, and from one place, as a farm of builds does.
        let from = |number| elsewhere(turn * 100 + number);
        let mut answers = at_once(&api, 20, right, from).await;
        answers.extend(at_once(&api, 20, right, |_| HOME.to_owned()).await);
        for (number, answer) in answers.iter().enumerate() {
            if answer.status == 503 {
                // There was no room: it comes again.
                let address = if number < 20 { from(number) } else { HOME.to_owned() };
                logged_in(&api, &address, &user.username, PASSWORD).await;
            } else {
                answer.expect(200);
            }
        }
    }
    // None of them was counted.
    let begun = Instant::now();
    let wrong = at_once(&api, 20, (&user.username, "not this one"), |n| elsewhere(999 - n)).await;
    counted(&wrong, begun);
}

#[tokio::test]
async fn strangers_do_not_lock_a_known_client_out() {
    let stack = limited();
    let api = stack.api();
    let (user, token) = at_home(&api).await;
    let key = api.key(&token, "goes on").await;
    exhaust_strangers(&stack, &api, &user.username).await;

    log_in_from(&api, "203.0.113.80", &user.username, PASSWORD).await.problem(429, "");
    for _ in 0..3 {
        logged_in(&api, HOME, &user.username, PASSWORD).await;
        // What the owner does gives strangers nothing.
        log_in_from(&api, &elsewhere(7), &user.username, "not this one").await.problem(429, "");
    }
    // A neighbour is a stranger.
    log_in_from(&api, "198.51.100.8", &user.username, PASSWORD).await.problem(429, "");
    api.as_user(&token).await.expect(200);
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn a_known_network_of_ipv6_is_a_client() {
    let stack = limited();
    let api = stack.api();
    let user = api.user().await;
    logged_in(&api, "2001:db8:1:2::5", &user.username, PASSWORD).await;
    exhaust_strangers(&stack, &api, &user.username).await;
    logged_in(&api, "2001:db8:1:2:ffff::6", &user.username, PASSWORD).await;
    log_in_from(&api, "2001:db8:1:3::5", &user.username, PASSWORD).await.problem(429, "");
}

#[tokio::test]
async fn a_known_client_has_no_more_guesses_than_strangers() {
    let stack = limited();
    let api = stack.api();
    let (user, token) = at_home(&api).await;
    let begun = Instant::now();
    let wrong = at_once(&api, 40, (&user.username, "not this one"), |_| HOME.to_owned()).await;
    counted(&wrong, begun);
    spend(&api, HOME, &user.username).await;
    hold(&stack).await;
    log_in_from(&api, HOME, &user.username, PASSWORD).await.problem(429, "");
    // The others' budget is not touched.
    logged_in(&api, &elsewhere(1), &user.username, PASSWORD).await;
    api.as_user(&token).await.expect(200);
}

#[tokio::test]
async fn whoever_logs_in_to_an_account_of_their_own_stays_a_stranger_to_others() {
    let stack = limited();
    let api = stack.api();
    let (victim, _) = at_home(&api).await;
    let attacker = api.user().await;
    let (own, theirs) = ("192.0.2.66", &victim.username);
    for _ in 0..FREE {
        logged_in(&api, own, &attacker.username, PASSWORD).await;
        log_in_from(&api, own, theirs, "not this one").await.problem(401, "");
    }
    hold(&stack).await;
    logged_in(&api, own, &attacker.username, PASSWORD).await;
    log_in_from(&api, own, theirs, "not this one").await.problem(429, "");
    log_in_from(&api, &elsewhere(1), theirs, PASSWORD).await.problem(429, "");
    logged_in(&api, HOME, theirs, PASSWORD).await;
}

#[tokio::test]
async fn a_client_whose_address_no_proxy_has_told_is_a_stranger() {
    let stack = limited();
    let api = stack.api();
    // Logged in without the header: the address is the proxy's, and everybody's.
    let user = api.user().await;
    exhaust_strangers(&stack, &api, &user.username).await;
    api.log_in(&user.username, PASSWORD).await.problem(429, "");
}

#[tokio::test]
async fn a_session_changes_its_password_whatever_strangers_do() {
    let stack = limited();
    let api = stack.api();
    let (user, token) = at_home(&api).await;
    let change = async |token: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        api.post("/auth/password").bearer(token).json(&body).send().await
    };
    exhaust_strangers(&stack, &api, &user.username).await;
    change(&token, PASSWORD, "another quiet harbour").await.expect(200);
    // Nor does whoever guesses with a session spend what logins have, or another session.
    for _ in 0..FREE {
        change(&token, "not this one", "a third quiet harbour").await.problem(401, "");
    }
    hold(&stack).await;
    change(&token, "another quiet harbour", "a third quiet harbour").await.problem(429, "");
    let again = logged_in(&api, HOME, &user.username, "another quiet harbour").await;
    let again = again["access_token"].as_str().unwrap();
    change(again, "another quiet harbour", "a third quiet harbour").await.expect(200);
}

#[tokio::test]
async fn wrong_current_passwords_at_the_same_time_are_counted() {
    let stack = limited();
    let api = stack.api();
    let (user, begun) = (api.user().await, Instant::now());
    let changes = (0..40).map(|number| {
        let (api, token) = (api.clone(), user.token.clone());
        let body =
            json!({"current_password": "not this one", "new_password": "another quiet harbour"});
        tokio::spawn(async move {
            let call = api.post("/auth/password").bearer(&token);
            call.header("x-forwarded-for", elsewhere(number)).json(&body).send().await
        })
    });
    let mut answers = Vec::new();
    for change in changes.collect::<Vec<_>>() {
        answers.push(change.await.unwrap());
    }
    counted(&answers, begun);
    logged_in(&api, &elsewhere(1), &user.username, PASSWORD).await;
}
