//! Commands on keys that lay in a stopped replica of the key service while another one did the same, and something newer:
//! the late copy changes nothing, and no generation of a lineage that was ended lives.

use e2e::{Answer, Call, database};
use tokio::task::JoinHandle;

use super::*;

/// Whatever goes between the replica and the bus is late by this much, until it is stopped: a command is behind its edge and
/// before the replica.
const LATE: Duration = Duration::from_millis(300);
/// Tries until a command lies in it.
const ATTEMPTS: usize = 10;
const SCOPE: &str = "latchkey:keys:read";
/// Every key of an owner, as it is.
const ROWS: &str = "SELECT CAST(id AS TEXT) || ' ' || CAST(version AS TEXT) || ' ' || COALESCE(scopes, '-') || ' ' || \
    COALESCE(CAST(disabled_at AS TEXT), '-') || ' ' || COALESCE(CAST(revoked_at AS TEXT), '-') || ' ' || \
    COALESCE(CAST(replaced_by AS TEXT), '-') FROM api_keys WHERE CAST(owner_id AS TEXT) = $1 ORDER BY id";

/// What is asked for and comes late, and what is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Give,
    Disable,
    Enable,
    Replace,
    ReplaceAndEnd,
}

/// A key, and its user at both edges.
struct Late<'a> {
    scene: &'a Scene,
    case: Case,
    key: Value,
}

/// One that is asked for again until it is answered, each time when its edge has given up.
async fn insist(what: &str, call: impl Fn() -> Call + Sync) -> Answer {
    poll::until_async(what, SOON, async || {
        let answer = call().send().await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

impl Late<'_> {
    /// A new key that the command changes.
    async fn new(scene: &Scene, case: Case) -> Late<'_> {
        let scopes = if case == Case::Give { vec![] } else { vec![SCOPE] };
        let body = json!({"name": "late", "scopes": scopes});
        let make = || scene.apis[0].post("/keys").bearer(&scene.user.token).json(&body);
        let key = insist("a key", make).await.expect(201);
        let late = Late { scene, case, key };
        if case == Case::Enable {
            let disable = || late.post(0, "disable", &json!({}));
            insist("it is disabled", disable).await.expect(200);
        }
        late
    }

    fn patch(&self, edge: usize, scopes: &[&str]) -> Call {
        let call = self.scene.apis[edge].call("PATCH", &format!("/keys/{}", self.key["id"]));
        call.bearer(&self.scene.user.token).json(&json!({"scopes": scopes}))
    }

    fn post(&self, edge: usize, what: &str, body: &Value) -> Call {
        let call = self.scene.apis[edge].post(&format!("/keys/{}/{what}", self.key["id"]));
        call.bearer(&self.scene.user.token).json(body)
    }

    /// The command.
    fn call(&self, edge: usize) -> Call {
        match self.case {
            Case::Give => self.patch(edge, &[SCOPE]),
            Case::Disable => self.post(edge, "disable", &json!({})),
            Case::Enable => self.post(edge, "enable", &json!({})),
            Case::Replace => self.post(edge, "rotate", &json!({"grace_seconds": 0})),
            Case::ReplaceAndEnd => self.post(edge, "rotate", &json!({"grace_seconds": 3_600})),
        }
    }

    fn subject(&self) -> &'static str {
        match self.case {
            Case::Give => "v1.keys.update",
            Case::Disable | Case::Enable => "v1.keys.state",
            Case::Replace | Case::ReplaceAndEnd => "v1.keys.rotate",
        }
    }

    /// Something newer, which turns it round.
    async fn turn_round(&self) {
        let token = &self.scene.user.token;
        let answer = match self.case {
            Case::Give => insist("the scope is taken", || self.patch(1, &[])).await,
            Case::Disable => insist("enabled", || self.post(1, "enable", &json!({}))).await,
            Case::Enable => insist("disabled", || self.post(1, "disable", &json!({}))).await,
            Case::Replace => {
                let newest = self.lineage().await.pop().unwrap();
                let path = format!("/keys/{}/rotate", newest["id"]);
                let body = json!({"grace_seconds": 0});
                let rotate = || self.scene.apis[1].post(&path).bearer(token).json(&body);
                insist("replaced again", rotate).await
            }
            Case::ReplaceAndEnd => {
                let body = json!({"filter": {"lineage": self.key["id"]}});
                let end = || self.scene.apis[1].post("/keys/revoke").bearer(token).json(&body);
                insist("the lineage is ended", end).await
            }
        };
        // Where its edge gave up, it may have been done: then there is nothing left to replace.
        assert!([200, 201, 409].contains(&answer.status), "{:?}: {}", self.case, answer.text());
    }

    /// The keys of the lineage, by rising generation.
    async fn lineage(&self) -> Vec<Value> {
        let path = format!("/keys?limit=1000&lineage={}", self.key["id"]);
        let token = &self.scene.user.token;
        let list = insist("a list", || self.scene.apis[1].get(&path).bearer(token)).await;
        list.expect(200).as_array().unwrap().clone()
    }

    async fn rows(&self) -> Vec<String> {
        let user = self.scene.user.id.to_string();
        database::texts(self.scene.cluster.database(Service::Keys), ROWS, &user).await
    }

    /// What each edge says to the key, on a route where it has to hold the scope.
    async fn says(&self) -> [u16; 2] {
        let text = self.key["key"].as_str().unwrap();
        let mut said = [0; 2];
        for (edge, said) in said.iter_mut().enumerate() {
            let call = || self.scene.apis[edge].get("/keys?limit=1").api_key(text);
            *said = insist("the edge says something", call).await.status;
        }
        said
    }

    /// Fails unless everything is as the newer command has left it.
    async fn judge(&self) {
        let expected = match self.case {
            Case::Give => 403,
            Case::Disable => 200,
            Case::Enable | Case::Replace | Case::ReplaceAndEnd => 401,
        };
        assert_eq!(self.says().await, [expected; 2], "{:?}", self.case);
        let states: Vec<Value> =
            self.lineage().await.iter().map(|key| key["state"].clone()).collect();
        let living = states.iter().filter(|state| **state != "revoked").count();
        match self.case {
            Case::ReplaceAndEnd => assert_eq!(living, 0, "{states:?}"),
            Case::Replace => assert!(living <= 1, "{states:?}"),
            _ => assert_eq!(states.len(), 1, "{states:?}"),
        }
    }
}

