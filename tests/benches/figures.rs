//! `make bench`: what the standalone costs, beside the floor it is measured against in the same run.
//!
//! A figure that counts is CPU per good answer (user and system time of the server's process over
//! answers below 400) or a ratio against the floor, taken in turn. A bare rate depends on the machine.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement reads the real clock, and stops where something does not work"
)]

use std::io::{Write, stderr, stdout};
use std::process::Command;
use std::time::{Duration, Instant};

use argon2::Argon2;
use e2e::account::PASSWORD;
use e2e::process::mortal;
use e2e::{Api, Process, Stack, poll, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
const LOGINS: Duration = Duration::from_secs(5);
const LOGIN_CONNECTIONS: usize = 32;
const STARTS: usize = 5;
const START: Duration = Duration::from_mins(1);
/// Linux counts a process's time in hundredths of a second, on every architecture (`proc(5)`).
const TICKS_PER_SECOND: f64 = 100.0;
/// An answer of the size of `/protected/service`'s.
const FLOOR_BODY: &str = r#"{"message":"Hello service bench!","service_name":"bench","api_key_id":1,"user_id":1,"auth_type":"API Key"}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().nth(1).as_deref() == Some("floor") {
        runtime.block_on(floor());
    } else {
        runtime.block_on(figures());
    }
}

fn say(line: &str) {
    let mut out = stdout().lock();
    writeln!(out, "{line}").unwrap();
}

/// Tells the process that started this one.
fn tell(line: &str) {
    let mut out = stderr().lock();
    writeln!(out, "{line}").unwrap();
}

/// A bare axum server, as the documentation shows it.
async fn floor() {
    let answer = || async { ([("content-type", "application/json")], FLOOR_BODY) };
    let router = axum::Router::new().route("/", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell(&listener.local_addr().unwrap().to_string());
    axum::serve(listener, router).await.unwrap();
}

async fn figures() {
    let mut command: Command = mortal(std::env::current_exe().unwrap());
    command.arg("floor");
    let floor = Process::start(command);
    let at = poll::until("the floor is ready", START, || floor.stderr().first().cloned());
    let mut stack = Stack::start();
    let idle = resident_mib(stack.embedded().unwrap().pid);
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "bench").await;
    let host = stack.url().trim_start_matches("http://").to_owned();
    let request = |path: &str, header: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{header}\r\n\r\n")
    };
    let bare = Target { pid: floor.id(), address: at, request: request("/", "x-none: 1") };
    let service = request("/protected/service", &format!("x-api-key: {}", key.key));
    let user_request = request("/protected/user", &format!("authorization: Bearer {}", user.token));
    let pid = stack.embedded().unwrap().pid;
    let service = Target { pid, address: host.clone(), request: service };
    let by_token = Target { pid, address: host, request: user_request };

    say("No cache at the edge yet: every verified request is looked up in the database.");
    say("round  route               CPU/answer  ratio   p50      p99      good   other");
    for round in 1..=ROUNDS {
        let floor = bare.measure().await;
        row(round, "bare axum", &floor, &floor);
        row(round, "/protected/service", &service.measure().await, &floor);
        row(round, "/protected/user", &by_token.measure().await, &floor);
    }
    let alone = argon2_alone();
    let logins = logins(&api, &user.username).await;
    say(&format!("logins/s {logins:.1}, argon2 alone/s {alone:.1}, ratio {:.2}", logins / alone));
    say(&format!("resident memory idle {idle:.1} MiB"));
    let mut starts: Vec<f64> = (0..STARTS)
        .map(|_| {
            stack.kill();
            let began = Instant::now();
            stack.restart();
            began.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    starts.sort_by(f64::total_cmp);
    say(&format!(
        "start to ready on an existing database, median of {STARTS}: {:.0} ms",
        starts[STARTS / 2]
    ));
}

/// Something to send requests to.
struct Target {
    pid: u32,
    address: String,
    request: String,
}

struct Measured {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    good: usize,
    other: usize,
}

fn row(round: usize, name: &str, measured: &Measured, floor: &Measured) {
    let Measured { cpu_us, p50_us, p99_us, good, other } = measured;
    let ratio = cpu_us / floor.cpu_us;
    say(&format!(
        "{round:<6} {name:<19} {cpu_us:>7.1} µs  {ratio:>5.2}  {p50_us:>6.0} µs {p99_us:>6.0} µs {good:>7} {other:>5}"
    ));
}

impl Target {
    async fn measure(&self) -> Measured {
        let before = cpu_seconds(self.pid);
        let end = Instant::now() + ROUND;
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (address, request) = (self.address.clone(), self.request.clone());
            clients.spawn(async move { client(&address, request.as_bytes(), end).await });
        }
        let all = clients.join_all().await;
        let cpu = cpu_seconds(self.pid) - before;
        let other = all.iter().map(|(_, other)| other).sum();
        let mut times: Vec<f64> = all.into_iter().flat_map(|(times, _)| times).collect();
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied();
        Measured {
            cpu_us: cpu * 1e6 / times.len() as f64,
            p50_us: at(0.5).unwrap_or_default(),
            p99_us: at(0.99).unwrap_or_default(),
            good: times.len(),
            other,
        }
    }
}

/// Asks again and again on one connection; the times of good answers in µs, and how many others.
async fn client(address: &str, request: &[u8], end: Instant) -> (Vec<f64>, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut times, mut other) = (Vec::new(), 0);
    let mut buffer = vec![0; 4_096];
    while Instant::now() < end {
        let began = Instant::now();
        stream.write_all(request).await.unwrap();
        let read = read_answer(&mut stream, &mut buffer).await;
        if read.starts_with(b"HTTP/1.1 2") {
            times.push(began.elapsed().as_secs_f64() * 1e6);
        } else {
            other += 1;
        }
    }
    (times, other)
}

/// One answer, whose end its length says.
async fn read_answer<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.unwrap();
        assert_ne!(read, 0, "the server closed the connection");
        length += read;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let announced: usize = announced.and_then(|value| value.parse().ok()).unwrap_or(0);
        if body.len() >= announced {
            return &buffer[..length];
        }
    }
}

/// Hashes a second on every core, with nothing around them.
fn argon2_alone() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let hash_until = || {
        let mut count = 0_u32;
        let mut out = [0; 32];
        while began.elapsed() < LOGINS {
            let salt = b"sixteen bytes ok";
            Argon2::default().hash_password_into(PASSWORD.as_bytes(), salt, &mut out).unwrap();
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

/// Good logins a second at saturation.
async fn logins(api: &Api, username: &str) -> f64 {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..LOGIN_CONNECTIONS {
        let (api, name) = (api.clone(), username.to_owned());
        clients.spawn(async move {
            let mut good = 0_u32;
            while began.elapsed() < LOGINS {
                good += u32::from(api.log_in(&name, PASSWORD).await.status == 200);
            }
            good
        });
    }
    let good: u32 = clients.join_all().await.into_iter().sum();
    // What nobody has, so that a typing mistake above shows as a refused login.
    assert_eq!(api.log_in(&unique("nobody"), PASSWORD).await.status, 401);
    f64::from(good) / began.elapsed().as_secs_f64()
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / TICKS_PER_SECOND
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1_024.0
}
