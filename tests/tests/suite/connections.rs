//! How long a connection lives, how many there may be, and what becomes of a client that hangs up.

use std::time::Duration;

use e2e::raw::Connection;
use e2e::{Cluster, Service, Stack, poll, prometheus};

/// Bound on the end of a connection; the shortest bound is 5 to 7.5 s, and a loaded machine adds to it.
const SLOW: Duration = Duration::from_mins(1);

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF_A_HEAD: &str = "GET /health HTTP/1.1\r\nHost: x\r\nX-Drip: ";

/// A connection on which one request was answered.
fn used(url: &str) -> Connection {
    let mut connection = Connection::open(url);
    connection.send(HEALTH);
    assert_eq!(connection.answer().map(|answer| answer.status), Some(200));
    connection
}

/// Drips into a head until the connection is closed.
fn drip_until_closed(connection: &mut Connection) {
    poll::until("a head that drips is closed", SLOW, || {
        let alive = connection.send("y");
        let (_, closed) = connection.everything(Duration::from_millis(200));
        (closed || !alive).then_some(())
    });
}

#[test]
fn an_idle_connection_outlives_a_head_that_drips() {
    let url = Stack::shared().url();
    let (mut idle, mut fresh) = (used(url), Connection::open(url));
    let mut dripping = Connection::open(url);
    dripping.send(HALF_A_HEAD);
    drip_until_closed(&mut dripping);
    // On a connection that was of use before, a head has no more time than on a new one.
    let mut dripping = used(url);
    dripping.send(HALF_A_HEAD);
    drip_until_closed(&mut dripping);
    for connection in [&mut idle, &mut fresh] {
        connection.send(HEALTH);
        let answer = connection.answer().expect("an answer on a connection that was idle");
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("KEEP_ALIVE_SECONDS", "5");
    });
    let mut connections = [used(stack.url()), Connection::open(stack.url())];
    for connection in &mut connections {
        let (bytes, closed) = connection.everything(SLOW);
        assert!(closed && bytes.is_empty(), "{bytes:?}");
    }
}

#[test]
fn idle_connections_give_way_to_new_ones_and_the_start_says_how_many_there_may_be() {
    if Stack::is_cluster() {
        return; // The limit is set on the one process.
    }
    let stack = Stack::with(|config| {
        config.cheap_passwords().open_files(64, 400);
    });
    let told = |line: &String| line.contains("open files") && line.contains("400");
    assert!(stack.logs().iter().any(told), "{:#?}", stack.logs());
    // More than there is room for, and each of them is served.
    let connections: Vec<Connection> = (0..300).map(|_| used(stack.url())).collect();
    assert_eq!(connections.len(), 300);
    let logs = stack.logs();
    assert!(logs.iter().all(|line| !line.contains("not accepted")), "{logs:#?}");
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().open_files(64, 16_384);
    });
    let Some(embedded) = stack.embedded() else { return };
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", embedded.pid)).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["16384", "16384"]);
    assert!(!stack.logs().iter().any(|line| line.contains("open files")), "there is room");
}

#[tokio::test]
async fn a_client_that_has_said_all_it_will_say_gets_its_answer() {
    let stack = Stack::shared();
    let user = stack.api().user().await;
    let login = format!(r#"{{"username":"{}","password":"{}"}}"#, user.username, user.password);
    let get = |path| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", user.token)
    };
    let post = format!(
        "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{login}",
        login.len()
    );
    let old = "GET /health HTTP/1.0\r\n\r\n".to_owned();
    let two = format!("{}{HEALTH}", get("/keys"));
    for (message, count) in
        [(get("/keys"), 1), (get("/protected/user"), 1), (post, 1), (old, 1), (two, 2)]
    {
        let mut connection = Connection::open(stack.url());
        connection.send(&message);
        connection.half_close();
        for _ in 0..count {
            let answer = connection.answer().unwrap_or_else(|| panic!("no answer to {message}"));
            assert_eq!(answer.status, 200, "{message}");
        }
        let (rest, closed) = connection.everything(SLOW);
        assert!(closed && rest.is_empty(), "{message}");
    }
}

#[tokio::test]
async fn clients_that_hang_up_leave_nothing_behind() {
    let cluster = Cluster::builder().start();
    let edge = cluster.replica(Service::Edge, 0);
    let user = cluster.api(0).user().await;
    let login = format!(r#"{{"username":"{}","password":"not this one"}}"#, user.username);
    for _ in 0..50 {
        let mut connection = Connection::open(edge.url());
        connection.send(format!(
            "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{login}",
            login.len()
        ));
    }
    let nothing_left = || async {
        let text = prometheus::scrape(&edge.monitor()).await;
        let value = |name| prometheus::value(&text, name, &[]);
        let (requests, connections) =
            (value("latchkey_http_requests_in_flight"), value("latchkey_http_connections"));
        // The client that made the user keeps a connection.
        (requests == Some(0.0) && connections <= Some(1.0)).then_some(())
    };
    poll::until_async("nothing is left", SLOW, nothing_left).await;
}

#[test]
fn an_answer_does_not_wait_for_the_rest_of_the_next_request() {
    let mut connection = Connection::open(Stack::shared().url());
    connection.send(format!("{HEALTH}{HALF_A_HEAD}"));
    assert_eq!(connection.answer().expect("the first answer").status, 200);
    connection.send("z\r\n\r\n");
    assert_eq!(connection.answer().expect("the second answer").status, 200);
}
