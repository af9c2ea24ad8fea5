//! Ten times as many clients as can be served, who repeat at once whatever is refused: what still gets
//! through, what everybody else notices, what it takes of memory, and what is left of it afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::account::PASSWORD;
use e2e::{Stack, User, unique};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::{get_text, post, quantile, read_answer};
use crate::proc::{cpu_seconds, peak_mib, resident_mib};
use crate::say;

/// Clients that are as many as can be served.
const USUAL: usize = 64;
/// Clients that are ten times as many.
const MANY: usize = 640;
/// How long each part takes.
const PART: Duration = Duration::from_secs(8);
/// What passes between the end of a storm and the next look.
const AFTER: Duration = Duration::from_secs(5);
/// Connections that verify a key meanwhile, each once in so long: a fifth of a core at most.
const VERIFIERS: usize = 8;
const VERIFY_PAUSE: Duration = Duration::from_millis(10);
/// Keys of the list that is asked for.
const LISTED: usize = 20;

/// What a client sends, by its number and the number of its request.
type Asking = Arc<dyn Fn(usize, usize) -> String + Send + Sync>;

/// One kind of request.
struct Kind {
    name: &'static str,
    ask: Asking,
    /// How a good answer begins.
    good: &'static str,
}

/// What came of one part.
struct Part {
    good: f64,
    other: f64,
    p99_us: f64,
    unverified: usize,
    cpu: f64,
}

struct Bench {
    stack: Stack,
    verify: String,
}

/// Prints the figures.
pub async fn figures() {
    say(&format!(
        "\n## Overload, standalone: {USUAL} clients, then {MANY} that repeat at once, then {USUAL} again {} s later",
        AFTER.as_secs()
    ));
    say(
        "what        clients  good/s   of quiet  other/s  cores  p99 of a verified request  factor  not verified",
    );
    let stack = Stack::with(|config| {
        config.set("API_KEYS_PER_OWNER", "off");
    });
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "quiet").await.key;
    for _ in 1..LISTED {
        api.key(&user.token, "listed").await;
    }
    let idle = resident_mib(stack.embedded().unwrap().pid);
    let verify = get_text("/protected/service", &format!("x-api-key: {key}"));
    let bench = Bench { stack, verify };
    let mut height: f64 = 0.0;
    for kind in kinds(&user, &key) {
        height = height.max(bench.kind(&kind).await);
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    let after = resident_mib(bench.stack.embedded().unwrap().pid);
    say(&format!(
        "memory: {idle:.1} MiB idle, {height:.1} at the height, {after:.1} a minute later"
    ));
}

/// The first is no overload of ours: what so many connections alone cost.
fn kinds(user: &User, key: &str) -> Vec<Kind> {
    let token = format!("authorization: Bearer {}", user.token);
    let login = json!({"username": user.username, "password": PASSWORD}).to_string();
    let login = post("/auth/login", "x-none: 1", &login)[0].clone();
    let create = post("/keys/create", &token, &json!({"name": "bench"}).to_string())[0].clone();
    let list = get_text(&format!("/keys?limit={LISTED}"), &token);
    let sign_up = |_, _| {
        let name = unique("storm");
        let body =
            json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        post("/auth/signup", "x-none: 1", &body.to_string())[0].clone()
    };
    let unknown = |_, _| {
        let key = e2e::forge::key();
        get_text("/protected/service", &format!("x-api-key: {}", key.expose()))
    };
    let ok = "HTTP/1.1 2";
    let known = get_text("/protected/service", &format!("x-api-key: {key}"));
    vec![
        Kind { name: "remembered", ask: Arc::new(move |_, _| known.clone()), good: ok },
        Kind { name: "logins", ask: Arc::new(move |_, _| login.clone()), good: ok },
        Kind { name: "signups", ask: Arc::new(sign_up), good: ok },
        Kind { name: "unknown", ask: Arc::new(unknown), good: "HTTP/1.1 401" },
        Kind { name: "new keys", ask: Arc::new(move |_, _| create.clone()), good: ok },
        Kind { name: "lists", ask: Arc::new(move |_, _| list.clone()), good: ok },
    ]
}

