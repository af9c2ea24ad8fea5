//! When a command on a ceiling has returned, every edge goes by it, whatever it remembered; and so it does once another
//! `USER_SCOPES` is in force.

use std::time::Duration;

use e2e::account::{PASSWORD, made};
use e2e::{Api, Cluster, Service, Stack, User, poll, unique};
use latchkey_bus::{Bus, Context, Nats, NatsOptions, RequestId};
use latchkey_contract::keys::VerifyKeys;
use latchkey_contract::lease::MemberResult;
use latchkey_contract::wire::Contracts;
use latchkey_contract::{CredentialHash, Rpc, Verdict};
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
/// Times that a ceiling is taken away and given back.
const ROUNDS: usize = 4;

/// A token that may see the user's keys, as far as the user may.
async fn reader(api: &Api, user: &User) -> String {
    let body =
        json!({"username": user.username, "password": PASSWORD, "scope": "latchkey:keys:read"});
    let login = made(200, || api.post_json("/auth/login", &body)).await;
    login["access_token"].as_str().unwrap().to_owned()
}

/// What a new key of the user's may do at most: it names no scopes.
async fn cut(api: &Api, user: &User) -> Value {
    api.key(&user.token, "cut").await;
    let keys = api.get("/keys?limit=1000").bearer(&user.token).send().await.expect(200);
    keys.as_array().unwrap().last().unwrap()["scopes"].clone()
}

fn set(stack: &Stack, user: &User, ceiling: &str) {
    let done = block_in_place(|| stack.operator(&["user", "ceiling", &user.username, ceiling]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edge_goes_by_a_ceiling_whose_command_has_returned() {
    let stack = Stack::shared();
    let api = stack.api();
    let edges: Vec<Api> = stack.edges().iter().map(|url| Api::new(url)).collect();
    let user = api.user().await;
    let token = reader(&api, &user).await;
    for round in 0..ROUNDS {
        for edge in &edges {
            // The second time from memory.
            for _ in 0..2 {
                edge.get("/keys").bearer(&token).send().await.expect(200);
            }
        }
        set(stack, &user, if round % 2 == 0 { "orders:read" } else { "" });
        for edge in &edges {
            let answer = edge.get("/keys").bearer(&token).send().await;
            assert_eq!(answer.status, 403, "{}", answer.text());
            // A token that was not narrowed manages its user's keys whatever the ceiling is.
            edge.get("/keys").bearer(&user.token).send().await.expect(200);
        }
        set(stack, &user, if round % 2 == 0 { "--clear" } else { "latchkey:keys:*" });
    }
    for edge in &edges {
        edge.get("/keys").bearer(&token).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_that_names_no_scopes_is_cut_to_the_ceiling() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    assert_eq!(cut(&api, &user).await, json!(["*"]));
    set(stack, &user, "orders:read a:*");
    assert_eq!(cut(&api, &user).await, json!(["a:*", "orders:read"]));
    set(stack, &user, "");
    assert_eq!(cut(&api, &user).await, json!([]));
    set(stack, &user, "--clear");
    assert_eq!(cut(&api, &user).await, json!(["*"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_scopes_of_users_are_in_force_from_the_start_that_brings_them() {
    let mut stack = block_in_place(Stack::start);
    let user = stack.api().user().await;
    let token = reader(&stack.api(), &user).await;
    stack.api().get("/keys").bearer(&token).send().await.expect(200);
    block_in_place(|| {
        stack.restart_with(|config| {
            config.set("USER_SCOPES", "orders:read");
        });
    });
    let api = stack.api();
    let answer = api.get("/keys").bearer(&token).send().await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    // The key service is told of it, and goes by it.
    let is_cut = async || (cut(&api, &user).await == json!(["orders:read"])).then_some(());
    poll::until_async("the key service goes by it", SOON, is_cut).await;
    // A ceiling of one's own is in place of it.
    set(&stack, &user, "latchkey:keys:read x");
    api.get("/keys").bearer(&token).send().await.expect(200);
    assert_eq!(cut(&api, &user).await, json!(["x"]));
    // Nothing is a value.
    set(&stack, &user, "--clear");
    block_in_place(|| {
        stack.restart_with(|config| {
            config.set("USER_SCOPES", "");
        });
    });
    let api = stack.api();
    let is_cut = async || (cut(&api, &user).await == json!([])).then_some(());
    poll::until_async("the key service goes by nothing", SOON, is_cut).await;
    let answer = api.get("/keys").bearer(&token).send().await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_replicas_with_different_scopes_of_users_the_last_start_decides_for_all() {
    let builder = Cluster::builder().replicas(Service::Identity, 2).cheap_passwords();
    let mut cluster = block_in_place(|| builder.start());
    let api = cluster.api(0);
    let user = api.user().await;
    let token = reader(&api, &user).await;
    let replica = cluster.replica_mut(Service::Identity, 1);
    replica.set("USER_SCOPES", "* other");
    block_in_place(|| replica.restart());
    // The other one says that it goes by that, too.
    let says = "a process that started later has set";
    poll::until_async("the first replica sees it", SOON, async || {
        let logs = cluster.replica(Service::Identity, 0).logs();
        logs.iter().any(|line| line.contains(says)).then_some(())
    })
    .await;
    // Whichever of them is asked.
    for _ in 0..20 {
        let body = json!({"username": user.username, "password": PASSWORD, "scope": "other latchkey:keys:read"});
        let login = made(200, || api.post_json("/auth/login", &body)).await;
        assert_eq!(login["scope"], "other");
        let answer = api.get("/keys").bearer(&token).send().await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let logs = cluster.replica(Service::Identity, 1).logs();
    assert!(!logs.iter().any(|line| line.contains(says)), "{logs:#?}");
}

/// What a key may do, as the key service says now.
async fn effective(bus: &Bus, key: &str) -> String {
    let context = Context::new(RequestId::new("ceilings"), VerifyKeys::TIMEOUT);
    let ask = VerifyKeys { hashes: vec![CredentialHash::of(key)], member: None };
    let MemberResult::Member(said) = bus.call(&context, &ask).await.unwrap() else {
        panic!("nobody asked as a member")
    };
    match said.verdicts.as_slice() {
        [Some(Verdict::Valid(principal))] => principal.grants.scopes.as_text().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_made_while_their_user_is_held_to_a_ceiling_are_held_to_it() {
    let cluster = block_in_place(|| Cluster::builder().replicas(Service::Keys, 2).start());
    let api = cluster.api(0);
    let user = api.user().await;
    let options = NatsOptions {
        url: cluster.bus_url(),
        name: "edge".to_owned(),
        unique: unique("edge"),
        user: None,
        ca_file: None,
        contracts: Contracts::OWN,
    };
    let bus = Bus::Nats(Nats::connect(options).await.unwrap());
    let before = api.key(&user.token, "before").await;
    assert_eq!(effective(&bus, &before.key).await, "*");
    let making: Vec<_> = (0..8)
        .map(|number| {
            let (api, token) = (cluster.api(0), user.token.clone());
            tokio::spawn(async move { api.key(&token, &format!("during {number}")).await })
        })
        .collect();
    let done = block_in_place(|| cluster.operator(&["user", "ceiling", &user.username, "a"]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(effective(&bus, &before.key).await, "a");
    for key in making {
        assert_eq!(effective(&bus, &key.await.unwrap().key).await, "a");
    }
    // What was granted stays, and is there again.
    let done = block_in_place(|| cluster.operator(&["user", "ceiling", &user.username, "--clear"]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(effective(&bus, &before.key).await, "*");
}
