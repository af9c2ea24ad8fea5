//! Every change of an account under births and late commands, thousands a minute, inside this process: the
//! real services on a bus that loses, delays, doubles and reorders. `make miniature` runs it for longer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::miniature::{Engine, Miniature};
use e2e::stories::front::Front;
use e2e::stories::{self, Pace, Told};

/// Repeats a run.
const SEED: &str = "MINIATURE_SEED";
/// Tells one story of it alone, again and again.
const STORY: &str = "MINIATURE_STORY";
/// How long the run takes, in seconds.
const SECONDS: &str = "MINIATURE_SECONDS";
/// What it takes if nothing is said.
const SHORT: u64 = 12;
/// Users at the same time.
const USERS: &str = "MINIATURE_USERS";
/// If nothing is said: as many as this one thread gets done.
const AT_ONCE: usize = if cfg!(debug_assertions) { 10 } else { 60 };
const PACE: Pace = Pace { clients: 3, acts: 12, rest: Duration::from_millis(2) };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
    })
}

#[expect(clippy::print_stdout, reason = "seen where a run fails, and in `make miniature`")]
fn print(engine: Engine, seed: u64, time: Duration, told: &Told, messages: &[(&str, usize)]) {
    println!("{SEED}={seed}, {engine:?}");
    println!("| | |\n|---|---|");
    let per_minute = told.answered() as u128 * 60_000 / time.as_millis().max(1);
    println!("| changes answered | {} |\n| of these a minute | {per_minute} |", told.answered());
    for (name, count) in told.rows() {
        println!("| {name} | {count} |");
    }
    for (name, count) in messages {
        println!("| {name} | {count} |");
    }
}

async fn run(engine: Engine) {
    let seed = seed();
    let time = Duration::from_secs(number(SECONDS).unwrap_or(SHORT));
    let front = Arc::new(Front::Miniature(Box::new(Miniature::start(seed, engine).await)));
    let begin = Instant::now();
    let story = number(STORY);
    let enough = |_: &Told| begin.elapsed() >= time;
    let numbers = (story.unwrap_or(0), story.is_some());
    let users = number(USERS).map_or(AT_ONCE, |users| usize::try_from(users).unwrap());
    let told = stories::run(&front, seed, (users, PACE), numbers, enough).await;
    let Some(Front::Miniature(miniature)) = Arc::into_inner(front) else { panic!("it is used") };
    let messages = miniature.messages();
    miniature.stop().await;
    print(engine, seed, begin.elapsed(), &told, &messages);
    let (shown, count) = (told.shown().join("\n"), told.findings.len());
    assert!(
        shown.is_empty(),
        "{SEED}={seed} and a story's number in {STORY}: {count} findings\n{shown}"
    );
    assert!(told.answered() > 0 && told.births > 0 && told.uses > 0, "{told:?}");
}

#[tokio::test]
async fn no_change_is_outlived_undone_or_widened_on_sqlite() {
    run(Engine::Sqlite).await;
}

#[tokio::test]
async fn no_change_is_outlived_undone_or_widened_on_postgres() {
    run(Engine::Postgres).await;
}
