//! Who may say who acts: an edge of its clients, an operator's command of the operator, and nobody else, whatever the
//! headers say. The server keeps the others from the subjects of commands; where it does not, the services refuse whoever asks
//! from an inbox of their own.

use async_nats::HeaderMap;
use e2e::nats::{Server, Setup};
use e2e::{Cluster, Folder, User};
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::audit::ListEvents;
use latchkey_contract::identity::{
    ChangePassword, EndSession, FindUser, IdentityAuthority, ListSessions, LogIn, LogOut,
    LogOutAll, NameUser, ReadUser, Refresh, RevokeToken, SetActive, SignUp,
};
use latchkey_contract::keys::{
    FindKeys, GetKey, IssueKey, IssueKeys, KeysAuthority, ListKeys, LookUpKeys, NewKey, PurgeKey,
    RevokeKey, RevokeKeys, RevokeShown, RotateKey, SetKeyEnabled, UpdateKey,
};
use latchkey_contract::signing::{ListSigningKeys, RevokeSigningKey};
use latchkey_contract::wire::{self, CONTRACT, PREVIOUS};
use latchkey_contract::{
    Actor, CallError, Caller, KeyId, Mark, Refusal, Rpc, Secret, Sender, SessionId, UserId,
};

use super::members::on_the_bus;
use super::{SOON, USERS, client, cluster, refused, shipped};

/// Every command, with who may give it.
const COMMANDS: [(&str, Sender); 30] = [
    of::<SignUp>(),
    of::<LogIn>(),
    of::<LogOut>(),
    of::<LogOutAll>(),
    of::<ChangePassword>(),
    of::<ReadUser>(),
    of::<ListEvents<IdentityAuthority>>(),
    of::<ListEvents<KeysAuthority>>(),
    of::<IssueKey>(),
    of::<IssueKeys>(),
    of::<ListKeys>(),
    of::<LookUpKeys>(),
    of::<Refresh>(),
    of::<RevokeToken>(),
    of::<ListSessions>(),
    of::<EndSession>(),
    of::<RevokeShown>(),
    of::<UpdateKey>(),
    of::<SetKeyEnabled>(),
    of::<PurgeKey>(),
    of::<RevokeKey>(),
    of::<GetKey>(),
    of::<RotateKey>(),
    of::<RevokeKeys>(),
    of::<SetActive>(),
    of::<FindUser>(),
    of::<NameUser>(),
    of::<FindKeys>(),
    of::<ListSigningKeys>(),
    of::<RevokeSigningKey>(),
];
/// What an edge asks besides, for which nobody acts.
const NOBODY_ACTS: [&str; 7] =
    ["verify", "ready", "join", "renew", "uses", "invalidate", "signing-keys"];

const fn of<R: Rpc>() -> (&'static str, Sender) {
    match R::SENDER {
        Some(sender) => (R::SUBJECT, sender),
        None => panic!("nobody acts"),
    }
}

#[test]
fn what_an_edge_may_ask_is_a_command_or_something_for_which_nobody_acts() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nats/nats.conf");
    let text = std::fs::read_to_string(file).unwrap();
    let quoted = text.split('"').skip(1).step_by(2);
    let requests = quoted.filter(|subject| {
        let mut tokens = subject.split('.').skip(1);
        let service = tokens.next().unwrap_or_default();
        let verb = tokens.next().unwrap_or_default();
        ["identity", "keys"].contains(&service)
            && tokens.next().is_none()
            && verb.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && !NOBODY_ACTS.contains(&verb)
    });
    let mut requests: Vec<&str> = requests.collect();
    let commands = COMMANDS.iter().filter(|(_, sender)| *sender == Sender::Edge);
    let mut commands: Vec<&str> = commands.map(|(subject, _)| *subject).collect();
    requests.sort_unstable();
    commands.sort_unstable();
    assert_eq!(requests, commands, "each once, by the edge alone");
}

#[tokio::test]
async fn nobody_but_its_sender_gives_a_command_whoever_they_say_acts() {
    let server = Server::with(shipped("nats.conf", &[]));
    for (user, _, _) in USERS {
        let client = client(&server, user).await;
        for (subject, sender) in COMMANDS {
            if sender.is(user) {
                continue;
            }
            let mut headers = HeaderMap::new();
            headers.insert("Latchkey-Actor", "operator:operator");
            let inbox = format!("_INBOX_{}.x.1", sender.name());
            let sent =
                client.publish_with_reply_and_headers(subject, inbox, headers, "".into()).await;
            sent.expect("queue a message");
            client.flush().await.expect("flush");
            refused(&server, user, &format!("Publish Violation - Subject \"{subject}\"")).await;
        }
    }
}

