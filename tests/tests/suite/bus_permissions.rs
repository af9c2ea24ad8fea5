//! A bus that trusts nobody: the shipped configuration on the real server, with every forbidden act refused
//! and the whole cluster at work under it; and the same behind TLS.

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, HeaderMap};
use e2e::cluster::Builder;
use e2e::nats::{Server, Setup};
use e2e::process::mortal;
use e2e::{Cluster, Finished, Folder, Process, Service, binary, poll};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

mod callers;
mod members;

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

/// A bus where `edge-deaf` may do anything but hear one subject.
fn bus_with_a_deaf_user(folder: &Folder, subject: &str) -> Setup {
    bus_that_denies(folder, "subscribe", subject)
}

/// A bus where `edge-deaf` may do anything but one thing.
fn bus_that_denies(folder: &Folder, what: &str, subject: &str) -> Setup {
    let path = folder.join("deaf.conf");
    let text = format!(
        r#"no_auth_user: all
        authorization {{ users: [
          {{ user: all, password: all }}
          {{ user: "edge-deaf", password: deaf, permissions {{ {what}: {{ deny: "{subject}" }} }} }}
        ] }}"#
    );
    std::fs::write(&path, text).unwrap();
    Setup { arguments: vec!["-c".into(), path.display().to_string()], ..Setup::default() }
}

#[tokio::test]
async fn a_process_that_may_not_hear_something_says_so_and_is_not_ready() {
    for (service, subject) in [
        (Service::Keys, "v1.keys.verify"),
        (Service::Keys, "v1.keys.acknowledge.>"),
        (Service::Identity, "v1.identity.login"),
        (Service::Identity, "_INBOX_edge-deaf.>"),
        (Service::Edge, "v1.keys.invalidate"),
        (Service::Edge, "v1.verify"),
    ] {
        let folder = Folder::new();
        let setup = bus_with_a_deaf_user(&folder, subject);
        let mut cluster = Cluster::builder().nats(setup).start();
        let (monitor, edge) = (cluster.replica(service, 0).monitor(), cluster.api(0));
        let replica = cluster.replica_mut(service, 0);
        replica.stop();
        replica.set("NATS_USER", "edge-deaf");
        replica.set("NATS_PASSWORD", "deaf");
        replica.launch();
        let begin = subject.trim_end_matches('>');
        let told = |line: &String| {
            let says = line.contains("the bus forbids this user a subscription");
            says && line.contains(begin) && line.contains("\"edge-deaf\"")
        };
        poll::until("it says so", SOON, || replica.logs().iter().any(told).then_some(()));
        let monitor = e2e::Api::new(&monitor);
        poll::until_async("it is not ready", SOON, || async {
            let answer = monitor.get("/health/ready").try_send().await.ok()?;
            (answer.status == 503).then_some(())
        })
        .await;
        if service == Service::Edge {
            poll::until_async("it answers", SOON, || async {
                let answer = edge.get("/health/ready").try_send().await.ok()?;
                (answer.status == 503).then_some(())
            })
            .await;
        }
        let replica = cluster.replica(service, 0);
        let ready = replica.logs().iter().any(|line| line.contains("\"message\":\"ready\""));
        assert!(!ready, "{subject}: {:#?}", replica.logs());
        assert_eq!(replica.logs().iter().filter(|line| told(line)).count(), 1, "said once");
    }
}

