//! Logins: how many beside argon2 alone, what they leave for everybody else, and what their time tells.

use std::time::{Duration, Instant};

use argon2::{Argon2, Block, Params};
use e2e::account::PASSWORD;
use e2e::{Api, Stack, unique};
use latchkey_runtime::Entropy;
use tokio::task::JoinSet;

use crate::load::{Target, get, quantile};
use crate::say;

const LOGINS: Duration = Duration::from_secs(5);
/// What passes before logins are counted.
const WARM_UP: Duration = Duration::from_secs(2);
const LOGIN_CONNECTIONS: usize = 64;
/// Connections that log in when everything is to be full: more than the queue takes.
const STORM_CONNECTIONS: usize = 128;
/// Connections that verify a key meanwhile.
const QUIET_CONNECTIONS: usize = 8;
/// Wrong logins of each kind, one after the other in turn.
const SAMPLES: usize = 1_000;
/// The same after the settings of hashes were changed.
const SAMPLES_AFTER: usize = 2_000;

/// Prints the figures.
pub async fn figures() {
    say("\n## Logins");
    let stack = Stack::start();
    let api = stack.api();
    let user = api.user().await;
    let (mut ours, mut alone) = (0.0, 0.0);
    for _ in 0..2 {
        alone += argon2_alone() / 2.0;
        ours += logins(&api, &user.username, LOGIN_CONNECTIONS).await / 2.0;
    }
    let ratio = ours / alone;
    say(&format!("logins/s {ours:.1}, argon2 alone/s {alone:.1}, ratio {ratio:.2}"));
    storm(&stack, &api, &user).await;
    timing(&api, &user.username, SAMPLES).await;
    dummy().await;
}

/// The same after a change of settings, for an account that has not logged in since.
pub async fn dummy() {
    let mut stack = Stack::with(|config| {
        config.set("ARGON2_MEMORY_KIB", "8192").set("ARGON2_ITERATIONS", "1");
    });
    let user = stack.api().user().await;
    stack.restart_with(|config| {
        config.unset("ARGON2_MEMORY_KIB").unset("ARGON2_ITERATIONS");
    });
    say("After ARGON2 settings were raised, an account from before:");
    timing(&stack.api(), &user.username, SAMPLES_AFTER).await;
}

/// Verified requests while the queue of logins is full.
async fn storm(stack: &Stack, api: &Api, user: &e2e::User) {
    let key = api.key(&user.token, "quiet").await;
    let target = Target {
        pids: vec![stack.embedded().unwrap().pid],
        addresses: vec![stack.url().trim_start_matches("http://").to_owned()],
        requests: get("/protected/service", &format!("x-api-key: {}", key.key)),
        connections: QUIET_CONNECTIONS,
    };
    let quiet = target.measure().await;
    let (storm_api, name) = (api.clone(), user.username.clone());
    let storm = tokio::spawn(async move { logins(&storm_api, &name, STORM_CONNECTIONS).await });
    let loud = target.measure().await;
    let rate = storm.await.unwrap();
    let factor = loud.p99_us / quiet.p99_us;
    say(&format!(
        "p99 of a verified request: quiet {:.0} µs, in a storm of logins ({rate:.1}/s got through) {:.0} µs, \
         factor {factor:.1}, {} not answered well",
        quiet.p99_us, loud.p99_us, loud.other
    ));
}

/// Whether the time of a refusal tells if there is such a user: Welch's t over interleaved samples.
async fn timing(api: &Api, username: &str, samples: usize) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let nobody = unique("nobody");
    for _ in 0..samples {
        // In an order that nobody knows: in a fixed one each kind would have a password worker to itself.
        let mut pair = [(username, &mut known), (nobody.as_str(), &mut unknown)];
        if Entropy::System.bytes::<1>()[0].is_multiple_of(2) {
            pair.reverse();
        }
        for (name, times) in pair {
            let began = Instant::now();
            let answer = api.log_in(name, "not this one").await;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            assert_eq!(answer.status, 401);
        }
    }
    let t = welch_t(&without_outliers(known.clone()), &without_outliers(unknown.clone()));
    known.sort_by(f64::total_cmp);
    unknown.sort_by(f64::total_cmp);
    say(&format!(
        "refused logins, {samples} of each in turn: a user's median {:.0} µs, nobody's {:.0} µs, Welch's |t| {:.2} \
         (below 4.5: not to be told apart)",
        quantile(&known, 0.5),
        quantile(&unknown, 0.5),
        t.abs()
    ));
}

/// The values up to the 95th percentile: a pause of the machine is no property of a login.
fn without_outliers(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values.truncate(values.len() * 95 / 100);
    values
}

fn welch_t(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let squared_error = |values: &[f64]| {
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        squares / (values.len() as f64 - 1.0) / values.len() as f64
    };
    (mean(a) - mean(b)) / (squared_error(a) + squared_error(b)).sqrt()
}

/// Hashes a second on every core, with nothing around them, in memory that is kept.
fn argon2_alone() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let hash_until = || {
        let mut count = 0_u32;
        let mut out = [0; 32];
        let mut memory = vec![Block::new(); Params::DEFAULT.block_count()];
        let argon2 = Argon2::default();
        while began.elapsed() < LOGINS {
            let salt = b"sixteen bytes ok";
            let password = PASSWORD.as_bytes();
            argon2.hash_password_into_with_memory(password, salt, &mut out, &mut memory).unwrap();
            count += 1;
        }
        count
    };
    let total: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(hash_until)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    f64::from(total) / began.elapsed().as_secs_f64()
}

/// Good logins a second at saturation. What is counted begins when everybody has been there for a while: password
/// workers look first whether the machine is calm enough for all of them.
async fn logins(api: &Api, username: &str, connections: usize) -> f64 {
    let begin = Instant::now() + WARM_UP;
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (api, name) = (api.clone(), username.to_owned());
        clients.spawn(async move {
            let mut good = 0_u32;
            while Instant::now() < begin + LOGINS {
                let is_good = api.log_in(&name, PASSWORD).await.status == 200;
                good += u32::from(is_good && Instant::now() >= begin);
            }
            good
        });
    }
    let good: u32 = clients.join_all().await.into_iter().sum();
    f64::from(good) / begin.elapsed().as_secs_f64()
}
