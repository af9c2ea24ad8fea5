//! Who speaks for a member: the user of the bus that it joined as, and nobody else. Tried with the credentials of
//! every user, who know the member's id: they have read it where it stands.

use async_nats::{Client, Subscriber};
use e2e::nats::Server;
use e2e::{Cluster, Service, poll, unique};
use futures_util::StreamExt;
use latchkey_bus::nats::User;
use latchkey_bus::{Bus, Context, Nats, NatsOptions, RequestId};
use latchkey_contract::authority::{Authority, Invalidating, Join, Leave, Renew};
use latchkey_contract::keys::{KeysAuthority, VerifyKeys};
use latchkey_contract::lease::{Acknowledge, MemberId, MemberResult, Revision};
use latchkey_contract::wire::{self, CONTRACT, Contracts};
use latchkey_contract::{CallError, CredentialHash, Refusal, Rpc, Secret};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::{SOON, USERS, client, cluster, password, refused, shipped};

/// How long a revoke waits for a member that is silent, in milliseconds.
const WAIT_MS: &str = "4000";
/// Who may be a member.
const MEMBERS: [&str; 2] = ["edge", "member"];

/// A member of the key service that the test plays: it remembers nothing, and hears everything.
struct Played {
    id: MemberId,
    user: &'static str,
    bus: Bus,
    raw: Client,
    invalidations: Subscriber,
}

impl Played {
    async fn join(server: &Server, user: &'static str, id: u8) -> Self {
        let (bus, raw) = (on_the_bus(server, user).await, client(server, user).await);
        let invalidations = raw.subscribe(KeysAuthority::INVALIDATIONS).await.expect("subscribe");
        raw.flush().await.expect("flush");
        let id = MemberId([id; 16]);
        join(&bus, id).await.expect("joined");
        Self { id, user, bus, raw, invalidations }
    }

    /// The next change that is published.
    async fn told(&mut self) -> Invalidating {
        let next = timeout(SOON, self.invalidations.next()).await.expect("an invalidation in time");
        let message = next.expect("a subscription");
        wire::decode(&message.payload, Contracts::OWN).expect("an invalidation").1
    }

    /// What says that it has applied a change.
    fn acknowledgement(&self, told: &Invalidating) -> Vec<u8> {
        let (member, epoch) = (self.id, told.invalidate.epoch);
        let revision = told.invalidate.change.revision;
        wire::encode(&Acknowledge { member, epoch, revision }, CONTRACT).unwrap()
    }
}

pub(super) async fn on_the_bus(server: &Server, user: &str) -> Bus {
    let options = NatsOptions {
        url: server.url(),
        name: user.to_owned(),
        unique: unique("played"),
        user: Some(User { name: user.to_owned(), password: Secret::new(password(user)) }),
        ca_file: None,
        contracts: Contracts::OWN,
    };
    Bus::Nats(Nats::connect(options).await.expect("connect to NATS"))
}

async fn ask<R: Rpc>(bus: &Bus, request: &R) -> Result<R::Reply, CallError> {
    bus.call(&Context::new(RequestId::new("test"), SOON), request).await
}

async fn join(bus: &Bus, id: MemberId) -> Result<(), CallError> {
    ask(bus, &Join::<KeysAuthority>::new(id, 1_000)).await.map(drop)
}

async fn leave(bus: &Bus, id: MemberId) {
    ask(bus, &Leave::<KeysAuthority>::new(id)).await.expect("an answer to a farewell");
}

/// Whether who asks is a member under this id: by a renewal, and by a verification.
async fn is_member(bus: &Bus, id: MemberId) -> bool {
    let renewed = ask(bus, &Renew::<KeysAuthority>::new(id, Revision(0))).await.unwrap();
    let verify = VerifyKeys { hashes: vec![CredentialHash([1; 32])], member: Some(id) };
    let verified = ask(bus, &verify).await.unwrap();
    let is_member = matches!(renewed, MemberResult::Member(_));
    assert_eq!(is_member, matches!(verified, MemberResult::Member(_)), "a renewal says otherwise");
    is_member
}

/// The user of the bus that a member has joined as.
async fn user_of(database: &str, id: MemberId) -> Option<String> {
    let mut database = PgConnection::connect(database).await.expect("the database is there");
    let query = sqlx::query_scalar("SELECT bus_user FROM keys_members WHERE id = $1");
    query.bind(id.0.as_slice()).fetch_optional(&mut database).await.expect("a user")
}

fn receipt(body: &Value) -> (u64, u64) {
    let field = |name: &str| body["receipt"][name].as_u64().expect("a receipt");
    (field("edges_confirmed"), field("waited_ms"))
}

