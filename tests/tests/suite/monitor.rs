//! The second listener: metrics and health checks, apart from the public API.

use e2e::raw::exchange;
use e2e::{Folder, Stack, binary, lines, poll};

const MONITOR_ADDR: &str = "MONITOR_ADDR";

fn get(url: &str, path: &str) -> e2e::raw::RawAnswer {
    exchange(url, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).expect("an answer")
}

/// A standalone with its monitor on a free port, and the monitor's address.
fn monitored() -> (Stack, String) {
    let stack = Stack::with(|config| {
        config.set(MONITOR_ADDR, "127.0.0.1:0");
    });
    let lines = stack.logs();
    let url = lines.iter().find_map(|line| lines::ready_field(line, "monitor"));
    (stack, url.expect("the ready line names the monitor"))
}

#[test]
fn it_serves_metrics_and_health_and_nothing_else() {
    let (_stack, url) = monitored();
    assert_eq!(get(&url, "/health/live").status, 200);
    assert_eq!(get(&url, "/health/ready").status, 200);
    let metrics = get(&url, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    for path in ["/", "/health", "/docs", "/auth/login", "/metrics/x"] {
        assert_eq!(get(&url, path).status, 404, "{path}");
    }
    let post = exchange(&url, "POST /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.expect("an answer").status, 405);
}

#[test]
fn it_is_no_part_of_the_public_address_and_off_unless_it_is_asked_for() {
    let stack = Stack::start();
    assert_eq!(get(stack.url(), "/metrics").status, 404);
    // A service of a cluster has a monitor unless it is switched off.
    if Stack::is_cluster() {
        return;
    }
    let lines = stack.logs();
    let shown = lines.iter().find_map(|line| lines::ready_field(line, "monitor"));
    assert_eq!(shown.as_deref(), Some("off"));
}

#[test]
fn a_hung_connection_keeps_nobody_else_from_it() {
    let (_stack, url) = monitored();
    let hung: Vec<_> = (0..32).map(|_| e2e::raw::Connection::open(&url)).collect();
    assert_eq!(get(&url, "/health/live").status, 200);
    drop(hung);
}

#[test]
fn a_monitor_address_in_use_is_told_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let environment =
        [("LISTEN_ADDR", "127.0.0.1:0"), (MONITOR_ADDR, &address), ("SECRET_KEY", e2e::SECRET)];
    let end = binary::run(Folder::new().path(), &[], &environment);
    assert_eq!(end.code, Some(69), "{}", end.stderr);
    assert!(end.stderr.contains(&address) && end.stderr.contains(MONITOR_ADDR), "{}", end.stderr);
}

#[test]
fn the_health_check_fails_where_nobody_answers_and_says_what_it_cannot_use() {
    let (folder, port) = (Folder::new(), e2e::process::free_port());
    let check = |value: &str| {
        let mut command =
            binary::clean(e2e::process::mortal(binary::named("latchkey-edge")), folder.path());
        command.arg("healthcheck").env(MONITOR_ADDR, value);
        e2e::Process::start(command).finish()
    };
    let end = check(&format!("127.0.0.1:{port}"));
    assert_eq!(end.code, Some(1), "{}", end.stderr);
    assert!(end.stderr.contains("not ready"), "{}", end.stderr);
    for unusable in ["off", "127.0.0.1:0", "nonsense"] {
        let end = check(unusable);
        assert_eq!(end.code, Some(78), "{unusable}: {}", end.stderr);
        assert!(end.stderr.contains(MONITOR_ADDR), "{}", end.stderr);
    }
}

#[test]
fn a_process_that_is_ended_closes_it() {
    let (mut stack, url) = monitored();
    stack.stop();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    poll::until("nobody listens", std::time::Duration::from_secs(30), || {
        std::net::TcpStream::connect(&address).is_err().then_some(())
    });
}
