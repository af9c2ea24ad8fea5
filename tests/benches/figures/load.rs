//! Requests over many connections, and what each answer cost the processes that worked on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::proc::cpu_seconds;
use crate::say;

/// How long one measurement takes.
pub const ROUND: Duration = Duration::from_secs(3);

/// Something to send requests to.
#[derive(Clone)]
pub struct Target {
    /// The processes whose time counts.
    pub pids: Vec<u32>,
    /// Where to connect, in turn.
    pub addresses: Vec<String>,
    /// The requests, each connection's in turn and from another place on.
    pub requests: Arc<[String]>,
    /// Connections, each with one request in flight.
    pub connections: usize,
}

/// What came of it.
#[derive(Clone)]
pub struct Measured {
    /// User and system time of all processes over good answers, in µs.
    pub cpu_us: f64,
    /// The same for each process, in the order of the target's.
    pub each_us: Vec<f64>,
    /// Half of the good answers took at most so long, in µs.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// None took longer, in µs.
    pub longest_us: f64,
    /// Answers in 2xx.
    pub good: usize,
    /// All others.
    pub other: usize,
}

/// One GET request.
pub fn get(path: &str, header: &str) -> Arc<[String]> {
    Arc::new([get_text(path, header)])
}

/// The text of a GET request.
pub fn get_text(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{header}\r\n\r\n")
}

/// One POST request with a JSON body.
pub fn post(path: &str, header: &str, body: &str) -> Arc<[String]> {
    let length = body.len();
    Arc::new([format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{header}\r\n\r\n{body}"
    )])
}

/// The head of a table of rows.
pub fn head() {
    say("round  what                     CPU/answer  ratio   p50       p99       good    other");
}

impl Measured {
    /// One row, with the ratio to `floor`.
    pub fn row(&self, round: usize, name: &str, floor: &Self) {
        let Self { cpu_us, p50_us, p99_us, good, other, .. } = self;
        let ratio = cpu_us / floor.cpu_us;
        say(&format!(
            "{round:<6} {name:<24} {cpu_us:>7.1} µs  {ratio:>5.2}  {p50_us:>6.0} µs {p99_us:>6.0} µs \
             {good:>7} {other:>5}"
        ));
    }
}

impl Target {
    /// Sends every request once: each connection its share.
    pub async fn send_all(&self) {
        let mut clients = JoinSet::new();
        for number in 0..self.connections {
            let address = self.addresses[number % self.addresses.len()].clone();
            let (requests, step) = (Arc::clone(&self.requests), self.connections);
            clients.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = vec![0; 16_384];
                for request in requests.iter().skip(number).step_by(step) {
                    stream.write_all(request.as_bytes()).await.unwrap();
                    read_answer(&mut stream, &mut buffer).await.unwrap();
                }
            });
        }
        clients.join_all().await;
    }

    /// Sends for one round, as fast as answers come.
    pub async fn measure(&self) -> Measured {
        self.measure_at(None, Duration::ZERO).await
    }

    /// Sends for one round, so many requests a second where that is said, and counts what is done up to `after` its
    /// end, too.
    pub async fn measure_at(&self, a_second: Option<u32>, after: Duration) -> Measured {
        let before: Vec<f64> = self.pids.iter().map(|pid| cpu_seconds(*pid)).collect();
        let end = Instant::now() + ROUND;
        let connections = u32::try_from(self.connections).unwrap();
        let every = a_second.map(|count| Duration::from_secs(1) * connections / count);
        let mut clients = JoinSet::new();
        for number in 0..self.connections {
            let address = self.addresses[number % self.addresses.len()].clone();
            let requests = Arc::clone(&self.requests);
            let first = number * requests.len() / self.connections;
            let begin = every.unwrap_or_default() * u32::try_from(number).unwrap() / connections;
            let pace = every.map(|every| (begin, every));
            clients.spawn(async move { client(&address, &requests, first, pace, end).await });
        }
        let all = clients.join_all().await;
        tokio::time::sleep(after).await;
        let spent = self.pids.iter().zip(before).map(|(pid, before)| cpu_seconds(*pid) - before);
        let spent: Vec<f64> = spent.collect();
        let other = all.iter().map(|(_, other)| other).sum();
        let mut times: Vec<f64> = all.into_iter().flat_map(|(times, _)| times).collect();
        times.sort_by(f64::total_cmp);
        let good = times.len() as f64;
        Measured {
            cpu_us: spent.iter().sum::<f64>() * 1e6 / good,
            each_us: spent.iter().map(|spent| spent * 1e6 / good).collect(),
            p50_us: quantile(&times, 0.5),
            p99_us: quantile(&times, 0.99),
            longest_us: times.last().copied().unwrap_or(f64::NAN),
            good: times.len(),
            other,
        }
    }
}

/// What `part` of the sorted `values` do not exceed.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    values.get((values.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

/// Asks again and again on one connection, where a pace is said beginning after the first time and then every other; the
/// times of good answers in µs, and how many others.
async fn client(
    address: &str,
    requests: &[String],
    first: usize,
    pace: Option<(Duration, Duration)>,
    end: Instant,
) -> (Vec<f64>, usize) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut times, mut other) = (Vec::new(), 0);
    let mut buffer = vec![0; 16_384];
    let mut pace = pace
        .map(|(begin, every)| tokio::time::interval_at(tokio::time::Instant::now() + begin, every));
    for request in requests.iter().cycle().skip(first) {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let began = Instant::now();
        if began >= end {
            break;
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        // None: the server closed the connection.
        let read = read_answer(&mut stream, &mut buffer).await.unwrap();
        if read.starts_with(b"HTTP/1.1 2") {
            times.push(began.elapsed().as_secs_f64() * 1e6);
        } else {
            other += 1;
        }
    }
    (times, other)
}

/// One answer, whose end its length says; `None` where the server closed the connection.
pub async fn read_answer<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.ok().filter(|read| *read > 0)?;
        length += read;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let announced: usize = announced.and_then(|value| value.parse().ok()).unwrap_or(0);
        if body.len() >= announced {
            return Some(&buffer[..length]);
        }
    }
}
