//! SIGTERM: what is in hand is finished, what is idle is closed, and the exit code is 0.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use e2e::account::PASSWORD;
use e2e::raw::Connection;
use e2e::{Config, Finished, Stack};
use serde_json::json;

fn stack() -> Stack {
    Stack::with(|config: &mut Config| {
        config.cheap_passwords();
    })
}

#[tokio::test]
async fn requests_in_hand_get_their_answers() {
    let mut stack = stack();
    let user = stack.api().user().await;
    let body = json!({"username": user.username, "password": PASSWORD}).to_string();
    let mut connections: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(stack.url());
            connection.send(format!(
                "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                body.len()
            ));
            // The server says this when a handler asks for the body: the request is in hand.
            assert_eq!(connection.answer().expect("100 Continue").status, 100);
            connection
        })
        .collect();
    stack.terminate();
    for connection in &mut connections {
        assert!(connection.send(&body));
    }
    for connection in &mut connections {
        let answer = connection.answer().expect("an answer");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
    let end = stack.ended();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

#[tokio::test]
async fn what_was_in_hand_is_kept() {
    let mut stack = stack();
    let user = stack.api().user().await;
    let body = json!({"name": "just in time"}).to_string();
    let mut connection = Connection::open(stack.url());
    connection.send(format!(
        "POST /keys/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        user.token,
        body.len()
    ));
    assert_eq!(connection.answer().expect("100 Continue").status, 100);
    stack.terminate();
    assert!(connection.send(&body));
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.status, 201);
    let made: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(stack.ended().code, Some(0));
    stack.restart();
    let api = stack.api();
    api.as_service(made["key"].as_str().unwrap()).await.expect(200);
    api.as_user(&user.token).await.expect(200);
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut stack = stack();
    let mut idle: Vec<Connection> = (0..50).map(|_| Connection::open(stack.url())).collect();
    for connection in idle.iter_mut().take(25) {
        connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.answer().unwrap().status, 200);
    }
    let end = stack.stop();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    for connection in &mut idle {
        assert!(connection.answer().is_none());
    }
}

#[tokio::test]
async fn uses_that_were_only_counted_are_written_at_the_end() {
    let mut stack = stack();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "counted").await;
    api.as_service(&key.key).await.expect(200);
    stack.restart();
    let list = stack.api().get("/keys").bearer(&user.token).send().await.expect(200);
    assert!(!list[0]["last_used_at"].is_null(), "{list}");
}

/// What an end may take on a busy machine, until the test has noticed it, that is bounded by the 10 s after which a
/// container runtime kills.
const NOTICED: Duration = Duration::from_secs(20);
/// The same where nothing at all is waited for: less than what is in hand may take.
const NOTICED_AT_ONCE: Duration = Duration::from_secs(6);

/// Connections on which a request was begun and will never be whole: in its head, and in its body.
fn half_sent(url: &str) -> Vec<Connection> {
    let head = "POST /auth/login HTTP/1.1\r\nHost: x\r\n";
    let body = "Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{";
    let send = |text: String| {
        let mut connection = Connection::open(url);
        assert!(connection.send(text));
        connection
    };
    (0..4).flat_map(|_| [send(head.to_owned()), send(format!("{head}{body}"))]).collect()
}

/// Asks for the end; how long the edges took for it, and what came of the whole.
fn asked_to_end(stack: &mut Stack) -> (Duration, Finished) {
    let begun = Instant::now();
    stack.terminate();
    stack.edges_ended();
    (begun.elapsed(), stack.ended())
}

/// Waits until a process that was asked to end takes no further connections.
fn until_closed(url: &str) {
    let address = url.strip_prefix("http://").unwrap().to_owned();
    e2e::poll::until("nobody is let in any more", NOTICED, || {
        std::net::TcpStream::connect(&address).is_err().then_some(())
    });
}

#[tokio::test]
async fn requests_that_never_arrive_hold_the_end_up_for_less_than_ten_seconds() {
    let mut stack = stack();
    let _half = half_sent(stack.url());
    let (took, end) = asked_to_end(&mut stack);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(took < NOTICED, "{took:?}: {}", end.stderr);
    assert!(end.stderr.contains("some requests were not answered"), "{}", end.stderr);
}

#[tokio::test]
async fn whoever_asks_twice_is_not_kept_waiting() {
    let mut stack = stack();
    let url = stack.url().to_owned();
    let _half = half_sent(&url);
    stack.terminate();
    until_closed(&url);
    let (took, end) = asked_to_end(&mut stack);
    assert!(took < NOTICED_AT_ONCE, "{took:?}: {}", end.stderr);
    assert_eq!(end.code, Some(130), "{}", end.stderr);
    assert!(end.stderr.contains("asked to end a second time"), "{}", end.stderr);
}

#[tokio::test]
async fn why_a_process_ends_is_its_last_line_and_what_it_counted_stands_before() {
    // The lines of one process are looked at.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = stack();
    let url = stack.url().to_owned();
    let _half = half_sent(&url);
    for _ in 0..20 {
        let message = "GET /protected/user HTTP/1.1\r\nHost: x\r\n\r\n";
        e2e::raw::exchange(&url, message).unwrap().problem(401);
    }
    stack.terminate();
    until_closed(&url);
    let (_, end) = asked_to_end(&mut stack);
    assert_eq!(end.code, Some(130), "{}", end.stderr);
    assert!(end.stderr.contains("suppressed"), "{}", end.stderr);
    let last = end.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("asked to end a second time"), "{}", end.stderr);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_the_end_up_for_less_than_ten_seconds() {
    // What is bounded is the end of one process; a cluster's end one after the other.
    if Stack::is_cluster() {
        return;
    }
    // Whoever connects is let in, and told nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut stack = Stack::with(|config| {
        config.cheap_passwords().set("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        config.set("OTEL_TRACES_SAMPLER", "always_on");
    });
    stack.api().user().await;
    let _half = half_sent(stack.url());
    let (took, end) = asked_to_end(&mut stack);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(took < NOTICED, "{took:?}: {}", end.stderr);
    assert!(end.stderr.contains("the last spans were not sent"), "{}", end.stderr);
}
