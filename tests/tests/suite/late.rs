//! What comes late or twice, one by one: a key that waited in a stopped service while its session ended, a
//! reactivation after a later deactivation, a logout of all that the bus delivers again.

mod changes;

use std::time::Duration;

use async_nats::Message;
use e2e::account::PASSWORD;
use e2e::cluster::Builder;
use e2e::miniature::{Engine, Miniature};
use e2e::raw::Connection;
use e2e::stories::Way;
use e2e::stories::front::{Ask, Front, Processes};
use e2e::tap::Tap;
use e2e::{Api, Cluster, Key, Service, User, poll};
use latchkey_contract::Rpc;
use latchkey_contract::keys::IssueKey;
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// Every message of an operator, and what one authority tells the other of it.
const OPERATOR: &str = "v1.*.operator.>";
/// A subject of these that nobody serves.
const MARKER: &str = "v1.none.operator.marker";
/// How long an operator waits for a service that stands still, before giving up.
const IMPATIENT: Duration = Duration::from_millis(700);
/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// A cluster, an operator, and a user with a key.
struct Scene {
    cluster: Cluster,
    apis: Vec<Api>,
    front: Front,
    user: User,
    key: Key,
}

fn builder(keys: usize) -> Builder {
    Cluster::builder()
        .replicas(Service::Edge, 2)
        .replicas(Service::Keys, keys)
        .set("LEASE_MS", "500")
        .set_for(Service::Identity, "ARGON2_MEMORY_KIB", "8192")
        .set_for(Service::Identity, "ARGON2_ITERATIONS", "1")
}

impl Scene {
    async fn with(keys: usize) -> Self {
        Self::of(builder(keys)).await
    }

    async fn of(builder: Builder) -> Self {
        let cluster = block_in_place(|| builder.start());
        let apis: Vec<Api> = (0..2).map(|edge| cluster.api(edge)).collect();
        let front = Front::Processes(Box::new(Processes::of(&cluster).await));
        let user = apis[0].user().await;
        let key = apis[0].key(&user.token, "lives").await;
        Self { cluster, apis, front, user, key }
    }

    async fn tap(&self, pattern: &str) -> Tap {
        Tap::on(&self.cluster.bus_url(), pattern).await
    }

    /// Shuts the user out or lets them in; whether that was answered.
    async fn set_active(&self, active: bool, patience: Duration) -> bool {
        let way = Way { edge: 0, name: "operator".to_owned(), patience };
        let asking = self.front.set_active(&way, &self.user.username, active);
        tokio::time::timeout(patience, asking).await.unwrap_or(false)
    }

    /// The user's keys; nothing where nobody can say.
    async fn listed(&self) -> Option<Value> {
        let answer = self.apis[1].get("/keys").bearer(&self.user.token).send().await;
        (answer.status != 503).then(|| answer.expect(200))
    }