/// Has the one replica of the key service that is there stop with the command in it; the client who waits for it, and the
/// answer that it will give. `None` where it was faster.
async fn lie(late: &Late<'_>) -> Option<(JoinHandle<Option<Answer>>, Tap)> {
    let cluster = &late.scene.cluster;
    let mut tap = late.scene.tap(late.subject()).await;
    let before = late.rows().await;
    let relay = cluster.relay(Service::Keys, 0);
    relay.delay(LATE);
    let call = late.call(0);
    let mut asking = tokio::spawn(async move { call.try_send().await.ok() });
    let message = tokio::select! {
        biased;
        message = tap.next() => message,
        _ = &mut asking => {
            // What the edge had to read first came too late for it.
            relay.mend();
            return None;
        }
    };
    cluster.replica(Service::Keys, 0).pause();
    let answer = tap.answer(&message).await;
    relay.mend();
    if late.rows().await == before {
        return Some((asking, answer));
    }
    cluster.replica(Service::Keys, 0).resume();
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_key_that_lay_in_a_stopped_service_undoes_nothing_newer() {
    let mut scene = Scene::of(builder(2).relayed().set("LEASE_MS", "1000")).await;
    database::until_told(scene.cluster.database(Service::Keys)).await;
    for case in [Case::Give, Case::Disable, Case::Enable, Case::Replace, Case::ReplaceAndEnd] {
        block_in_place(|| scene.cluster.replica_mut(Service::Keys, 1).kill());
        let mut attempts = 0;
        let (key, asking, mut answer) = loop {
            attempts += 1;
            assert!(attempts <= ATTEMPTS, "{case:?} was always faster");
            let late = Late::new(&scene, case).await;
            if let Some((asking, answer)) = lie(&late).await {
                break (late.key, asking, answer);
            }
        };
        block_in_place(|| {
            let other = scene.cluster.replica_mut(Service::Keys, 1);
            other.launch();
            other.wait_ready();
        });
        let late = Late { scene: &scene, case, key };
        // The same by the other replica: the edge asks again while its client waits, or the client does.
        let done = asking.await.unwrap().filter(|answer| answer.status != 503);
        let again = match done {
            Some(answer) => answer,
            None => insist("the same elsewhere", || late.call(1)).await,
        };
        assert!([200, 201, 409].contains(&again.status), "{case:?}: {}", again.text());
        late.turn_round().await;
        let before = late.rows().await;
        late.judge().await;

        scene.cluster.replica(Service::Keys, 0).resume();
        answer.next().await;
        assert_eq!(late.rows().await, before, "{case:?}: the late copy changed something");
        late.judge().await;
    }
}