/// Waits until a process' monitor answers with this status.
async fn readiness(monitor: &str, status: u16) {
    let monitor = e2e::Api::new(monitor);
    poll::until_async("its readiness", SOON, || async {
        let answer = monitor.get("/health/ready").try_send().await.ok()?;
        (answer.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_may_not_hear_or_is_not_reached_any_more_notices_it_while_it_runs() {
    let forbids = "the bus forbids this user a subscription";
    let silent = "brings no message to this process: it is not ready";
    for (service, what, subject, says) in [
        (Service::Keys, "subscribe", "v1.keys.verify", forbids),
        (Service::Identity, "subscribe", "_INBOX_edge-deaf.>", forbids),
        (Service::Edge, "subscribe", "v1.keys.invalidate", forbids),
        (Service::Keys, "publish", "_INBOX_edge-deaf.>", silent),
    ] {
        let folder = Folder::new();
        let setup = bus_that_denies(&folder, what, "nothing");
        let mut cluster = cluster_of(setup, service);
        let monitor = cluster.replica(service, 0).monitor();
        readiness(&monitor, 200).await;
        drop(bus_that_denies(&folder, what, subject));
        cluster.bus().reload();
        let replica = cluster.replica(service, 0);
        let told = |text: &str| replica.logs().iter().filter(|line| line.contains(text)).count();
        poll::until("it says so", SOON, || (told(says) > 0).then_some(()));
        readiness(&monitor, 503).await;
        if says == silent {
            assert_eq!(told("the bus forbids this user to send to itself"), 1);
            assert_eq!(told("Permissions Violation"), 0, "{:#?}", replica.logs());
            drop(bus_that_denies(&folder, what, "nothing"));
            cluster.bus().reload();
            readiness(&monitor, 200).await;
            let replica = cluster.replica(service, 0);
            poll::until("it says so", SOON, || {
                replica
                    .logs()
                    .iter()
                    .any(|line| line.contains("to this process again"))
                    .then_some(())
            });
        }
    }
}

/// Messages of processes to themselves, from three of them: more than each may miss.
const PROBES: usize = 15;

#[tokio::test]
async fn whoever_listens_to_everything_makes_no_process_unready() {
    let mut cluster = Cluster::builder().start();
    let listener = async_nats::connect(cluster.bus().url()).await.expect("connect to NATS");
    let mut everything = listener.subscribe(">").await.expect("subscribe");
    let mut probes = 0;
    while probes < PROBES {
        let heard = tokio::time::timeout(SOON, everything.next()).await.expect("a message");
        let heard = heard.expect("a connection");
        probes += usize::from(heard.subject.starts_with("_INBOX_") && heard.payload.is_empty());
    }
    for service in Service::ALL {
        let replica = cluster.replica(service, 0);
        let lines = replica.logs();
        assert!(!lines.iter().any(|line| line.contains("it is not ready")), "{lines:#?}");
        let answer = e2e::Api::new(&replica.monitor()).get("/health/ready").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A cluster in which one service is `edge-deaf` on the bus.
fn cluster_of(setup: Setup, service: Service) -> Cluster {
    let builder = Cluster::builder().nats(setup);
    builder
        .set_for(service, "NATS_USER", "edge-deaf")
        .set_for(service, "NATS_PASSWORD", "deaf")
        .start()
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

/// Files of a certificate authority, and of a certificate for 127.0.0.1 that it has signed.
struct Certificates {
    folder: Folder,
}

impl Certificates {
    fn new() -> Self {
        let folder = Folder::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signed = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let server_key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        std::fs::write(folder.join("ca.pem"), signed.pem()).unwrap();
        std::fs::write(folder.join("cert.pem"), server.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), server_key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

#[tokio::test]
async fn behind_tls_the_cluster_works_and_neither_plain_text_nor_a_stranger_s_authority_does() {
    let certificates = Certificates::new();
    let files = [
        ("NATS_CERT_FILE", certificates.file("cert.pem")),
        ("NATS_KEY_FILE", certificates.file("key.pem")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, file)| (*name, &**file)).collect();
    let setup = Setup { tls: true, ..shipped("nats-tls.conf", &files) };
    let ca = certificates.file("ca.pem");
    let mut cluster = cluster(setup).set("NATS_CA_FILE", &ca).start();
    let url = cluster.bus().url();
    assert!(url.starts_with("tls://"), "{url}");
    works(&mut cluster).await;

    // A right user and password in plain text.
    let address = ("127.0.0.1", cluster.bus().port());
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    let secret = password("edge");
    let hello = format!("CONNECT {{\"user\":\"edge\",\"pass\":\"{secret}\"}}\r\nPING\r\n");
    plain.write_all(hello.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    // Ends with the connection, in order or not: what counts is that no PONG came before.
    drop(tokio::time::timeout(SOON, plain.read_to_end(&mut heard)).await.expect("it is closed"));
    let heard = String::from_utf8_lossy(&heard);
    assert!(!heard.contains("PONG") && heard.contains("tls_required"), "{heard}");

    let stranger = Certificates::new().file("ca.pem");
    let end = edge(&[("NATS_URL", &url), ("NATS_CA_FILE", &ca)]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_USER: not set"), "{}", end.stderr);
    let end = edge(&[("NATS_URL", &url), ("NATS_CA_FILE", &stranger)]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_CA_FILE"), "{}", end.stderr);
}
