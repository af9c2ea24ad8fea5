//! Another service's routes behind `RequireCredential`: the example of the crate's documentation, on a
//! real cluster.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use e2e::nats::Setup;
use e2e::poll::until_async;
use e2e::{Answer, Api, Call, Cluster, Folder, Service, python};
use latchkey_client::{
    CallError, Memory, MinRevision, Options, Outcome, PrincipalKind, Revision, Secret, Verifier,
};
use serde_json::Value;

use crate::greet;

/// A key of the right form that was never issued.
const UNKNOWN_KEY: &str = "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";
/// Bound on coming back after an absence.
const BACK: Duration = Duration::from_mins(1);

async fn verifier(cluster: &mut Cluster) -> Verifier {
    let options = Options { url: cluster.bus().url(), ..Default::default() };
    Verifier::connect(options).await.expect("the bus takes everybody")
}

/// The example, served until the test ends.
async fn guarded(cluster: &mut Cluster) -> Api {
    serve(greet::app(verifier(cluster).await)).await
}

async fn serve(app: axum::Router) -> Api {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Api::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    api
}

/// Fails unless this is a problem document of that status and type.
#[track_caller]
fn problem(answer: &Answer, status: u16, kind: &str) -> Value {
    let body = answer.expect(status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(body["type"], format!("urn:problem-type:latchkey:{kind}"));
    assert_eq!(body["status"], status);
    answer.shows_nothing_internal();
    body
}

fn challenges(answer: &Answer) -> Vec<&str> {
    let values = answer.headers.get_all("www-authenticate").iter();
    values.map(|value| value.to_str().unwrap().split(' ').next().unwrap()).collect()
}

#[tokio::test]
async fn a_guarded_route_is_reached_with_a_good_credential_of_its_kind_alone() {
    // Without a memory the edge asks each time: what is gone is noticed at once.
    let mut cluster = Cluster::builder().set("CACHE", "off").start();
    let (latchkey, app) = (cluster.api(0), guarded(&mut cluster).await);
    let user = latchkey.user().await;
    let key = latchkey.key(&user.token, "deployer").await;
    let ended = latchkey.key(&user.token, "ended").await;
    latchkey.revoke(&user.token, ended.id).await.expect(200);
    let (token, key, ended) = (user.token.as_str(), key.key.as_str(), ended.key.as_str());
    let by_user = format!("Hello {}!", user.username);
    let by_key = "Hello service deployer!";

    let say = async |call: Call| {
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    assert_eq!(say(app.get("/greet").bearer(token)).await, by_user);
    assert_eq!(say(app.get("/greet").api_key(key)).await, by_key);
    assert_eq!(say(app.get("/greet").bearer(token).api_key(key)).await, by_user);
    assert_eq!(say(app.get("/greet").bearer("a.b.c").api_key(key)).await, by_key);
    assert_eq!(say(app.get("/greet").bearer(key)).await, by_key);
    assert_eq!(say(app.get("/profile").bearer(token)).await, by_user);
    assert_eq!(say(app.post("/deploy").api_key(key)).await, by_key);
    assert_eq!(say(app.post("/deploy").bearer(token).api_key(key)).await, by_key);

    let none = app.get("/greet").send().await;
    problem(&none, 401, "unauthenticated");
    assert_eq!(challenges(&none), ["Bearer", "ApiKey"]);
    let long = "x".repeat(5_000);
    for refused in [ended, UNKNOWN_KEY, "sk_mistyped", "", "ü", &long] {
        let answer = app.get("/greet").api_key(refused).send().await;
        problem(&answer, 401, "unauthenticated");
        let answer = app.post("/deploy").api_key(refused).send().await;
        problem(&answer, 401, "unauthenticated");
        assert_eq!(challenges(&answer), ["ApiKey"]);
    }
    let basic = app.get("/profile").header("authorization", "Basic dTpw").send().await;
    problem(&basic, 401, "unauthenticated");
    assert_eq!(challenges(&basic), ["Bearer"]);
    problem(&app.get("/profile").api_key(key).send().await, 403, "users-only");
    problem(&app.post("/deploy").bearer(token).send().await, 403, "services-only");
    problem(&app.get("/greet").api_key(key).api_key(key).send().await, 400, "bad-request");
    problem(&app.get("/greet").bearer(token).bearer(token).send().await, 400, "bad-request");

    latchkey.post("/auth/logout").bearer(token).send().await.expect(200);
    problem(&app.get("/greet").bearer(token).send().await, 401, "unauthenticated");
}

#[tokio::test]
async fn nobody_gets_through_while_nobody_can_say_and_everybody_does_when_it_is_back() {
    // Without a memory the edge asks each time: what is gone is noticed at once.
    let mut cluster = Cluster::builder().set("CACHE", "off").start();
    let (latchkey, app) = (cluster.api(0), guarded(&mut cluster).await);
    let user = latchkey.user().await;
    let key = latchkey.key(&user.token, "patient").await.key;
    let unavailable = async || {
        for call in [app.get("/greet").api_key(&key), app.get("/greet").api_key(UNKNOWN_KEY)] {
            let answer = call.send().await;
            problem(&answer, 503, "unavailable");
            assert!(!answer.header("retry-after").is_empty());
        }
    };
    let back = async || {
        until_async("the key is accepted again", BACK, || async {
            let answer = app.get("/greet").api_key(&key).send().await;
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
            (answer.status == 200).then_some(())
        })
        .await;
    };
    back().await;
    cluster.replica_mut(Service::Keys, 0).kill();
    unavailable().await;
    cluster.replica_mut(Service::Keys, 0).restart();
    back().await;
    cluster.replica_mut(Service::Edge, 0).kill();
    unavailable().await;
    cluster.replica_mut(Service::Edge, 0).restart();
    back().await;
    cluster.bus().kill();
    unavailable().await;
    cluster.bus().restart();
    back().await;
}

#[tokio::test]
async fn a_verifier_tells_outcomes_alone_and_in_order() {
    // Without a memory the edge asks each time: what is gone is noticed at once.
    let mut cluster = Cluster::builder().set("CACHE", "off").start();
    let (latchkey, verifier) = (cluster.api(0), verifier(&mut cluster).await);
    let user = latchkey.user().await;
    let key = latchkey.key(&user.token, "batched").await.key;
    let secret = |text: &str| Secret::new(text.to_owned());
    let one = verifier.verify(secret(&key)).await.unwrap().accepted().unwrap();
    assert_eq!((one.kind, one.name.as_deref()), (PrincipalKind::Service, Some("batched")));
    let texts = [user.token.as_str(), UNKNOWN_KEY, "x", &key];
    let asked = texts.repeat(Verifier::MAX_BATCH / texts.len());
    let asked: Vec<Secret> = asked.into_iter().map(secret).collect();
    let found = verifier.verify_batch(asked).await.unwrap();
    let outcomes: Vec<Outcome> = found.iter().map(|verified| verified.outcome).collect();
    let group = [Outcome::Valid, Outcome::Unknown, Outcome::Malformed, Outcome::Valid];
    assert_eq!(outcomes, group.repeat(Verifier::MAX_BATCH / texts.len()));
    for count in [0, Verifier::MAX_BATCH + 1] {
        let asked = verifier.verify_batch(vec![secret("x"); count]).await;
        assert!(matches!(asked, Err(CallError::Refused(_))), "{count}: {asked:?}");
    }
}

/// A bus on which no edge hears of a revoke: it learns of it when it renews its lease, or asks.
const MUTE: &str = r#"
no_auth_user: all
authorization { users: [
  { user: all, password: all }
  { user: mute, password: mute, permissions { publish: { deny: "v1.keys.invalidate" } } }
] }
"#;

#[tokio::test]
async fn who_knows_of_a_revoke_is_told_so_by_an_edge_that_has_not_heard_of_it() {
    /// So few that the edge is not retired meanwhile.
    const REVOKES: usize = 20;
    let folder = Folder::new();
    let path = folder.join("mute.conf");
    std::fs::write(&path, MUTE).unwrap();
    let nats =
        Setup { arguments: vec!["-c".into(), path.display().to_string()], ..Setup::default() };
    let mut cluster = Cluster::builder()
        .nats(nats)
        .set("LEASE_MS", "7000")
        .set("RENEWAL_MS", "3500")
        .set_for(Service::Keys, "NATS_USER", "mute")
        .set_for(Service::Keys, "NATS_PASSWORD", "mute")
        .start();
    // Before it has joined it remembers nothing.
    cluster.joined(1).await;
    let (latchkey, verifier) = (cluster.api(0), verifier(&mut cluster).await);
    let user = latchkey.user().await;
    let mut stale = 0;
    for _ in 0..REVOKES {
        let key = latchkey.key(&user.token, "ends").await;
        let secret = || Secret::new(key.key.clone());
        let outcome = async |verifier: &Verifier| verifier.verify(secret()).await.unwrap().outcome;
        assert_eq!(outcome(&verifier).await, Outcome::Valid);
        let path = format!("/keys/{}?wait=false", key.id);
        let body = latchkey.delete(&path).bearer(&user.token).send().await.expect(202);
        let revision = Revision(body["revision"].as_i64().unwrap());
        // What the edge remembers, within the moment that the answer named.
        stale += usize::from(outcome(&verifier).await == Outcome::Valid);
        let informed = verifier.at_least(MinRevision { keys: Some(revision), identity: None });
        assert_eq!(outcome(&informed).await, Outcome::Revoked);
        let batch = informed.verify_batch(vec![secret(), secret()]).await.unwrap();
        assert!(batch.iter().all(|verified| verified.outcome == Outcome::Revoked), "{batch:?}");
        // It is remembered for those who know nothing.
        assert_eq!(outcome(&verifier).await, Outcome::Revoked);
    }
    assert!(stale > 0, "the edge was never behind: nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stops_in_good_order_costs_no_answer() {
    let mut cluster = Cluster::builder().replicas(Service::Edge, 2).start();
    let (latchkey, verifier) = (cluster.api(0), verifier(&mut cluster).await);
    let user = latchkey.user().await;
    let key = latchkey.key(&user.token, "steady").await.key;
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let stopping = Arc::new(AtomicBool::new(false));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (verifier, key) = (verifier.clone(), key.clone());
        let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
        let stopping = Arc::clone(&stopping);
        askers.spawn(async move {
            while !over.load(Relaxed) {
                let is_stopping = stopping.load(Relaxed);
                let answer = verifier.verify(Secret::new(key.clone())).await;
                if answer == Err(CallError::Timeout) && !is_stopping {
                    // A busy machine: no stop has cost this.
                    continue;
                }
                assert_eq!(answer.map(|verified| verified.outcome), Ok(Outcome::Valid));
                asked.fetch_add(1, Relaxed);
            }
        });
    }
    let go_on = async || {
        let min_revision = asked.load(Relaxed) + 200;
        let enough = async || (asked.load(Relaxed) > min_revision).then_some(());
        until_async("questions go on", BACK, || Box::pin(enough())).await;
    };
    for _ in 0..3 {
        for edge in 0..2 {
            go_on().await;
            let edge = cluster.replica_mut(Service::Edge, edge);
            stopping.store(true, Relaxed);
            let end = edge.stop();
            stopping.store(false, Relaxed);
            assert_eq!(end.code, Some(0), "{}", end.stderr);
            edge.restart();
        }
    }
    go_on().await;
    over.store(true, Relaxed);
    askers.join_all().await;
}

#[tokio::test]
async fn the_users_for_other_services_are_enough_and_a_wrong_password_is_refused() {
    const USERS: [&str; 6] = ["IDENTITY", "KEYS", "EDGE", "VERIFIER", "MEMBER", "OPERATOR"];
    let passwords = USERS.map(|user| (format!("{user}_PASSWORD"), format!("{user}-pass")));
    let passwords = passwords.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut builder = Cluster::builder().nats(Setup::shipped("nats.conf", &passwords));
    for (service, user) in Service::ALL.into_iter().zip(USERS) {
        builder = builder.set_for(service, "NATS_USER", &user.to_lowercase());
        builder = builder.set_for(service, "NATS_PASSWORD", &format!("{user}-pass"));
    }
    let mut cluster = builder.start();
    let (api, url) = (cluster.api(0), cluster.bus().url());
    let user = api.user().await;
    let key = api.key(&user.token, "permitted").await.key;
    let options = |password: &str| {
        let password = Some(Secret::new(password.to_owned()));
        Options { url: url.clone(), password, ca_file: None }
    };
    let connect = |password: &str| Verifier::connect(options(password));
    let verified = connect("VERIFIER-pass").await.unwrap().verify(Secret::new(key.clone())).await;
    assert_eq!(verified.unwrap().outcome, Outcome::Valid);
    assert!(connect("guessed-pass").await.is_err());

    let environment =
        [("NATS_URL", url.as_str()), ("NATS_USER", "verifier"), ("NATS_PASSWORD", "VERIFIER-pass")];
    let end = python::run("docs/examples/verify.py", &environment, &[&key, &user.token]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert_eq!(end.stdout.matches(r#""outcome": "valid""#).count(), 2, "{}", end.stdout);

    // One that remembers is confirmed beside the edge, so nothing that it sends or hears is refused.
    let remember = |password: &str| Verifier::remembering(options(password), Memory::default());
    let member = remember("MEMBER-pass").await.unwrap();
    assert!(remember("VERIFIER-pass").await.is_err());
    let app = serve(greet::app(member.clone())).await;
    until_async("a revoke waits for both", BACK, || async {
        let (key, token) = (api.key(&user.token, "ends").await, &user.token);
        app.get("/greet").api_key(&key.key).send().await.text();
        let body = api.revoke(token, key.id).await.expect(200);
        problem(&app.get("/greet").api_key(&key.key).send().await, 401, "unauthenticated");
        (body["receipt"]["edges_confirmed"] == 2).then_some(())
    })
    .await;
    let call = app.get("/profile").bearer(&user.token);
    assert_eq!(call.send().await.text(), format!("Hello {}!", user.username));
    api.post("/auth/logout").bearer(&user.token).send().await.expect(200);
    problem(&app.get("/profile").bearer(&user.token).send().await, 401, "unauthenticated");
    member.close().await;
    problem(&app.get("/greet").api_key(&key).send().await, 503, "unavailable");
    let logs = cluster.bus().logs();
    assert!(!logs.iter().any(|line| line.contains("Violation")), "{logs:#?}");
}