/// The shipped users on a bus that lets each of them do everything.
fn without_permissions(folder: &Folder) -> Setup {
    let users =
        USERS.map(|(user, _, password)| format!("{{ user: {user}, password: {password} }}"));
    let path = folder.join("lax.conf");
    std::fs::write(&path, format!("authorization {{ users: [ {} ] }}", users.join("\n"))).unwrap();
    Setup { arguments: vec!["-c".into(), path.display().to_string()], ..Setup::default() }
}

async fn ask<R: Rpc>(bus: &Bus, actor: Option<Actor>, request: &R) -> Result<(), CallError> {
    let id = RequestId::new("attack");
    let context = Context::new(id.clone(), SOON);
    let context = match actor {
        Some(actor) => context.acting(Caller::of(actor, id)),
        None => context,
    };
    bus.call(&context, request).await.map(drop)
}

/// Everything that can be done to a user and a key of theirs by somebody who says that `actor` does it.
async fn everything(
    bus: &Bus,
    actor: Option<&Actor>,
    victim: &User,
    key: i64,
    session: SessionId,
) -> Vec<(&'static str, Result<(), CallError>)> {
    let (user, mark) = (UserId(victim.id), Mark([7; 16]));
    let secret = |text: &str| Some(Secret::new(text.to_owned()));
    let forged = NewKey { name: Some("forged".to_owned()), ..NewKey::default() };
    let issue =
        IssueKey { owner: user, narrowed: None, key: forged, seed: None, idempotency: None };
    let password = ChangePassword {
        version: 1,
        mark,
        current_password: secret(&victim.password),
        new_password: secret("a lantern above the tide"),
    };
    let actor = || actor.cloned();
    let all = SetActive { user, active: false, version: 1, mark };
    vec![
        (LogOut::SUBJECT, ask(bus, actor(), &LogOut { session }).await),
        (
            LogOutAll::SUBJECT,
            ask(bus, actor(), &LogOutAll { user, through: i64::MAX, keep_current: false }).await,
        ),
        (ListSessions::SUBJECT, ask(bus, actor(), &ListSessions { user, before: None }).await),
        (
            EndSession::SUBJECT,
            ask(bus, actor(), &EndSession { user, handle: "0".repeat(16) }).await,
        ),
        (ChangePassword::SUBJECT, ask(bus, actor(), &password).await),
        (ReadUser::SUBJECT, ask(bus, actor(), &ReadUser { user }).await),
        (
            ListEvents::<IdentityAuthority>::SUBJECT,
            ask(bus, actor(), &ListEvents::<IdentityAuthority>::of(user, 5)).await,
        ),
        (
            ListEvents::<KeysAuthority>::SUBJECT,
            ask(bus, actor(), &ListEvents::<KeysAuthority>::of(user, 5)).await,
        ),
        (IssueKey::SUBJECT, ask(bus, actor(), &issue).await),
        (ListKeys::SUBJECT, ask(bus, actor(), &ListKeys::of(user, KeyId(0), 5)).await),
        (RevokeKey::SUBJECT, ask(bus, actor(), &RevokeKey::of(user, KeyId(key), true)).await),
        (SetActive::SUBJECT, ask(bus, actor(), &all).await),
        (
            FindUser::SUBJECT,
            ask(bus, actor(), &FindUser { username: victim.username.clone() }).await,
        ),
    ]
}

/// Says that the user's token and key are as they were, and that there is no further key.
async fn untouched(cluster: &Cluster, victim: &User, key: &str) {
    let api = cluster.api(0);
    api.as_user(&victim.token).await.expect(200);
    api.as_service(key).await.expect(200);
    let listed = api.get("/keys").bearer(&victim.token).send().await.expect(200);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    api.token(&victim.username, &victim.password).await;
}

