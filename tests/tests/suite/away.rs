//! What callers on the bus are told while a service's database is away: to come back.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use e2e::{Cluster, Service, poll};
use latchkey_contract::audit::ListEvents;
use latchkey_contract::authority::{Join, Leave, Renew};
use latchkey_contract::identity::{
    self, IdentityAuthority, LogIn, LogOut, LogOutAll, SetActive, SignUp, VerifyTokens,
};
use latchkey_contract::keys::{
    self, IssueKey, KeysAuthority, ListKeys, NewKey, ReadTelling, RevokeKey, SetOwner, TellOwners,
    VerifyKeys,
};
use latchkey_contract::lease::{Epoch, MemberId, Revision};
use latchkey_contract::{
    Actor, CredentialHash, KeyId, Mark, Rpc, Secret, Sender, SessionId, UserId,
};

/// Bound on what comes back by itself.
const BACK: Duration = Duration::from_mins(1);
const MEMBER: MemberId = MemberId([7; 16]);
/// Who acts, by which session.
const SESSION: SessionId = SessionId([1; 16]);

/// Who asks, on a bus that takes everybody: an edge, and an operator.
struct Askers {
    edge: Client,
    operator: Client,
}

impl Askers {
    async fn connect(url: &str) -> Self {
        let client = async |sender: Sender| {
            let options = async_nats::ConnectOptions::new()
                .custom_inbox_prefix(format!("_INBOX_{}", sender.name()))
                .request_timeout(Some(BACK));
            options.connect(url).await.unwrap()
        };
        Self { edge: client(Sender::Edge).await, operator: client(Sender::Operator).await }
    }
}

/// How a request in JSON is answered: its subject, the code and the sentence.
async fn answer<R: Rpc>(
    askers: &Askers,
    user: UserId,
    request: &R,
) -> (&'static str, String, String) {
    let mut headers = HeaderMap::new();
    let (client, actor) = match R::SENDER {
        Some(Sender::Operator) => (&askers.operator, Actor::Operator { name: "operator".into() }),
        _ => (&askers.edge, Actor::User { id: user, session: SESSION }),
    };
    headers.insert("Latchkey-Actor", actor.to_string());
    headers.insert("Content-Type", "application/json");
    headers.insert("Latchkey-Timeout-Ms", "10000");
    let body = serde_json::to_vec(request).unwrap();
    let subject = if R::SIGNED { format!("{}.edge", R::SUBJECT) } else { R::SUBJECT.into() };
    let asked = client.request_with_headers(subject, headers, body.into());
    let answer = asked.await.unwrap_or_else(|error| panic!("{}: {error}", R::SUBJECT));
    let header = |name: &str| {
        let headers = answer.headers.as_ref();
        headers.and_then(|all| all.get(name)).map(ToString::to_string).unwrap_or_default()
    };
    (R::SUBJECT, header("Nats-Service-Error-Code"), header("Nats-Service-Error"))
}

fn login(user: &e2e::User) -> LogIn {
    let (username, password) = (user.username.clone(), user.password.clone());
    LogIn {
        username: Some(username),
        password: Some(Secret::new(password)),
        mark: None,
        scope: None,
        refresh: Some(false),
        device: None,
    }
}

fn tell_owners(epoch: Epoch, revision: Revision) -> TellOwners {
    let (keys, of, owners, default_ceiling) = (epoch, epoch, Vec::new(), None);
    let (version, after, more) = (0, None, false);
    TellOwners { version, keys, of, revision, after, owners, more, default_ceiling }
}

#[tokio::test]
async fn a_service_whose_database_is_away_has_its_callers_come_back() {
    let mut cluster = Cluster::builder()
        .own_postgres()
        .set("ARGON2_MEMORY_KIB", "8192")
        .set("ARGON2_ITERATIONS", "1")
        .start();
    let user = cluster.api(0).user().await;
    let askers = Askers::connect(&cluster.bus().url()).await;
    cluster.postgres().stop();

    let token = Secret::new(user.token.clone());
    let owner = UserId(user.id);
    let key = NewKey { name: Some("away".to_owned()), ..NewKey::default() };
    let sign_up = SignUp {
        email: Some("away@example.com".to_owned()),
        username: Some("away".to_owned()),
        password: Some(Secret::new("a quiet harbour at dusk".to_owned())),
    };
    let (mark, epoch, revision) = (Mark([1; 16]), Epoch::default(), Revision(1));
    let set_owner = SetOwner { owner, disabled: true, ceiling: None, epoch, revision };
    let set_active = SetActive { user: owner, active: false, version: 1, mark };
    let answers = [
        answer(&askers, owner, &keys::Ready).await,
        answer(
            &askers,
            owner,
            &IssueKey { owner, narrowed: None, key, seed: None, idempotency: None },
        )
        .await,
        answer(&askers, owner, &ListKeys::of(owner, KeyId(0), 5)).await,
        answer(&askers, owner, &ListEvents::<KeysAuthority>::of(owner, 5)).await,
        answer(&askers, owner, &ListEvents::<IdentityAuthority>::of(owner, 5)).await,
        answer(&askers, owner, &RevokeKey::of(owner, KeyId(1), true)).await,
        answer(&askers, owner, &set_owner).await,
        answer(&askers, owner, &ReadTelling).await,
        answer(&askers, owner, &tell_owners(epoch, revision)).await,
        answer(&askers, owner, &VerifyKeys { hashes: vec![CredentialHash([1; 32])], member: None })
            .await,
        answer(&askers, owner, &Join::<KeysAuthority>::new(MEMBER, 500)).await,
        answer(&askers, owner, &Renew::<KeysAuthority>::new(MEMBER, Revision(0))).await,
        answer(&askers, owner, &Leave::<KeysAuthority>::new(MEMBER)).await,
        answer(&askers, owner, &identity::Ready).await,
        answer(&askers, owner, &sign_up).await,
        answer(&askers, owner, &login(&user)).await,
        answer(&askers, owner, &LogOut { session: SESSION }).await,
        answer(&askers, owner, &LogOutAll { user: owner, through: 1, keep_current: false }).await,
        answer(&askers, owner, &set_active).await,
        answer(&askers, owner, &VerifyTokens { tokens: vec![token], member: None }).await,
        answer(&askers, owner, &Join::<IdentityAuthority>::new(MEMBER, 500)).await,
        answer(&askers, owner, &Renew::<IdentityAuthority>::new(MEMBER, Revision(0))).await,
        answer(&askers, owner, &Leave::<IdentityAuthority>::new(MEMBER)).await,
    ];
    for (subject, code, sentence) in &answers {
        let told = (code.as_str(), sentence.as_str());
        assert_eq!(told, ("503", "the service cannot answer just now"), "{subject}");
    }
    // Over HTTP it is the same, with a time to come back after.
    let refused = cluster.api(0).log_in(&user.username, &user.password).await;
    refused.problem(503, "unavailable");
    assert!(!refused.header("retry-after").is_empty());

    cluster.postgres().restart();
    poll::until_async("it answers again", BACK, async || {
        let (_, code, _) = answer(&askers, owner, &ListKeys::of(owner, KeyId(0), 5)).await;
        code.is_empty().then_some(())
    })
    .await;
    let said = |service| {
        let logs = cluster.replica(service, 0).logs();
        logs.iter().any(|line| line.contains("\"ERROR\"") && line.contains("a request failed"))
    };
    assert!(!said(Service::Keys) && !said(Service::Identity), "an outage is no fault of ours");
}
