//! Time runs out for tokens, keys and throttles: the whole system in this process, on a clock that the test moves.

use e2e::account::PASSWORD;
use e2e::{Api, Folder, SECRET, unique};
use latchkey_runtime::{Clock, Entropy, Environment, Resource, Stop};
use latchkey_service::{Process, Running, Service};
use latchkey_standalone::{Config, Standalone};
use serde_json::json;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

/// The system while the test runs.
struct Here {
    api: Api,
    clock: Clock,
    stop: Stop,
    serving: tokio::task::JoinHandle<()>,
    _folder: Folder,
}

impl Here {
    async fn start(more: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let database = format!("sqlite://{}", folder.join("latchkey.db").display());
        let basic = [
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("DATABASE_URL", &database),
            ("SECRET_KEY", SECRET),
            ("ARGON2_MEMORY_KIB", "8192"),
            ("ARGON2_ITERATIONS", "1"),
        ];
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = Environment::of(basic.iter().chain(more).map(owned));
        let config = Config::read(&environment).unwrap();
        let clock = Clock::manual(START);
        let standalone = Standalone::new(config, clock.clone(), Entropy::System).unwrap();
        let (needs, opened) = standalone.open().await.unwrap();
        let system = Standalone::start(opened, needs.clone()).await.unwrap();
        let (api, stop) = (Api::new(system.url()), Stop::new());
        let process = Process::inside(Standalone::NAME, stop.clone());
        let serving = tokio::spawn(async move {
            system.serve(&process).await.unwrap();
            needs.close().await;
        });
        Self { api, clock, stop, serving, _folder: folder }
    }

    async fn stop(self) {
        self.stop.ask();
        self.serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_token_is_good_to_the_last_second_and_not_beyond() {
    let here = Here::start(&[("RATE_LIMIT", "off"), ("ACCESS_TOKEN_EXPIRE_MINUTES", "30")]).await;
    let user = here.api.user().await;
    here.clock.advance(30 * MINUTE - SECOND);
    here.api.as_user(&user.token).await.expect(200);
    here.clock.advance(SECOND);
    here.api.as_user(&user.token).await.unauthenticated();
    here.api.get("/keys").bearer(&user.token).send().await.unauthenticated();
    let again = here.api.token(&user.username, PASSWORD).await;
    here.api.as_user(&again).await.expect(200);
    here.stop().await;
}

#[tokio::test]
async fn a_key_is_good_to_the_last_second_and_not_beyond() {
    let here = Here::start(&[("RATE_LIMIT", "off"), ("API_KEY_EXPIRE_DAYS", "7")]).await;
    let user = here.api.user().await;
    let week = here.api.key(&user.token, "as configured").await;
    let body = json!({"name": "a day", "expires_in_days": 1});
    let made = here.api.post("/keys/create").bearer(&user.token).json(&body).send().await;
    let day = made.expect(201)["key"].as_str().unwrap().to_owned();
    here.clock.advance(DAY - SECOND);
    here.api.as_service(&day).await.expect(200);
    here.clock.advance(SECOND);
    here.api.as_service(&day).await.unauthenticated();
    here.api.as_service(&week.key).await.expect(200);
    here.clock.advance(6 * DAY);
    here.api.as_service(&week.key).await.unauthenticated();
    // What has expired is still listed, and not as revoked.
    let token = here.api.token(&user.username, PASSWORD).await;
    let list = here.api.get("/keys").bearer(&token).send().await.expect(200);
    let revoked: Vec<_> = list.as_array().unwrap().iter().map(|key| &key["is_revoked"]).collect();
    assert_eq!(revoked, [&json!(false), &json!(false)], "{list}");
    here.stop().await;
}

#[tokio::test]
async fn failed_logins_make_the_next_one_wait_and_a_success_forgets_them() {
    let here = Here::start(&[("RATE_LIMIT", "on")]).await;
    let user = here.api.user().await;
    let wrong = || here.api.log_in(&user.username, "not this one");
    for _ in 0..10 {
        wrong().await.problem(401, "Incorrect username or password");
    }
    // The eleventh waits a second, whatever the password, and so does a name that nobody has.
    wrong().await.problem(429, "");
    let refused = here.api.log_in(&user.username, PASSWORD).await;
    refused.problem(429, "");
    assert_eq!(refused.header("retry-after"), "1");
    here.clock.advance(SECOND);
    here.api.log_in(&user.username, PASSWORD).await.expect(200);
    for _ in 0..10 {
        wrong().await.problem(401, "Incorrect username or password");
    }
    here.clock.advance(SECOND);
    wrong().await.problem(401, "Incorrect username or password");
    let refused = wrong().await;
    refused.problem(429, "");
    assert_eq!(refused.header("retry-after"), "2");
    let nobody = unique("nobody");
    here.api.log_in(&nobody, "not this one").await.problem(401, "Incorrect username or password");
    here.stop().await;
}

#[tokio::test]
async fn a_hundred_wrong_passwords_leave_strangers_one_try_a_day_and_a_known_client_all_of_its_own()
{
    let here = Here::start(&[("RATE_LIMIT", "on"), ("TRUSTED_PROXIES", "1")]).await;
    let user = here.api.user().await;
    let from = async |address: &str, password: &str| {
        let body = json!({"username": user.username, "password": password});
        here.api.post("/auth/login").header("x-forwarded-for", address).json(&body).send().await
    };
    let (home, wrong) = ("198.51.100.7", "not this one");
    from(home, PASSWORD).await.expect(200);
    for failures in 1..=100 {
        // Each from elsewhere, as soon as a guess is looked at.
        let wait = match failures {
            1..=10 => 0,
            11..=20 => SECOND << (failures - 11),
            _ => 15 * MINUTE,
        };
        here.clock.advance(wait);
        from(&format!("10.0.0.{failures}"), wrong).await.problem(401, "");
    }
    for _ in 0..3 {
        let refused = from("10.0.1.1", wrong).await;
        refused.problem(429, "");
        assert_eq!(refused.header("retry-after"), "86400");
        from(home, PASSWORD).await.expect(200);
        here.clock.advance(DAY - SECOND);
        from("10.0.1.2", wrong).await.problem(429, "");
        here.clock.advance(SECOND);
        from("10.0.1.3", wrong).await.problem(401, "");
    }
    // The one try is anybody's, also the owner's from elsewhere.
    here.clock.advance(DAY);
    from("203.0.113.80", PASSWORD).await.expect(200);
    from("10.0.1.4", wrong).await.problem(401, "");
    here.stop().await;
}

#[tokio::test]
async fn a_client_that_stays_away_for_long_is_a_stranger_again() {
    let here = Here::start(&[("RATE_LIMIT", "on"), ("TRUSTED_PROXIES", "1")]).await;
    let user = here.api.user().await;
    let from = async |address: &str, password: &str| {
        let body = json!({"username": user.username, "password": password});
        here.api.post("/auth/login").header("x-forwarded-for", address).json(&body).send().await
    };
    let home = "198.51.100.7";
    for (away, status) in [(0, 200), (89 * DAY, 200), (90 * DAY, 200), (90 * DAY + SECOND, 429)] {
        here.clock.advance(away);
        while from("10.0.0.1", "not this one").await.status != 429 {}
        assert_eq!(from(home, PASSWORD).await.status, if away == 0 { 429 } else { status });
        if away == 0 {
            here.clock.advance(SECOND);
            from(home, PASSWORD).await.expect(200);
        }
    }
    here.stop().await;
}
