//! Logs under load: many lines of one kind become few, and nobody waits for whatever logs go to.

use std::io::{Write, pipe};
use std::thread;
use std::time::Duration;

use e2e::process::{free_port, mortal};
use e2e::{Folder, Process, SECRET, Service, Stack, binary, poll, prometheus, raw};
use serde_json::Value;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
/// Requests of a burst.
const BURST: u64 = 1_500;
/// How many of them are under way together.
const TOGETHER: u64 = 50;
const LEFT_OUT: &str = "latchkey_log_lines_left_out_total";

/// How many lines say that a request was refused for want of a credential, and how many more are told by counts.
fn refusals(stack: &Stack) -> (u64, u64) {
    let (mut lines, mut counted) = (0, 0);
    for line in stack.logs() {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if line["code"] == "unauthenticated" {
            match line["suppressed"].as_u64() {
                Some(more) => counted += more,
                None => lines += 1,
            }
        }
    }
    (lines, counted)
}

#[tokio::test]
async fn a_burst_of_refusals_is_a_few_lines_and_a_count_and_they_add_up() {
    let stack = Stack::with(|config| {
        config.one_edge();
        // The processes of the cluster have one each.
        if !Stack::is_cluster() {
            config.set("MONITOR_ADDR", "127.0.0.1:0");
        }
    });
    let api = stack.api();
    for _ in 0..BURST / TOGETHER {
        let calls = (0..TOGETHER).map(|_| tokio::spawn(api.get("/protected/user").send()));
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap().problem(401, "");
        }
    }
    // A count comes after its second, also where nothing follows it.
    let (lines, counted) = poll::until("everything is told", SOON, || {
        let (lines, counted) = refusals(&stack);
        (lines + counted >= BURST).then_some((lines, counted))
    });
    assert_eq!(lines + counted, BURST, "{lines} lines");
    assert!(counted > 0, "{lines} lines");
    let metrics = prometheus::scrape(&stack.monitors(Service::Edge)[0]).await;
    let repeated = prometheus::value(&metrics, LEFT_OUT, &[("reason", "repeated")]);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = counted as f64;
    assert!(repeated >= Some(expected), "{repeated:?} of {expected}");
}

#[test]
fn what_a_process_counted_is_told_before_it_ends() {
    // The lines of a process that has ended are looked at.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::start();
    for _ in 0..20 {
        let message = "GET /protected/user HTTP/1.1\r\nHost: x\r\n\r\n";
        raw::exchange(stack.url(), message).unwrap().problem(401);
    }
    let text = stack.stop().stderr;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.filter(|line| line["code"] == "unauthenticated");
    let told: Vec<_> = told.map(|line| line["suppressed"].as_u64().unwrap_or(1)).collect();
    assert_eq!(told.iter().sum::<u64>(), 20, "{told:?}");
}

#[test]
fn neither_requests_nor_the_end_wait_for_a_terminal_that_takes_nothing() {
    // It is the same for each process.
    if Stack::is_cluster() {
        return;
    }
    let folder = Folder::new();
    let address = || format!("127.0.0.1:{}", free_port());
    let (listen, monitor) = (address(), address());
    let (reader, terminal) = pipe().unwrap();
    // Full before the process has said much, and nobody reads: whoever writes to it waits.
    let mut filling = terminal.try_clone().unwrap();
    let filled = thread::spawn(move || while filling.write_all(&[b'\n'; 4_096]).is_ok() {});
    let mut command = binary::clean(mortal(binary::path()), folder.path());
    command.envs([("LISTEN_ADDR", listen.as_str()), ("MONITOR_ADDR", &monitor)]);
    command.env("SECRET_KEY", SECRET);
    let mut process = Process::start_unread(command, terminal);
    let get = |address: &str, path: &str| {
        let message = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        raw::exchange(&format!("http://{address}"), message)
    };
    let is_open = |address: &str| std::net::TcpStream::connect(address).is_ok();
    poll::until("it listens", SOON, || is_open(&listen).then_some(()));
    for _ in 0..100 {
        assert_eq!(get(&listen, "/nowhere").expect("an answer").status, 404);
    }
    let metrics = get(&monitor, "/metrics").expect("the monitor answers").body;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    let repeated = prometheus::value(&metrics, LEFT_OUT, &[("reason", "repeated")]);
    assert!(repeated > Some(0.0), "lines are counted all the same: {repeated:?}");
    process.terminate();
    assert_eq!(process.end().code(), Some(0));
    drop(reader);
    filled.join().unwrap();
}
