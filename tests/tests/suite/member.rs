//! Another service that remembers, as an edge does: what it answers from memory, and that no revoke or logout
//! returns before it has forgotten. On a real cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use e2e::account::PASSWORD;
use e2e::cluster::{UNHURRIED_LEASE, UNHURRIED_WAIT_MS};
use e2e::relay::Relay;
use e2e::{Api, Cluster, Service, poll, prometheus};
use latchkey_client::{
    CallError, Memory, MinRevision, Options, Outcome, Revision, Secret, Verifier,
};
use latchkey_contract::authority::{Authority, Join};
use latchkey_contract::identity::IdentityAuthority;
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::MemberId;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

/// A key of the right form that was never issued.
const UNKNOWN_KEY: &str = "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";
/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

async fn outcome(verifier: &Verifier, credential: &str) -> Result<Outcome, CallError> {
    Ok(verifier.verify(secret(credential)).await?.outcome)
}

/// What is said of a credential, once somebody can say: no answer says nothing about it.
async fn settled(verifier: &Verifier, credential: &str) -> Outcome {
    poll::until_async("an answer", SOON, async || match outcome(verifier, credential).await {
        Err(CallError::Timeout | CallError::Unavailable | CallError::Overloaded) => None,
        answer => Some(answer.unwrap()),
    })
    .await
}

/// A memory under the same lease as that of [`e2e::cluster::Builder::unhurried`].
fn unhurried() -> Memory {
    Memory { lease: UNHURRIED_LEASE, ..Memory::default() }
}

/// A verifier that remembers, when both authorities count it among `members`.
async fn remembering(cluster: &Cluster, url: String, memory: Memory, members: i64) -> Verifier {
    let options = Options { url, ..Options::default() };
    let verifier = Verifier::remembering(options, memory).await.expect("the bus takes everybody");
    cluster.joined(members).await;
    verifier
}

/// How often the authority of this kind was asked for verdicts.
async fn asked(cluster: &Cluster, service: Service, subject: &str) -> f64 {
    let text = prometheus::scrape(&cluster.replica(service, 0).monitor()).await;
    let labels = [("subject", subject)];
    prometheus::value(&text, "latchkey_bus_served_total", &labels).expect("it was asked once")
}

fn receipt(body: &Value) -> (u64, u64) {
    let field = |name: &str| body["receipt"][name].as_u64().expect("a receipt");
    (field("edges_confirmed"), field("waited_ms"))
}

#[tokio::test]
async fn a_service_that_remembers_asks_once_and_accepts_for_a_lease_while_nobody_can_be_asked() {
    const QUESTIONS: usize = 1_000;
    let mut cluster = Cluster::builder().unhurried().start();
    let verifier = remembering(&cluster, cluster.bus_url(), unhurried(), 2).await;
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "remembered").await.key;
    let authorities =
        [(Service::Keys, "v1.keys.verify"), (Service::Identity, "v1.identity.verify")];
    let good = async |credential: &str| outcome(&verifier, credential).await == Ok(Outcome::Valid);
    let questions = async || {
        let [keys, identity] = authorities;
        asked(&cluster, keys.0, keys.1).await + asked(&cluster, identity.0, identity.1).await
    };
    // Before its first renewal it remembers nothing.
    poll::until_async("it asks no more", SOON, async || {
        assert!(good(&key).await && good(&user.token).await);
        let before = questions().await;
        assert!(good(&key).await && good(&user.token).await);
        (questions().await - before < 0.5).then_some(())
    })
    .await;
    let before = questions().await;
    for _ in 0..QUESTIONS {
        assert!(good(&key).await && good(&user.token).await);
    }
    let further = questions().await - before;
    assert!(further < 0.5, "{further} of keys and tokens");

    for (service, _) in authorities {
        cluster.replica_mut(service, 0).kill();
    }
    assert!(good(&key).await && good(&user.token).await);
    assert!(outcome(&verifier, UNKNOWN_KEY).await.is_err());
    for credential in [&key, &user.token] {
        poll::until_async("the lease is over", SOON, || async {
            let answer = outcome(&verifier, credential).await;
            assert!(matches!(answer, Ok(Outcome::Valid) | Err(_)), "{answer:?}");
            answer.is_err().then_some(())
        })
        .await;
        assert!(outcome(&verifier, credential).await.is_err());
    }
    for (service, _) in authorities {
        cluster.replica_mut(service, 0).restart();
    }
    for credential in [&key, &user.token] {
        poll::until_async("it is accepted again", SOON, || async {
            good(credential).await.then_some(())
        })
        .await;
    }
}

