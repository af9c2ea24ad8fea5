//! Requests that are refused before a route sees them, or while their body is on its way: each is told why.

use std::time::Duration;

use e2e::raw::Connection;
use e2e::{Cluster, Service, Stack, poll, prometheus};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
/// Bound on the end of a connection that is to be closed.
const SLOW: Duration = Duration::from_mins(1);

/// A TLS client's first bytes.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn malformed() -> Vec<(Vec<u8>, u16)> {
    let long = "a".repeat(20 * 1024);
    let of = |text: String| text.into_bytes();
    vec![
        (TLS_HELLO.to_vec(), 400),
        (H2_PREFACE.to_vec(), 505),
        (of("GET / HTTP/9.9\r\nHost: x\r\n\r\n".into()), 505),
        (of("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into()), 505),
        (of("GET\r\n\r\n".into()), 400),
        (of("GET / HTTP/1.1 extra\r\nHost: x\r\n\r\n".into()), 400),
        (of("GET / FTP/1.1\r\nHost: x\r\n\r\n".into()), 400),
        (of("SSH-2.0-OpenSSH_9.9\r\n\r\n".into()), 400),
        (b"\0\0\0\0\r\n\r\n".to_vec(), 400),
        (b"\r\n\r\nG\xffT / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        (of("GET /health HTTP/1.1\r\nHost: x\r\nNonsense\r\n\r\n".into()), 400),
        (of("GET /health HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n".into()), 400),
        (of("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n".into()), 400),
        (of("POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n".into()), 400),
        (of(format!("GET /health?{long} HTTP/1.1\r\nHost: x\r\n\r\n")), 414),
        (of(format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n")), 431),
        (
            of(format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: y\r\n".repeat(200))),
            431,
        ),
    ]
}

fn shown(message: &[u8]) -> String {
    String::from_utf8_lossy(message).chars().take(80).collect()
}

#[test]
fn what_is_malformed_is_answered_as_it_deserves() {
    let url = Stack::shared().url();
    for (message, status) in malformed() {
        let mut connection = Connection::open(url);
        connection.send(&message);
        let answer = connection.answer().unwrap_or_else(|| panic!("{}", shown(&message)));
        answer.problem(status);
        assert_eq!(answer.header("connection"), "close", "{}", shown(&message));
        let (rest, _) = connection.everything(Duration::from_millis(50));
        assert!(rest.is_empty(), "{}", shown(&message));
        // A client that sees the end ends too, and is not waited for.
        connection.half_close();
        let (rest, closed) = connection.everything(SLOW);
        assert!(closed && rest.is_empty(), "{}", shown(&message));
    }
}

#[test]
fn what_came_before_a_malformed_request_is_answered_first() {
    let mut connection = Connection::open(Stack::shared().url());
    connection.send(format!("{HEALTH}GARBAGE\r\n\r\n"));
    assert_eq!(connection.answer().expect("the first answer").status, 200);
    connection.answer().expect("the second answer").problem(400);
}

#[test]
fn a_head_that_ends_half_way_is_told_so() {
    for message in ["GET /health HT", "GET /health HTTP/1.1\r\nHost: x\r\n"] {
        let mut connection = Connection::open(Stack::shared().url());
        connection.send(message);
        connection.half_close();
        connection.answer().unwrap_or_else(|| panic!("{message}")).problem(400);
    }
    // Whoever says nothing is told nothing.
    let mut connection = Connection::open(Stack::shared().url());
    connection.half_close();
    let (bytes, closed) = connection.everything(SLOW);
    assert!(closed && bytes.is_empty());
}

#[tokio::test]
async fn what_is_malformed_is_counted_and_logged_but_not_line_by_line() {
    let cluster = Cluster::builder().start();
    let edge = cluster.replica(Service::Edge, 0);
    for (message, _) in malformed().into_iter().cycle().take(100) {
        let mut connection = Connection::open(edge.url());
        connection.send(&message);
        connection.answer().unwrap_or_else(|| panic!("{}", shown(&message)));
    }
    let text = prometheus::scrape(&edge.monitor()).await;
    let count = |reason| {
        let labels = [("reason", reason)];
        prometheus::value(&text, "latchkey_http_malformed_total", &labels).unwrap()
    };
    let reasons = ["request_line", "version", "header", "too_large", "incomplete", "tls"];
    let sum: f64 = reasons.into_iter().map(count).sum();
    assert!((sum - 100.0).abs() < 0.5, "{text}");
    assert!(count("tls") > 0.5 && count("version") > 0.5 && count("header") > 0.5, "{text}");
    // Lines are written by the way, and may come after the answers.
    let told = poll::until("the first one is logged", SLOW, || {
        let told = edge.logs().iter().filter(|line| line.contains("no HTTP request")).count();
        (told > 0).then_some(told)
    });
    assert!(told < 20, "{told} lines");
}

#[tokio::test]
async fn a_host_is_named_once_and_well() {
    let stack = Stack::shared();
    let user = stack.api().user().await;
    let bad = [
        "",
        "Host: x\r\nHost: x\r\n",
        "Host: x\r\nHost: y\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: http://a\r\n",
        "Host: u@a\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a:port\r\n",
        "Host: a:80:80\r\n",
        "Host: [::1\r\n",
        "Host: [::1]x\r\n",
        "Host: [nonsense]\r\n",
        "Host: ::1\r\n",
        "Host: a\\b\r\n",
        "Host: <a>\r\n",
        "Host: a%zz\r\n",
        "Host: \u{e4}.example\r\n",
    ];
    let good = [
        "Host: x\r\n",
        "Host:\r\n",
        "Host: EXAMPLE.com.\r\n",
        "Host: my_service:8000\r\n",
        "Host: 127.0.0.1:8000\r\n",
        "Host: [::1]:8000\r\n",
        "Host: [2001:db8::1]\r\n",
        "Host: a:\r\n",
        "host: xn--bcher-kva.example\r\n",
        "Host: a%20b\r\n",
    ];
    for path in ["/health", "/protected/user", "/nothing"] {
        for origin in ["", "Origin: http://localhost:3000\r\n"] {
            let more = format!("Authorization: Bearer {}\r\n{origin}", user.token);
            let mut connection = Connection::open(stack.url());
            let well = if path == "/nothing" { 404 } else { 200 };
            for (table, status) in [(&good[..], well), (&bad[..], 400)] {
                for host in table {
                    connection.send(format!("GET {path} HTTP/1.1\r\n{host}{more}\r\n"));
                    let answer = connection.answer().unwrap_or_else(|| panic!("{host}"));
                    assert_eq!(answer.status, status, "{path} {host:?}");
                    if status >= 400 {
                        answer.problem(status);
                    }
                }
            }
        }
    }
    let preflight = "OPTIONS /keys HTTP/1.1\r\nOrigin: http://localhost:3000\r\nAccess-Control-Request-Method: GET\r\n\r\n";
    e2e::raw::exchange(stack.url(), preflight).unwrap().problem(400);
    let old =
        [("", 200), ("Host: x\r\n", 200), ("Host: x\r\nHost: x\r\n", 400), ("Host: a b\r\n", 400)];
    for (host, status) in old {
        let answer = e2e::raw::exchange(stack.url(), format!("GET /health HTTP/1.0\r\n{host}\r\n"));
        assert_eq!(answer.unwrap().status, status, "HTTP/1.0 {host:?}");
    }
}

/// What is refused, and with which status, before its body was of any interest.
const REFUSED: [(&str, u16); 8] = [
    ("POST /keys/create HTTP/1.1\r\nContent-Type: application/json\r\n", 401),
    ("POST /nothing HTTP/1.1\r\nContent-Type: application/json\r\n", 404),
    ("PUT /keys HTTP/1.1\r\nContent-Type: application/json\r\n", 405),
    ("POST /auth/login HTTP/1.1\r\nContent-Type: text/plain\r\n", 415),
    (
        "POST /auth/login HTTP/1.1\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n",
        415,
    ),
    ("POST /auth/login HTTP/1.1\r\nContent-Type: application/json\r\n", 413),
    ("GET /protected/user HTTP/1.1\r\n", 401),
    ("POST /auth/login HTTP/1.1\r\nHost: second\r\n", 400),
];

#[test]
fn a_refusal_can_be_read_by_a_client_that_sends_its_whole_body_first() {
    let url = Stack::shared().url();
    for (head, status) in REFUSED {
        let mut connection = Connection::open(url);
        for kib in [17, 30, 45, 60, 64] {
            let body = "x".repeat(kib * 1024);
            let sized = format!("{head}Host: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let parts = body.as_bytes().chunks(4096);
            let parts: Vec<_> = parts
                .map(|part| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)))
                .collect();
            let chunked = format!(
                "{head}Host: x\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                parts.concat()
            );
            for message in [sized, chunked] {
                // One after the other on one connection, which stays open.
                assert!(connection.send(&message), "{head} {kib} KiB: closed while it was sent");
                let answer = connection.answer().unwrap_or_else(|| panic!("{head} {kib} KiB"));
                answer.problem(status);
                assert_eq!(answer.header("connection"), "", "{head} {kib} KiB");
            }
        }
        connection.send(HEALTH);
        assert_eq!(connection.answer().expect("the same connection").status, 200, "{head}");
    }
}

#[test]
fn a_refusal_can_be_read_where_the_body_is_far_too_large() {
    let url = Stack::shared().url();
    for (head, status) in REFUSED {
        // Above the bound of what is read, the refusal may be that.
        for kib in [100, 1000] {
            let body = "x".repeat(kib * 1024);
            let mut connection = Connection::open(url);
            let message = format!("{head}Host: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert!(connection.send(&message), "{head} {kib} KiB: closed while it was sent");
            let answer = connection.answer().unwrap_or_else(|| panic!("{head} {kib} KiB"));
            assert!([status, 413].contains(&answer.status), "{head} {kib} KiB: {}", answer.head);
            answer.problem(answer.status);
            assert_eq!(answer.header("connection"), "close", "{head} {kib} KiB");
            let (rest, closed) = connection.everything(SLOW);
            assert!(closed && rest.is_empty(), "{head} {kib} KiB");
        }
    }
}

#[test]
fn a_body_that_waits_to_be_asked_for_is_not_asked_for_in_vain() {
    let url = Stack::shared().url();
    for (head, status) in REFUSED {
        let mut connection = Connection::open(url);
        connection.send(format!(
            "{head}Host: x\r\nExpect: 100-continue\r\nContent-Length: 20000\r\n\r\n"
        ));
        let first = connection.answer().unwrap_or_else(|| panic!("{head}"));
        // A body that is read before it is refused is asked for first.
        if first.status != 100 {
            first.problem(status);
            assert_eq!(first.header("connection"), "close", "{head}");
        }
        assert!(first.status != 100 || status == 413, "{head}");
    }
}
