//! Messages that two HTTP parsers could read in two ways, and messages that are no HTTP at all.

use std::thread;
use std::time::Duration;

use e2e::raw::{Connection, answers};
use e2e::{Stack, poll};

/// How long a connection has to stay quiet before its answers are counted.
const QUIET: Duration = Duration::from_secs(2);
/// The header timeout of 5 seconds and what a loaded machine adds.
const SLOW: Duration = Duration::from_secs(30);

const HIDDEN: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// What follows the first headers of a login and precedes [`HIDDEN`], which a proxy in front could take for
/// a part of the body. `LEN` stands for the length of `HIDDEN`, `SUM` for that and a last chunk's.
const LENGTHS: [(&str, &str); 10] = [
    ("length before chunked", "Content-Length: SUM\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked before length", "Transfer-Encoding: chunked\r\nContent-Length: SUM\r\n\r\n0\r\n\r\n"),
    ("two lengths", "Content-Length: 0\r\nContent-Length: LEN\r\n\r\n"),
    ("two lengths, turned round", "Content-Length: LEN\r\nContent-Length: 0\r\n\r\n"),
    ("a list of lengths", "Content-Length: 0, LEN\r\n\r\n"),
    ("a signed length", "Content-Length: +0\r\n\r\n"),
    ("a negative length", "Content-Length: -1\r\n\r\n"),
    ("a length of letters", "Content-Length: 0x0\r\n\r\n"),
    ("a NUL in a length's name", "Content-\0Length: 0\r\nContent-Length: LEN\r\n\r\n"),
    ("a space before a length's colon", "Content-Length : 0\r\n\r\n"),
];
const HEADERS: [(&str, &str); 6] = [
    ("a folded header", "X-A: b\r\n Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("a NUL in a header", "X: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("a header without a colon", "Nonsense\r\nContent-Length: 0\r\n\r\n"),
    ("a header without a name", ": x\r\nContent-Length: 0\r\n\r\n"),
    (
        "a bare line feed",
        "X: a\nTransfer-Encoding: chunked\r\nContent-Length: SUM\r\n\r\n0\r\n\r\n",
    ),
    ("a bare return", "X: a\rTransfer-Encoding: chunked\r\nContent-Length: SUM\r\n\r\n0\r\n\r\n"),
];
const ENCODINGS: [(&str, &str); 10] = [
    ("a folded encoding", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    (
        "a space before the colon",
        "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("an unknown encoding", "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("chunked not at the end", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (
        "two encodings",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("a vertical tab", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("a quoted encoding", "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("a chunk size that overflows", "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff0\r\n\r\n"),
    ("a signed chunk size", "Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n"),
    (
        "a bare line feed after a chunk size",
        "Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n2c\r\n0\r\n\r\n",
    ),
];

fn corpus() -> Vec<(&'static str, String)> {
    let (len, sum) = (HIDDEN.len().to_string(), (HIDDEN.len() + 5).to_string());
    let post = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let old = "POST /auth/login HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: SUM\r\n\r\n0\r\n\r\n";
    let message = |text: &str| text.replace("LEN", &len).replace("SUM", &sum) + HIDDEN;
    let tables = LENGTHS.into_iter().chain(HEADERS).chain(ENCODINGS);
    let mut corpus: Vec<_> =
        tables.map(|(what, text)| (what, message(&format!("{post}{text}")))).collect();
    corpus.push(("chunked in HTTP/1.0", message(old)));
    corpus
}

#[test]
fn an_ambiguous_message_never_gets_a_second_answer() {
    let url = Stack::shared().url();
    let faults: Vec<String> = thread::scope(|scope| {
        let tries: Vec<_> = corpus()
            .into_iter()
            .map(|(what, message)| {
                scope.spawn(move || {
                    let mut connection = Connection::open(url);
                    connection.send(message);
                    let (bytes, _) = connection.everything(QUIET);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let good = answers(&bytes) <= 1
                        && !text.contains("healthy")
                        && !text.starts_with("HTTP/1.1 2")
                        && !text.starts_with("HTTP/1.1 5");
                    (!good).then(|| format!("{what}: {text}"))
                })
            })
            .collect();
        tries.into_iter().filter_map(|attempt| attempt.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let mut connection = Connection::open(Stack::shared().url());
    connection.send(format!("{HIDDEN}GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n{HIDDEN}"));
    let statuses: Vec<u16> = (0..3).map(|_| connection.answer().unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn what_is_no_http_is_closed_and_hurts_nobody() {
    let url = Stack::shared().url();
    let messages: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"\r\n\r\nGET \xff HTTP/1.1\r\n\r\n",
    ];
    for message in messages {
        let mut connection = Connection::open(url);
        connection.send(message);
        let answer = connection.answer().expect("an answer");
        assert!((400..500).contains(&answer.status) || answer.status == 505, "{answer:?}");
        assert_eq!(answers(&connection.everything(QUIET).0), 0, "nothing more");
        let mut connection = Connection::open(url);
        connection.send(HIDDEN);
        assert_eq!(connection.answer().unwrap().status, 200);
    }
}

#[test]
fn oversized_heads_are_refused() {
    let url = Stack::shared().url();
    let long = "a".repeat(20 * 1024);
    let many = "X-Many: y\r\n".repeat(200);
    let heads = [
        format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
        format!("GET /health?{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /health HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Huge: {}\r\n\r\n", long.repeat(50)),
    ];
    for head in heads {
        let mut connection = Connection::open(url);
        connection.send(&head);
        let shown: String = head.chars().take(60).collect();
        let answer = connection.answer().unwrap_or_else(|| panic!("{shown}: no answer"));
        assert!([414, 431].contains(&answer.status), "{shown}: {answer:?}");
        assert_eq!(answers(&connection.everything(QUIET).0), 0, "nothing more");
    }
}

#[tokio::test]
async fn sixty_four_header_lines_are_taken_and_no_more() {
    let stack = Stack::shared();
    let user = stack.api().user().await;
    let more = "X-More: y";
    for path in ["/health", "/protected/user"] {
        // With `Host` and the token they are 64.
        let lines = format!("{more}\r\n").repeat(62);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{lines}",
            user.token
        );
        let mut connection = Connection::open(stack.url());
        // The second is answered from memory.
        for _ in 0..2 {
            connection.send(format!("{head}\r\n"));
            assert_eq!(connection.answer().unwrap().status, 200, "{path}");
        }
        connection.send(format!("{head}{more}\r\n\r\n"));
        let refused = connection.answer().unwrap();
        let text = String::from_utf8(refused.body).unwrap();
        assert_eq!(refused.status, 431, "{path}: {text}");
        assert!(text.contains("at most 64 are accepted"), "{path}: {text}");
    }
}

#[tokio::test]
async fn slow_heads_are_closed_and_others_are_served_meanwhile() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let mut slow: Vec<Connection> = (0..200)
        .map(|_| {
            let mut connection = Connection::open(stack.url());
            connection.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ");
            connection
        })
        .collect();
    for _ in 0..20 {
        api.as_user(&user.token).await.expect(200);
    }
    let closed = tokio::task::spawn_blocking(move || {
        let ends = slow.iter_mut().map(|connection| {
            let (bytes, closed) = connection.everything(SLOW);
            assert_eq!(bytes.windows(12).filter(|part| *part == b"HTTP/1.1 200").count(), 0);
            closed
        });
        ends.filter(|closed| *closed).count()
    });
    assert_eq!(closed.await.unwrap(), 200);
    api.as_user(&user.token).await.expect(200);
}

#[test]
fn a_head_that_drips_is_closed_too() {
    let mut connection = Connection::open(Stack::shared().url());
    connection.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Drip: ");
    // Each byte comes in time; the head as a whole does not.
    poll::until("the connection is closed", SLOW, || {
        let alive = connection.send("y");
        let (_, closed) = connection.everything(Duration::from_millis(200));
        (closed || !alive).then_some(())
    });
}

#[test]
fn many_connections_at_once_are_all_served() {
    let url = Stack::shared().url();
    let mut connections: Vec<Connection> = (0..400).map(|_| Connection::open(url)).collect();
    for _ in 0..2 {
        for connection in &mut connections {
            assert!(connection.send(HIDDEN));
        }
        for connection in &mut connections {
            assert_eq!(connection.answer().map(|answer| answer.status), Some(200));
        }
    }
}
