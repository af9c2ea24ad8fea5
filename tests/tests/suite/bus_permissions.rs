//! A bus that trusts nobody: the shipped configuration on the real server, with every forbidden act refused
//! and the whole cluster at work under it; and the same behind TLS.

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, HeaderMap};
use e2e::cluster::Builder;
use e2e::nats::{Server, Setup};
use e2e::process::mortal;
use e2e::{Cluster, Finished, Folder, Process, Service, binary, poll};
use serde_json::Value;

mod callers;
mod deaf;
mod members;
mod tls;

/// Bound on whatever is waited for.
const SOON: Duration = Duration::from_mins(1);

/// Users, the variables of their passwords, and the passwords of these tests.
const USERS: [(&str, &str, &str); 6] = [
    ("identity", "IDENTITY_PASSWORD", "identity-7f3a"),
    ("keys", "KEYS_PASSWORD", "keys-91bc"),
    ("edge", "EDGE_PASSWORD", "edge-04de"),
    ("verifier", "VERIFIER_PASSWORD", "verifier-55aa"),
    ("member", "MEMBER_PASSWORD", "member-2e81"),
    ("operator", "OPERATOR_PASSWORD", "operator-c0fe"),
];

fn shipped(file: &str, more: &[(&str, &str)]) -> Setup {
    let passwords = USERS.iter().map(|&(_, variable, password)| (variable, password));
    Setup::shipped(file, &passwords.chain(more.iter().copied()).collect::<Vec<_>>())
}

fn password(user: &str) -> String {
    let found = USERS.iter().find(|(name, _, _)| *name == user);
    found.expect("a known user").2.to_owned()
}

fn options(user: &str) -> ConnectOptions {
    ConnectOptions::new()
        .user_and_password(user.to_owned(), password(user))
        .custom_inbox_prefix(format!("_INBOX_{user}"))
}

async fn client(server: &Server, user: &str) -> Client {
    options(user).connect(server.url()).await.expect("connect to NATS")
}

/// Every service as its own user.
fn cluster(setup: Setup) -> Builder {
    let mut builder = Cluster::builder().nats(setup);
    for (service, user) in
        [(Service::Identity, "identity"), (Service::Keys, "keys"), (Service::Edge, "edge")]
    {
        builder = builder.set_for(service, "NATS_USER", user);
        builder = builder.set_for(service, "NATS_PASSWORD", &password(user));
    }
    builder
}

/// Sign up, log in, make a key, use it, revoke it.
async fn works(cluster: &mut Cluster) {
    let api = cluster.api(0);
    api.get("/health/ready").send().await.expect(200);
    let user = api.user().await;
    let key = api.key(&user.token, "under permissions").await;
    api.as_service(&key.key).await.expect(200);
    let listed = api.get("/keys").bearer(&user.token).send().await.expect(200);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    api.revoke(&user.token, key.id).await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
    api.post("/auth/logout").bearer(&user.token).send().await.expect(200);
    api.as_user(&user.token).await.unauthenticated();
}