/// Asks without a pause until told to stop; gives the last moment at which a question began that was answered
/// "valid".
async fn hammer(verifier: Verifier, credential: String, over: Arc<AtomicBool>) -> Option<Instant> {
    let mut accepted = None;
    while !over.load(SeqCst) {
        let began = Instant::now();
        let answer = outcome(&verifier, &credential).await;
        match answer {
            Ok(Outcome::Valid) => accepted = Some(began),
            // On a busy machine nothing may be said, which is no acceptance either.
            Ok(Outcome::Revoked)
            | Err(CallError::Timeout | CallError::Unavailable | CallError::Overloaded) => {}
            _ => panic!("{answer:?}"),
        }
        tokio::task::yield_now().await;
    }
    accepted
}

/// Ends a credential with `end` while it is asked for; what began after `end` had returned is refused.
async fn ends<T>(verifier: &Verifier, credential: &str, end: impl Future<Output = T>) -> T {
    const HAMMERS: usize = 3;
    let over = Arc::new(AtomicBool::new(false));
    assert_eq!(settled(verifier, credential).await, Outcome::Valid);
    let hammers: Vec<_> = (0..HAMMERS)
        .map(|_| tokio::spawn(hammer(verifier.clone(), credential.to_owned(), Arc::clone(&over))))
        .collect();
    let ended = end.await;
    let returned = Instant::now();
    for _ in 0..20 {
        assert_eq!(settled(verifier, credential).await, Outcome::Revoked);
    }
    over.store(true, SeqCst);
    for hammer in hammers {
        let accepted = hammer.await.unwrap();
        assert!(accepted.is_none_or(|began| began < returned), "accepted after its end");
    }
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_is_refused_at_once_by_a_service_that_remembers_it() {
    const REVOKES: usize = 40;
    const LOGOUTS: usize = 10;
    let mut cluster = Cluster::builder().unhurried().replicas(Service::Edge, 2).start();
    let verifier = remembering(&cluster, cluster.bus_url(), unhurried(), 3).await;
    let apis: Vec<Api> = (0..2).map(|edge| cluster.api(edge)).collect();
    let user = apis[0].user().await;
    let stays = apis[0].key(&user.token, "stays").await;
    for round in 0..REVOKES {
        let api = &apis[round % 2];
        let key = api.key(&user.token, "ends").await;
        let revoke = async { api.revoke(&user.token, key.id).await.expect(200) };
        let body = ends(&verifier, &key.key, revoke).await;
        assert_eq!(receipt(&body).0, 3, "both edges and the service: {body}");
        assert_eq!(settled(&verifier, &stays.key).await, Outcome::Valid);
    }
    for round in 0..LOGOUTS {
        let api = &apis[round % 2];
        let token = api.token(&user.username, PASSWORD).await;
        let end = async { api.post("/auth/logout").bearer(&token).send().await.expect(200) };
        let body = ends(&verifier, &token, end).await;
        assert_eq!(receipt(&body).0, 3, "{body}");
        assert_eq!(settled(&verifier, &user.token).await, Outcome::Valid);
    }
    let second = apis[0].token(&user.username, PASSWORD).await;
    assert_eq!(settled(&verifier, &second).await, Outcome::Valid);
    let all = apis[1].post("/auth/logout-all").bearer(&second);
    ends(&verifier, &user.token, async { all.send().await.expect(200) }).await;
    assert_eq!(settled(&verifier, &second).await, Outcome::Revoked);
    assert_eq!(settled(&verifier, &stays.key).await, Outcome::Valid);
    for edge in cluster.of(Service::Edge) {
        let logs = edge.logs();
        assert!(!logs.iter().any(|line| line.contains("panicked")), "{logs:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_cut_off_holds_a_revoke_up_for_its_lease_and_accepts_nothing_afterwards()
{
    let mut cluster = Cluster::builder().unhurried().start();
    let relay = Relay::to(cluster.bus().port());
    let url = format!("nats://127.0.0.1:{}", relay.port());
    let verifier = remembering(&cluster, url, unhurried(), 2).await;
    let api = cluster.api(0);
    let user = api.user().await;
    let stays = api.key(&user.token, "stays").await;
    // Its connection breaks, or carries nothing any more.
    for is_broken in [true, false] {
        cluster.joined(2).await;
        let key = api.key(&user.token, "ends").await;
        assert_eq!(settled(&verifier, &key.key).await, Outcome::Valid);
        if is_broken {
            relay.cut();
        } else {
            relay.silence();
        }
        let revoke = api.revoke(&user.token, key.id);
        let unknowing = async {
            // From memory, while the lease lasts.
            assert_eq!(outcome(&verifier, &key.key).await, Ok(Outcome::Valid));
        };
        let (answer, ()) = tokio::join!(revoke, unknowing);
        let body = answer.expect(200);
        let began = outcome(&verifier, &key.key).await;
        assert!(!matches!(began, Ok(Outcome::Valid)), "accepted after the revoke had returned");
        let (confirmed, waited) = receipt(&body);
        assert_eq!(confirmed, 1, "the edge alone: {body}");
        assert!(waited >= UNHURRIED_WAIT_MS, "{body}");
        relay.mend();
        poll::until_async("it can ask again", SOON, || async {
            match outcome(&verifier, &key.key).await {
                Ok(Outcome::Revoked) => Some(()),
                Err(_) => None,
                Ok(other) => panic!("{other:?}"),
            }
        })
        .await;
        assert_eq!(settled(&verifier, &stays.key).await, Outcome::Valid);
    }
}

#[tokio::test]
async fn no_revoke_waits_for_a_service_that_has_left() {
    let cluster = Cluster::builder().unhurried().start();
    let api = cluster.api(0);
    let user = api.user().await;
    let revoke = async || {
        let key = api.key(&user.token, "ends").await;
        receipt(&api.revoke(&user.token, key.id).await.expect(200))
    };
    let key = api.key(&user.token, "used").await;
    let verifier = remembering(&cluster, cluster.bus_url(), unhurried(), 2).await;
    assert_eq!(settled(&verifier, &key.key).await, Outcome::Valid);
    assert_eq!(revoke().await.0, 2);
    verifier.clone().close().await;
    let (confirmed, waited) = revoke().await;
    assert!(confirmed == 1 && waited < UNHURRIED_WAIT_MS, "{confirmed} after {waited} ms");
    assert!(outcome(&verifier, &key.key).await.is_err());
    assert!(outcome(&verifier, UNKNOWN_KEY).await.is_err());
    verifier.close().await;
    // The last uses were reported.
    let is_noted = async || {
        let keys = api.get("/keys").bearer(&user.token).send().await.expect(200);
        let mut keys = keys.as_array().unwrap().iter();
        let listed = keys.find(|listed| listed["id"] == key.id).unwrap();
        (!listed["last_used_at"].is_null()).then_some(())
    };
    poll::until_async("the use is written down", SOON, || Box::pin(is_noted())).await;

    let verifier = remembering(&cluster, cluster.bus_url(), unhurried(), 2).await;
    assert_eq!(revoke().await.0, 2);
    drop(verifier);
    cluster.joined(1).await;
    let (confirmed, waited) = revoke().await;
    assert!(confirmed == 1 && waited < UNHURRIED_WAIT_MS, "{confirmed} after {waited} ms");
}

#[tokio::test]
async fn a_service_that_remembers_answers_what_an_edge_does() {
    let cluster = Cluster::builder().unhurried().start();
    let api = cluster.api(0);
    let (user, idle) = (api.user().await, api.user().await);
    let key = api.key(&user.token, "good").await;
    let expired = api.key(&user.token, "expired").await;
    let revoked = api.key(&user.token, "revoked").await;
    let inactive = api.key(&idle.token, "inactive").await;
    let ended = api.token(&user.username, PASSWORD).await;
    api.post("/auth/logout").bearer(&ended).send().await.expect(200);
    let body = api.revoke(&user.token, revoked.id).await.expect(200);
    let revision = body["receipt"]["revision"].as_i64().unwrap();
    let mut database = PgConnection::connect(cluster.database(Service::Keys)).await.unwrap();
    let expire = sqlx::query("UPDATE api_keys SET expires_at = 1 WHERE id = $1").bind(expired.id);
    expire.execute(&mut database).await.unwrap();
    let disable = sqlx::query("INSERT INTO keys_disabled_owners VALUES ($1, 1)").bind(idle.id);
    disable.execute(&mut database).await.unwrap();

    let options = || Options { url: cluster.bus_url(), ..Options::default() };
    let edges = Verifier::connect(options()).await.unwrap();
    let memory = remembering(&cluster, cluster.bus_url(), unhurried(), 2).await;
    let texts = [
        &*key.key,
        &user.token,
        &expired.key,
        &revoked.key,
        &inactive.key,
        &ended,
        UNKNOWN_KEY,
        "sk_x",
        "a.b.c",
        "",
    ];
    let all = || texts.iter().map(|text| secret(text)).collect::<Vec<_>>();
    let expected = edges.verify_batch(all()).await.unwrap();
    let mut outcomes: Vec<&str> = expected.iter().map(|found| found.outcome.code()).collect();
    outcomes.sort_unstable();
    outcomes.dedup();
    assert_eq!(outcomes, ["expired", "inactive", "malformed", "revoked", "unknown", "valid"]);
    for _ in 0..3 {
        assert_eq!(memory.verify_batch(all()).await.unwrap(), expected);
        for (text, expected) in texts.iter().zip(&expected) {
            assert_eq!(memory.verify(secret(text)).await.as_ref(), Ok(expected));
        }
    }
    let too_many = vec![secret("x"); Verifier::MAX_BATCH + 1];
    for wrong in [Vec::new(), too_many] {
        let answers = (edges.verify_batch(wrong.clone()).await, memory.verify_batch(wrong).await);
        assert!(matches!(&answers.0, Err(CallError::Refused(_))) && answers.0 == answers.1);
    }
    for (keys, is_known) in [(-1, false), (0, true), (revision, true), (revision + 1, false)] {
        let min_revision = MinRevision { keys: Some(Revision(keys)), identity: None };
        let ask = async |verifier: &Verifier| {
            verifier.at_least(min_revision).verify(secret(&key.key)).await
        };
        let answers = (ask(&edges).await, ask(&memory).await);
        assert_eq!(answers.0, answers.1, "{keys}");
        assert_eq!(answers.0.is_ok(), is_known, "{keys}");
    }
    let short = Memory { lease: Duration::from_millis(5), ..Memory::default() };
    assert!(Verifier::remembering(options(), short).await.is_err());
}

#[tokio::test]
async fn a_service_with_a_longer_lease_is_no_member_and_asks_each_time() {
    const QUESTIONS: u32 = 10;
    let cluster = Cluster::builder().unhurried().start();
    let memory = Memory { lease: UNHURRIED_LEASE + Duration::from_secs(1), ..Memory::default() };
    let verifier = remembering(&cluster, cluster.bus_url(), memory, 1).await;
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "asked for").await;
    assert_eq!(settled(&verifier, &key.key).await, Outcome::Valid);
    let before = asked(&cluster, Service::Keys, "v1.keys.verify").await;
    for _ in 0..QUESTIONS {
        assert_eq!(settled(&verifier, &key.key).await, Outcome::Valid);
    }
    let after = asked(&cluster, Service::Keys, "v1.keys.verify").await;
    assert!(after - before >= f64::from(QUESTIONS), "{before} {after}");
    assert_eq!(receipt(&api.revoke(&user.token, key.id).await.expect(200)).0, 1);
    assert_eq!(settled(&verifier, &key.key).await, Outcome::Revoked);
}

#[tokio::test]
async fn whoever_has_no_inbox_of_a_user_s_is_taken_in_by_neither_authority() {
    let cluster = Cluster::builder().start();
    cluster.joined(1).await;
    // Its answers arrive below `_INBOX`, which is nobody's.
    let client = async_nats::connect(cluster.bus_url()).await.unwrap();
    let join = serde_json::to_vec(&Join::<KeysAuthority>::new(MemberId([7; 16]), 500)).unwrap();
    for subject in [KeysAuthority::JOIN, IdentityAuthority::JOIN] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        let asked = client.request_with_headers(subject, headers, join.clone().into());
        let answer: Value = serde_json::from_slice(&asked.await.unwrap().payload).unwrap();
        assert_eq!(answer["code"], "invalid", "{subject}: {answer}");
        let message = answer["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("_INBOX_USER"), "{subject}: {answer}");
    }
    cluster.joined(1).await;
}