/// Revokes a key while everybody else acknowledges for `member`, each as itself, as the member and as nobody, and
/// the member itself after them or not at all; gives the receipt.
async fn revoke(
    cluster: &Cluster,
    member: &mut Played,
    others: &[(&str, Client)],
    is_silent: bool,
) -> (u64, u64) {
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "ends").await;
    let meanwhile = async {
        let told = member.told().await;
        let acknowledgement = member.acknowledgement(&told);
        for (other, client) in others {
            for name in [other, member.user, "nobody"] {
                let subject = told.waiter.subject::<KeysAuthority>(name);
                let sent = client.publish(subject, acknowledgement.clone().into()).await;
                sent.expect("queue a message");
            }
            client.flush().await.expect("flush");
        }
        if !is_silent {
            let subject = told.waiter.subject::<KeysAuthority>(member.user);
            member.raw.publish(subject, acknowledgement.into()).await.expect("queue a message");
            member.raw.flush().await.expect("flush");
        }
    };
    let (answer, ()) = tokio::join!(api.revoke(&user.token, key.id), meanwhile);
    receipt(&answer.expect(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_waits_for_each_member_itself_whoever_acknowledges_for_it() {
    let builder = cluster(shipped("nats.conf", &[])).set("REVOKE_WAIT_MS", WAIT_MS);
    let mut cluster = tokio::task::block_in_place(|| builder.start());
    cluster.joined(1).await;
    for (user, number) in MEMBERS.into_iter().zip([1, 3]) {
        let mut others = Vec::new();
        for (other, _, _) in USERS.into_iter().filter(|(other, _, _)| *other != user) {
            others.push((other, client(cluster.bus(), other).await));
        }
        for (is_silent, id) in [(false, number), (true, number + 1)] {
            let mut member = Played::join(cluster.bus(), user, id).await;
            let (confirmed, waited) = revoke(&cluster, &mut member, &others, is_silent).await;
            if is_silent {
                assert_eq!(confirmed, 1, "{user}: the cluster's edge alone");
                assert!(waited >= WAIT_MS.parse().unwrap(), "{user}: {waited} ms");
            } else {
                assert_eq!(confirmed, 2, "{user}: the cluster's edge and itself");
            }
            leave(&member.bus, member.id).await;
        }
    }
}

#[tokio::test]
async fn a_member_s_id_is_of_no_use_to_another_user() {
    let mut cluster = cluster(shipped("nats.conf", &[])).start();
    for [user, other] in [MEMBERS, [MEMBERS[1], MEMBERS[0]]] {
        let member = Played::join(cluster.bus(), user, 1).await;
        let rogue = on_the_bus(cluster.bus(), other).await;
        // It does not leave for it.
        leave(&rogue, member.id).await;
        assert!(is_member(&member.bus, member.id).await, "{user}: still a member");
        // It is not answered as it, and cannot join as it.
        assert!(!is_member(&rogue, member.id).await, "{other}: answered as {user}");
        let joined = join(&rogue, member.id).await;
        assert!(matches!(joined, Err(CallError::Refused(Refusal::Invalid(_)))), "{joined:?}");
        // Under an id that was its own, neither is answered for the other.
        leave(&member.bus, member.id).await;
        assert!(!is_member(&member.bus, member.id).await, "{user}: it has left");
        join(&rogue, member.id).await.expect("an id that is free");
        assert!(is_member(&rogue, member.id).await, "{other}: joined");
        assert!(!is_member(&member.bus, member.id).await, "{user}: answered as {other}");
        leave(&rogue, member.id).await;
    }
}

#[tokio::test]
async fn whoever_joins_with_the_inbox_of_another_joins_for_that_one() {
    let mut cluster = cluster(shipped("nats.conf", &[])).start();
    let [edge, rogue] = MEMBERS;
    let (id, sender) = (MemberId([5; 16]), client(cluster.bus(), rogue).await);
    let request = wire::encode(&Join::<KeysAuthority>::new(id, 1_000), CONTRACT).unwrap();
    let forged = sender.publish_with_reply(KeysAuthority::JOIN, "_INBOX_edge.x.1", request.into());
    forged.await.expect("queue a message");
    sender.flush().await.expect("flush");
    let database = cluster.database(Service::Keys);
    let user = poll::until_async("it has joined", SOON, || user_of(database, id)).await;
    assert_eq!(user, edge);
    assert!(!is_member(&on_the_bus(cluster.bus(), rogue).await, id).await, "of no use to {rogue}");
    let edge = on_the_bus(cluster.bus(), edge).await;
    assert!(is_member(&edge, id).await, "the inbox' user answers for it");
    leave(&edge, id).await;
}

#[tokio::test]
async fn no_user_acknowledges_or_leaves_in_another_s_name() {
    let server = Server::with(shipped("nats.conf", &[]));
    for (user, _, _) in USERS {
        let client = client(&server, user).await;
        for (name, _, _) in USERS {
            if name == user && MEMBERS.contains(&name) {
                continue;
            }
            for subject in ["keys.acknowledge.x", "identity.acknowledge.x", "keys.leave"] {
                let subject = format!("v1.{subject}.{name}");
                client.publish(subject.clone(), "".into()).await.expect("queue a message");
                client.flush().await.expect("flush");
                let what = format!("Publish Violation - Subject \"{subject}\"");
                refused(&server, user, &what).await;
            }
        }
    }
}