/// Who asks is whoever's inbox the answer goes to, and the bus does not look at that: each asks from an inbox of its
/// own here. Where the bus forbids nothing, whoever names an edge's inbox is taken for the edge, and hears no answer.
#[tokio::test]
async fn a_service_believes_of_who_acts_what_is_asked_from_the_inbox_of_an_edge_or_an_operator_alone()
 {
    let folder = Folder::new();
    let mut cluster = cluster(without_permissions(&folder)).start();
    let victim = cluster.api(0).user().await;
    let key = cluster.api(0).key(&victim.token, "stays").await;
    let session = SessionId([0xab; 16]);
    let of_user = |id| Some(Actor::User { id: UserId(id), session });
    let operator = |name: &str| Some(Actor::Operator { name: name.into() });
    let edge = Some(Actor::System { service: "edge".into() });
    for (user, _, _) in USERS {
        let bus = on_the_bus(cluster.bus(), user).await;
        let mut claims = vec![None, operator("operator-ada"), Some(Actor::Anonymous)];
        let (id, by) = (UserId(victim.id + 1_000), SessionId([1; 16]));
        let other = Some(Actor::User { id, session: by });
        claims.push(other.clone());
        match user {
            // It may say who of its clients acts: then that one acts, on what is theirs alone.
            "edge" => claims.push(operator("edge")),
            "operator" => claims.extend([of_user(victim.id), edge.clone()]),
            _ => claims.extend([of_user(victim.id), operator(user), edge.clone()]),
        }
        for claim in claims {
            for (subject, told) in everything(&bus, claim.as_ref(), &victim, key.id, session).await
            {
                // Nobody's password is changed but one's own, and this one has none.
                let is_own = subject == ChangePassword::SUBJECT && user == "edge" && claim == other;
                let ended = CallError::Refused(Refusal::SessionEnded);
                let expected = if is_own { ended } else { CallError::Forbidden };
                assert_eq!(told, Err(expected), "{user}, {claim:?}: {subject}");
            }
        }
    }
    untouched(&cluster, &victim, &key.key).await;
    // What is believed is done.
    let bus = on_the_bus(cluster.bus(), "operator").await;
    let find = FindUser { username: victim.username.clone() };
    assert_eq!(ask(&bus, operator("operator"), &find).await, Ok(()));
    let bus = on_the_bus(cluster.bus(), "edge").await;
    let end = LogOutAll { user: UserId(victim.id), through: i64::MAX, keep_current: false };
    assert_eq!(ask(&bus, of_user(victim.id), &end).await, Ok(()));
    cluster.api(0).as_user(&victim.token).await.unauthenticated();
}

#[tokio::test]
async fn a_user_agent_that_cannot_be_read_refuses_nothing() {
    let mut cluster = cluster(shipped("nats.conf", &[])).start();
    let user = cluster.api(0).user().await;
    let edge = client(cluster.bus(), "edge").await;
    let actor = Actor::User { id: UserId(user.id), session: SessionId([1; 16]) };
    for unreadable in ["", "a\u{202e}b"] {
        let mut headers = HeaderMap::new();
        headers.insert("Latchkey-Actor", actor.to_string());
        headers.insert("Latchkey-User-Agent", unreadable);
        let payload = wire::encode(&ReadUser { user: UserId(user.id) }, CONTRACT).unwrap().into();
        let answer = edge.request_with_headers(ReadUser::SUBJECT, headers, payload).await.unwrap();
        let code = answer.headers.as_ref().and_then(|it| it.get("Nats-Service-Error-Code"));
        assert_eq!(code, None, "{unreadable:?}");
    }
}

#[tokio::test]
async fn who_does_not_say_who_acts_is_refused_by_either_contract() {
    let mut cluster = cluster(shipped("nats.conf", &[])).start();
    let user = cluster.api(0).user().await;
    let edge = client(cluster.bus(), "edge").await;
    let ask = LogOutAll { user: UserId(user.id), through: i64::MAX, keep_current: false };
    let mut unreadable = HeaderMap::new();
    unreadable.insert("Latchkey-Actor", "root");
    for contract in [CONTRACT, PREVIOUS] {
        for headers in [HeaderMap::new(), unreadable.clone()] {
            let payload = wire::encode(&ask, contract).unwrap().into();
            let answer =
                edge.request_with_headers(LogOutAll::SUBJECT, headers, payload).await.unwrap();
            let code = answer.headers.as_ref().and_then(|it| it.get("Nats-Service-Error-Code"));
            assert_eq!(code.map(ToString::to_string).as_deref(), Some("403"), "{contract}");
            cluster.api(0).as_user(&user.token).await.expect(200);
        }
    }
}