    /// Fails where an edge accepts the key, or lets the user in.
    async fn is_shut_out(&self) {
        for api in &self.apis {
            api.as_service(&self.key.key).await.unauthenticated();
            let login = api.log_in(&self.user.username, PASSWORD).await;
            login.problem(400, "Inactive user account");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_waits_in_a_service_until_its_session_has_ended_is_not_handed_out() {
    /// Keys that are asked for until the answer comes in time.
    const ATTEMPTS: usize = 5;
    let scene = Scene::with(1).await;
    for _ in 0..ATTEMPTS {
        let token = scene.apis[0].token(&scene.user.username, PASSWORD).await;
        scene.apis[0].as_user(&token).await.expect(200);
        let mut tap = scene.tap("v1.keys.issue").await;
        let keys = scene.cluster.replica(Service::Keys, 0);
        keys.pause();
        let create = {
            let (api, token) = (scene.apis[0].clone(), token.clone());
            tokio::spawn(async move { api.make_key(&token, &json!({"name": "late"})).await })
        };
        tap.next().await;
        scene.apis[1].post("/auth/logout").bearer(&token).send().await.expect(200);
        keys.resume();
        let answer = create.await.unwrap();
        poll::until_async("what was made and not handed out is revoked", SOON, async || {
            let listed = scene.listed().await?;
            let good = listed.as_array()?.iter().filter(|key| key["is_revoked"] == false);
            let good: Vec<&str> = good.map(|key| key["name"].as_str().unwrap()).collect();
            (good == ["lives"]).then_some(())
        })
        .await;
        // Where all of it took longer than an edge waits, nothing was said of the key.
        if answer.status != 503 {
            answer.unauthenticated();
            return;
        }
    }
    panic!("no answer in time, {ATTEMPTS} times");
}

/// Whether the list has a key of this name, and says that it is revoked.
fn is_revoked(listed: &Value, name: &str) -> Option<bool> {
    let key = listed.as_array()?.iter().find(|key| key["name"] == name)?;
    key["is_revoked"].as_bool()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_client_has_hung_up_is_revoked_though_its_answer_never_came() {
    let scene = Scene::with(1).await;
    let token = scene.apis[0].token(&scene.user.username, PASSWORD).await;
    let mut tap = scene.tap("v1.keys.issue").await;
    let keys = scene.cluster.replica(Service::Keys, 0);
    keys.pause();
    let mut client = block_in_place(|| Connection::open(scene.apis[0].edges()[0].as_str()));
    client.send(format!(
        "POST /keys/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{{\"name\":\"late\"}}"
    ));
    tap.next().await;
    drop(client);
    scene.apis[1].post("/auth/logout").bearer(&token).send().await.expect(200);
    // The edge has given up: there is nobody any more whom it could tell of the key.
    let gave_up =
        |line: &String| line.contains("a request failed") && line.contains("/keys/create");
    let edge = scene.cluster.replica(Service::Edge, 0);
    block_in_place(|| {
        poll::until("the edge gives up", SOON, || edge.logs().iter().any(gave_up).then_some(()));
    });
    keys.resume();
    poll::until_async("what nobody was shown is revoked", SOON, async || {
        is_revoked(&scene.listed().await?, "late").filter(|revoked| *revoked)
    })
    .await;
}

#[tokio::test]
async fn a_key_whose_client_hangs_up_behind_its_commit_is_revoked() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let miniature = Miniature::start(7, engine).await;
        miniature.calm();
        let way = |edge: usize| Way { edge, name: "unshown".to_owned(), patience: SOON };
        let body = json!({"email": "a@example.com", "username": "ada", "password": PASSWORD});
        let signup = Ask::post("/auth/signup").with(&body);
        assert_eq!(miniature.send(&way(0), &signup).await.status, 201);
        let token = async || {
            let login = miniature.send(&way(0), &Ask::post("/auth/login").with(&body)).await;
            login.body["access_token"].as_str().expect("a token").to_owned()
        };
        let (acts, looks) = (token().await, token().await);
        let listed = async || miniature.send(&way(1), &Ask::get("/keys").bearer(&looks)).await.body;
        miniature.mute(Some(IssueKey::SUBJECT));
        let named = json!({"name": "late"});
        let create = Ask::post("/keys/create").bearer(&acts).with(&named);
        let (from, on_disk) = (
            way(0),
            poll::until_async("it is on disk", SOON, async || {
                is_revoked(&listed().await, "late").map(|revoked| assert!(!revoked))
            }),
        );
        // Whoever waits for the key goes when it is on disk.
        tokio::select! {
            reply = miniature.send(&from, &create) => panic!("{reply:?}"),
            () = on_disk => {}
        }
        let logout = Ask::post("/auth/logout").bearer(&acts);
        assert_eq!(miniature.send(&way(1), &logout).await.status, 200);
        miniature.mute(None);
        poll::until_async("what nobody was shown is revoked", SOON, async || {
            is_revoked(&listed().await, "late").filter(|revoked| *revoked)
        })
        .await;
        miniature.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reactivation_that_the_bus_delivers_again_does_not_undo_a_later_deactivation() {
    let scene = Scene::with(2).await;
    assert!(scene.set_active(false, SOON).await);
    scene.is_shut_out().await;
    let mut tap = scene.tap(OPERATOR).await;
    assert!(scene.set_active(true, SOON).await);
    scene.apis[1].as_service(&scene.key.key).await.expect(200);
    let reactivation: Vec<Message> = tap.so_far(MARKER).await;
    assert!(!reactivation.is_empty());
    assert!(scene.set_active(false, SOON).await);
    scene.is_shut_out().await;
    for message in &reactivation {
        tap.again(message).await;
    }
    scene.is_shut_out().await;
}

/// The next message that is no question.
async fn told(tap: &mut Tap) -> Message {
    loop {
        let message = tap.next().await;
        let is_question =
            ["renew", "join", "verify", "telling"].iter().any(|end| message.subject.ends_with(end));
        if !is_question {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reactivation_that_lay_in_a_stopped_service_does_not_undo_a_later_deactivation() {
    let mut scene = Scene::with(2).await;
    assert!(scene.set_active(false, SOON).await);
    // One replica is there, and stands still: the reactivation lies in it.
    block_in_place(|| scene.cluster.replica_mut(Service::Keys, 1).kill());
    let mut tap = scene.tap("v1.keys.>").await;
    scene.cluster.replica(Service::Keys, 0).pause();
    let reactivation = scene.set_active(true, SOON);
    // Its operator gives up as soon as the key service has been told.
    let message = {
        let mut told = std::pin::pin!(told(&mut tap));
        tokio::select! {
            biased;
            message = &mut told => message,
            _ = reactivation => told.await,
        }
    };
    let mut answer = tap.answer(&message).await;
    block_in_place(|| {
        let other = scene.cluster.replica_mut(Service::Keys, 1);
        other.launch();
        other.wait_ready();
    });
    // Some of what is asked lies in the one that stands still; the others' time is enough at some point.
    let mut patience = IMPATIENT;
    while !scene.set_active(false, patience).await {
        assert!(patience < SOON, "the deactivation is not answered");
        patience *= 2;
    }
    scene.cluster.replica(Service::Keys, 0).resume();
    answer.next().await;
    scene.is_shut_out().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_bus_delivers_again_ends_nothing_from_after_its_answer() {
    let scene = Scene::with(1).await;
    let api = &scene.apis[0];
    let name = &scene.user.username;
    for (subject, path, body) in [
        ("v1.identity.logout-all", "/auth/logout-all", None),
        ("v1.identity.logout", "/auth/logout", None),
        (
            "v1.identity.password",
            "/auth/password",
            Some(json!({"current_password": PASSWORD, "new_password": "another quiet harbour"})),
        ),
    ] {
        let by = api.token(name, PASSWORD).await;
        let mut tap = scene.tap(subject).await;
        let mut call = api.post(path).bearer(&by);
        if let Some(body) = &body {
            call = call.json(body);
        }
        call.send().await.expect(200);
        let password = if body.is_some() { "another quiet harbour" } else { PASSWORD };
        let newer = [api.token(name, password).await, api.token(name, password).await];
        let message = tap.next().await;
        tap.again(&message).await;
        for token in &newer {
            for api in &scene.apis {
                api.as_user(token).await.expect(200);
            }
        }
    }
}