#[tokio::test]
async fn the_whole_cluster_works_under_the_permissions_and_nothing_of_it_is_refused() {
    let mut cluster = cluster(shipped("nats.conf", &[])).start();
    works(&mut cluster).await;

    let user = cluster.api(0).user().await;
    let verifier = client(cluster.bus(), "verifier").await;
    let ask = async |subject: &'static str, body: String| -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        let answer = verifier.request_with_headers(subject, headers, body.into()).await;
        serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON")
    };
    let one = ask("v1.verify", format!(r#"{{"credential": "{}"}}"#, user.token)).await;
    assert_eq!(one["outcome"], "valid", "{one}");
    let many = ask("v1.verify.batch", r#"{"credentials": ["nonsense"]}"#.to_owned()).await;
    assert_eq!(many["results"][0]["outcome"], "malformed", "{many}");

    let operator = client(cluster.bus(), "operator").await;
    for name in ["identity", "keys", "edge"] {
        let answer = operator.request(format!("$SRV.INFO.{name}"), "".into()).await;
        let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
        assert_eq!(answer["name"], name);
    }
    for service in Service::ALL {
        let end = cluster.replica_mut(service, 0).stop();
        assert_eq!(end.code, Some(0), "{}", end.stderr);
    }
    let logs = cluster.bus().logs();
    assert!(!logs.iter().any(|line| line.contains("Violation")), "{logs:#?}");
}

/// Waits until the server says in its log that it has refused `user` this.
async fn refused(server: &Server, user: &str, what: &str) {
    let expected = format!("/user:{user}\" - {what}");
    poll::until_async(&expected, SOON, || async {
        server.logs().iter().any(|line| line.contains(&expected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_sends_what_is_another_s_to_send() {
    let server = Server::with(shipped("nats.conf", &[]));
    let forbidden: [(&str, &[&str]); 6] = [
        // Not answers to its own kind, not invalidations, not what only operators ask.
        (
            "edge",
            &["_INBOX_edge.x.1", "v1.keys.invalidate", "v1.identity.operator.x", "$SRV.PING", "x"],
        ),
        ("identity", &["v1.keys.verify", "_INBOX_verifier.1", "v1.keys.invalidate"]),
        (
            "keys",
            &["v1.identity.verify", "_INBOX_verifier.1", "v1.identity.invalidate", "v1.verify"],
        ),
        (
            "verifier",
            &[
                "v1.keys.verify",
                "v1.identity.verify",
                "v1.verify.all",
                "$SRV.PING",
                "_INBOX_edge.1",
            ],
        ),
        // Not what only edges ask, and not invalidations.
        (
            "member",
            &[
                "v1.keys.revoke",
                "v1.keys.issue",
                "v1.identity.login",
                "v1.verify",
                "v1.keys.invalidate",
                "v1.keys.operator.x",
                "_INBOX_edge.1",
                "$SRV.PING",
            ],
        ),
        ("operator", &["v1.verify", "v1.keys.revoke", "v1.keys.invalidate", "_INBOX_edge.1"]),
    ];
    for (user, subjects) in forbidden {
        let client = client(&server, user).await;
        for &subject in subjects {
            client.publish(subject, "".into()).await.expect("queue a message");
            client.flush().await.expect("flush");
            let what = format!("Publish Violation - Subject \"{subject}\"");
            refused(&server, user, &what).await;
        }
    }
}

#[tokio::test]
async fn nobody_listens_to_what_is_another_s_to_hear() {
    let server = Server::with(shipped("nats.conf", &[]));
    // A subject, and the queue group if it is to look like a replica.
    let forbidden: [(&str, &[(&str, &str)]); 6] = [
        (
            "edge",
            &[
                ("v1.identity.verify", "identity"),
                ("v1.keys.>", "keys"),
                ("v1.verify", ""),
                ("_INBOX_verifier.>", ""),
                ("_INBOX.>", ""),
                ("$SRV.PING.keys", ""),
                (">", ""),
            ],
        ),
        (
            "identity",
            &[("v1.keys.verify", "keys"), ("v1.identity.login", ""), ("_INBOX_edge.>", "")],
        ),
        (
            "keys",
            &[
                ("v1.identity.login", "identity"),
                ("v1.identity.login", "keys"),
                ("v1.identity.>", ""),
                ("_INBOX_edge.>", ""),
                ("v1.identity.invalidate", ""),
            ],
        ),
        (
            "verifier",
            &[
                ("_INBOX_edge.>", ""),
                ("_INBOX.>", ""),
                ("v1.verify", "edge"),
                ("v1.identity.invalidate", ""),
            ],
        ),
        (
            "member",
            &[
                ("_INBOX_edge.>", ""),
                ("_INBOX.>", ""),
                ("v1.keys.verify", "keys"),
                ("v1.verify", "edge"),
                ("v1.keys.acknowledge.>", ""),
                ("v1.identity.>", ""),
                ("$SRV.PING", ""),
            ],
        ),
        ("operator", &[("v1.identity.login", ""), ("_INBOX_edge.>", ""), (">", "")]),
    ];
    for (user, subjects) in forbidden {
        let client = client(&server, user).await;
        for &(subject, queue) in subjects {
            let (subscribed, shown) = match queue {
                "" => (client.subscribe(subject).await, "SID".to_owned()),
                _ => (
                    client.queue_subscribe(subject, queue.to_owned()).await,
                    format!("Queue: \"{queue}\""),
                ),
            };
            let _kept = subscribed.expect("queue a subscription");
            client.flush().await.expect("flush");
            let what = format!("Subscription Violation - Subject \"{subject}\", {shown}");
            refused(&server, user, &what).await;
        }
    }
}

fn edge(environment: &[(&str, &str)]) -> Finished {
    let folder = Folder::new();
    let mut command = binary::clean(mortal(binary::named("latchkey-edge")), folder.path());
    command.env("MONITOR_ADDR", "off").env("LISTEN_ADDR", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    Process::start(command).finish()
}

#[tokio::test]
async fn nobody_unknown_gets_in_and_a_service_with_a_wrong_password_says_so_and_ends() {
    let server = Server::with(shipped("nats.conf", &[]));
    let strangers = [
        ConnectOptions::new(),
        ConnectOptions::new().user_and_password("edge".to_owned(), "guessed".to_owned()),
        ConnectOptions::new().user_and_password("nobody".to_owned(), password("edge")),
        ConnectOptions::new().user_and_password("edge".to_owned(), String::new()),
    ];
    for stranger in strangers {
        let error = stranger.connect(server.url()).await.expect_err("no connection");
        assert_eq!(error.kind(), ConnectErrorKind::AuthorizationViolation, "{error}");
    }
    let url = server.url();
    let end = edge(&[("NATS_URL", &url)]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_USER: not set"), "{}", end.stderr);
    let wrong = ("NATS_PASSWORD", "guessed-again");
    let end = edge(&[("NATS_URL", &url), ("NATS_USER", "edge"), wrong]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_USER: the server at NATS_URL refuses"), "{}", end.stderr);
    assert!(!end.stderr.contains("guessed-again"), "{}", end.stderr);
}