impl Bench {
    /// Prints what one kind of storm does; the most memory that was seen.
    async fn kind(&self, kind: &Kind) -> f64 {
        let still = self.part(None, 0).await;
        let quiet = self.part(Some(kind), USUAL).await;
        let storm = self.part(Some(kind), MANY).await;
        let height = peak_mib(self.stack.embedded().unwrap().pid);
        tokio::time::sleep(AFTER).await;
        let after = self.part(Some(kind), USUAL).await;
        still.row(kind.name, 0, &quiet, &still);
        quiet.row(kind.name, USUAL, &quiet, &still);
        storm.row(kind.name, MANY, &quiet, &still);
        after.row(kind.name, USUAL, &quiet, &still);
        height
    }

    async fn part(&self, kind: Option<&Kind>, clients: usize) -> Part {
        let pid = self.stack.embedded().unwrap().pid;
        let address = self.stack.url().trim_start_matches("http://").to_owned();
        let over = Arc::new(AtomicBool::new(false));
        let mut storm = JoinSet::new();
        for number in 0..clients {
            let (address, over) = (address.clone(), Arc::clone(&over));
            let (ask, good) = kind.map(|kind| (Arc::clone(&kind.ask), kind.good)).unwrap();
            storm.spawn(async move { client(&address, number, &ask, good, &over).await });
        }
        // What is counted begins when everybody is there.
        tokio::time::sleep(PART / 8).await;
        let (began, spent) = (Instant::now(), cpu_seconds(pid));
        let mut verifiers = JoinSet::new();
        for _ in 0..VERIFIERS {
            let (address, request, over) =
                (address.clone(), self.verify.clone(), Arc::clone(&over));
            verifiers.spawn(async move { verifier(&address, &request, &over).await });
        }
        tokio::time::sleep(PART).await;
        over.store(true, Ordering::SeqCst);
        let (took, spent) = (began.elapsed().as_secs_f64(), cpu_seconds(pid) - spent);
        let verified = verifiers.join_all().await;
        let (mut good, mut other) = (0, 0);
        for times in storm.join_all().await {
            for (at, is_good) in times {
                match (at >= began, is_good) {
                    (true, true) => good += 1,
                    (true, false) => other += 1,
                    _ => {}
                }
            }
        }
        let unverified = verified.iter().map(|(_, other)| other).sum();
        let mut times: Vec<f64> = verified.into_iter().flat_map(|(times, _)| times).collect();
        times.sort_by(f64::total_cmp);
        Part {
            good: f64::from(good) / took,
            other: f64::from(other) / took,
            p99_us: quantile(&times, 0.99),
            unverified,
            cpu: spent / took,
        }
    }
}

impl Part {
    fn row(&self, name: &str, clients: usize, quiet: &Self, still: &Self) {
        let Self { good, other, p99_us, unverified, cpu } = self;
        say(&format!(
            "{name:<11} {clients:>7} {good:>7.1} {:>9.2} {other:>9.1} {cpu:>6.2} {p99_us:>15.0} µs {:>15.1} {unverified:>8}",
            good / quiet.good,
            p99_us / still.p99_us
        ));
    }
}

/// Sends without a pause until it is over; when each answer came, and whether it was good.
async fn client(
    address: &str,
    number: usize,
    ask: &Asking,
    good: &str,
    over: &AtomicBool,
) -> Vec<(Instant, bool)> {
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 32_768]);
    while !over.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        stream.set_nodelay(true).unwrap();
        while !over.load(Ordering::SeqCst) {
            let request = ask(number, answers.len());
            if stream.write_all(request.as_bytes()).await.is_err() {
                break;
            }
            let Some(answer) = read_answer(&mut stream, &mut buffer).await else { break };
            answers.push((Instant::now(), answer.starts_with(good.as_bytes())));
        }
    }
    answers
}

/// Verifies again and again with a pause; the times of good answers in µs, and how many others.
async fn verifier(address: &str, request: &str, over: &AtomicBool) -> (Vec<f64>, usize) {
    let (mut times, mut other, mut buffer) = (Vec::new(), 0, vec![0; 16_384]);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    while !over.load(Ordering::SeqCst) {
        tokio::time::sleep(VERIFY_PAUSE).await;
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        match read_answer(&mut stream, &mut buffer).await {
            Some(answer) if answer.starts_with(b"HTTP/1.1 200") => {
                times.push(began.elapsed().as_secs_f64() * 1e6);
            }
            _ => other += 1,
        }
    }
    (times, other)
}
