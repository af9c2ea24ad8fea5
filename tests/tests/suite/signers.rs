//! Whose tokens are accepted stands in the database: a change of `SECRET_KEY` is meant, exact, and for good; a mistake
//! is noticed and ends nobody's session.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::cluster::Replica;
use e2e::process::mortal;
use e2e::prometheus::{scrape, value};
use e2e::{Api, Cluster, Folder, Process, SECRET, Service, binary, nats, poll, postgres};
use latchkey_bus::{Bus, Context, Nats, NatsOptions, RequestId};
use latchkey_contract::identity::VerifyTokens;
use latchkey_contract::lease::MemberResult;
use latchkey_contract::wire::Contracts;
use latchkey_contract::{Secret, Verdict};
use sqlx::{Connection, Executor, PgConnection, Row};

mod one_process;
mod rows;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
/// Questions that reach each of two replicas, or it is not by chance.
const TRIES: usize = 24;
const NEXT: &str = "the-next-secret-the-next-secret-the-next";
const ELSEWHERE: &str = "a-secret-of-another-system-a-secret-of-it";

/// What a process says whose secret the database does not name, or not any more.
const UNKNOWN: &str = "names other values of SECRET_KEY";
const LOST: &str = "does not name SECRET_KEY of this process any more";
const WITHDRAWN: &str = "was taken back for good";
const LACKING: &str = "names secrets that this process lacks";

/// Waits until a process has said this.
fn said(replica: &Replica, text: &str) {
    poll::until(text, SOON, || {
        assert!(replica.runs(), "it has ended: {:#?}", replica.logs());
        replica.logs().iter().any(|line| line.contains(text)).then_some(())
    });
}

/// Whether a process says that it is ready.
async fn is_ready(replica: &Replica) -> bool {
    let answer = Api::new(&replica.monitor()).get("/health/ready").send().await;
    assert!([200, 503].contains(&answer.status), "{}", answer.text());
    answer.status == 200
}

/// Starts a replica anew with other variables, and waits for what it says instead of that it is ready.
fn relaunch(replica: &mut Replica, variables: &[(&str, &str)], says: &str) {
    replica.stop();
    for (name, value) in variables {
        replica.set(name, value);
    }
    replica.launch();
    said(replica, says);
}

async fn accepted(api: &Api, token: &str) {
    for _ in 0..TRIES {
        api.as_user(token).await.expect(200);
    }
}

async fn refused(api: &Api, token: &str) {
    for _ in 0..TRIES {
        api.as_user(token).await.unauthenticated();
    }
}

/// Two replicas of identity, and an edge that asks for each request.
fn two() -> Cluster {
    Cluster::builder().replicas(Service::Identity, 2).set("CACHE", "off").start()
}

#[tokio::test]
async fn a_replica_with_another_secret_by_mistake_serves_nobody_and_ends_nobodys_session() {
    let mut cluster = two();
    let api = cluster.api(0);
    let user = api.user().await;
    let mistakes =
        [("SECRET_KEY", ELSEWHERE), ("JWT_ISSUER", "elsewhere"), ("JWT_AUDIENCE", "elsewhere")];
    for (name, wrong) in mistakes {
        let odd = cluster.replica_mut(Service::Identity, 1);
        relaunch(odd, &[(name, wrong)], UNKNOWN);
        assert!(!is_ready(odd).await, "{name}");
        accepted(&api, &user.token).await;
        accepted(&api, &api.token(&user.username, PASSWORD).await).await;
        // Whoever starts last does not win.
        cluster.replica_mut(Service::Identity, 0).restart();
        accepted(&api, &user.token).await;
        let odd = cluster.replica_mut(Service::Identity, 1);
        assert!(!is_ready(odd).await, "{name}");
        let lines = odd.logs();
        assert_eq!(lines.iter().filter(|line| line.contains(UNKNOWN)).count(), 1, "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains(ELSEWHERE)), "{lines:#?}");
        odd.unset(name);
        odd.set("SECRET_KEY", SECRET);
        odd.restart();
        assert!(is_ready(odd).await, "{name}");
    }
    accepted(&api, &user.token).await;
}

#[tokio::test]
async fn the_secret_is_changed_one_replica_after_another_and_no_token_ends() {
    let mut cluster = two();
    let api = cluster.api(0);
    let user = api.user().await;
    let mut tokens = vec![user.token.clone()];
    let steps = [(SECRET, NEXT), (NEXT, SECRET)];
    for (secret, previous) in steps {
        for number in 0..2 {
            let replica = cluster.replica_mut(Service::Identity, number);
            replica.set("SECRET_KEY", secret);
            replica.set("SECRET_KEY_PREVIOUS", previous);
            replica.restart();
            tokens.push(api.token(&user.username, PASSWORD).await);
            for token in &tokens {
                accepted(&api, token).await;
            }
        }
    }
    let last = api.token(&user.username, PASSWORD).await;
    // The former one is taken back when its tokens have expired, or now.
    let end = cluster.enforcing(NEXT, &[]).finish();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(end.stdout.contains("1 others were taken back"), "{}", end.stdout);
    refused(&api, &user.token).await;
    accepted(&api, &last).await;
    // Where a configuration still has it, it is not accepted again.
    cluster.replica_mut(Service::Identity, 0).restart();
    refused(&api, &user.token).await;
    accepted(&api, &last).await;
    let again = cluster.enforcing(NEXT, &[]).finish();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stdout.contains("no other was"), "{}", again.stdout);
    let back = cluster.enforcing(SECRET, &[]).finish();
    assert_eq!(back.code, Some(78), "{}", back.stderr);
    assert!(back.stderr.contains("SECRET_KEY: another one has taken its place"), "{}", back.stderr);
    accepted(&api, &last).await;
}

#[tokio::test]
async fn what_edges_remember_ends_with_the_secret_also_at_one_that_is_cut_off() {
    let mut cluster = Cluster::builder()
        .replicas(Service::Identity, 2)
        .replicas(Service::Edge, 2)
        .relayed()
        .start();
    cluster.joined(2).await;
    let (api, other) = (cluster.api(0), cluster.api(1));
    let user = api.user().await;
    for edge in [&api, &other] {
        accepted(edge, &user.token).await;
    }
    // The one with the new secret waits, and changes nothing by itself.
    relaunch(cluster.replica_mut(Service::Identity, 1), &[("SECRET_KEY", NEXT)], UNKNOWN);
    for edge in [&api, &other] {
        edge.as_user(&user.token).await.expect(200);
    }
    // A secret that nobody's tokens are signed with may be a slip of the pen: it has to be called new.
    let end = cluster.enforcing(NEXT, &[]).finish();
    assert_eq!(end.code, Some(73), "{}", end.stderr);
    assert!(end.stderr.contains("It names 1 others"), "{}", end.stderr);
    assert!(end.stderr.contains("--new"), "{}", end.stderr);
    cluster.relay(Service::Edge, 1).cut();
    let end = cluster.enforcing(NEXT, &["--new"]).finish();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    other.as_user(&user.token).await.problem(503, "");
    let answer = api.as_user(&user.token).await;
    assert!([401, 503].contains(&answer.status), "{}", answer.text());

    cluster.replica_mut(Service::Identity, 1).wait_ready();
    // The other one has noticed, says so, and leaves the requests to those that can answer them.
    let former = cluster.replica(Service::Identity, 0);
    said(former, LOST);
    said(former, WITHDRAWN);
    assert!(!is_ready(former).await);
    refused(&api, &user.token).await;
    let token = api.token(&user.username, PASSWORD).await;
    accepted(&api, &token).await;
    cluster.relay(Service::Edge, 1).mend();
    let back = || async { (other.as_user(&token).await.status == 200).then_some(()) };
    poll::until_async("the edge is back", SOON, back).await;
    refused(&other, &user.token).await;

    // Started anew with the former secret it gives nothing back.
    relaunch(cluster.replica_mut(Service::Identity, 0), &[], WITHDRAWN);
    assert!(!is_ready(cluster.replica(Service::Identity, 0)).await);
    refused(&api, &user.token).await;
    accepted(&api, &token).await;
    let former = cluster.replica_mut(Service::Identity, 0);
    former.set("SECRET_KEY", NEXT);
    former.restart();
    accepted(&api, &token).await;
}

#[tokio::test]
async fn a_replica_that_lacks_a_secret_answers_503_for_what_it_cannot_read_and_says_so() {
    let mut cluster = two();
    let api = cluster.api(0);
    let user = api.user().await;
    let ahead = cluster.replica_mut(Service::Identity, 1);
    ahead.set("SECRET_KEY", NEXT);
    ahead.set("SECRET_KEY_PREVIOUS", SECRET);
    ahead.restart();
    cluster.replica_mut(Service::Identity, 0).stop();
    let next = api.token(&user.username, PASSWORD).await;
    accepted(&api, &user.token).await;
    cluster.replica_mut(Service::Identity, 0).restart();
    cluster.replica_mut(Service::Identity, 1).stop();

    let behind = cluster.replica(Service::Identity, 0);
    said(behind, LACKING);
    assert!(is_ready(behind).await);
    let missing =
        || async { value(&scrape(&behind.monitor()).await, "latchkey_secrets_missing", &[]) };
    assert_eq!(missing().await, Some(1.0));
    accepted(&api, &user.token).await;
    accepted(&api, &api.token(&user.username, PASSWORD).await).await;
    let forged = forged(&user.token);
    api.as_user(&next).await.problem(503, "unavailable");
    api.as_user(&forged).await.problem(503, "unavailable");
    for no_token in ["nonsense", "a.b.c", &format!("{}=", user.token)] {
        api.as_user(no_token).await.unauthenticated();
    }
    // Whoever sends one costs nobody else an answer that is asked for in the same message.
    let said = verdicts(&cluster, [&user.token, &forged, "a.b.c", &next, &user.token]).await;
    assert_eq!(said, ["valid", "not judged", "malformed", "not judged", "valid"]);
    let behind = cluster.replica(Service::Identity, 0);
    let complaints: Vec<_> =
        behind.logs().into_iter().filter(|line| line.contains("has no answer")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");

    let behind = cluster.replica_mut(Service::Identity, 0);
    behind.set("SECRET_KEY_PREVIOUS", NEXT);
    behind.restart();
    accepted(&api, &next).await;
    api.as_user(&forged).await.unauthenticated();
    let behind = cluster.replica(Service::Identity, 0);
    let text = scrape(&behind.monitor()).await;
    assert_eq!(value(&text, "latchkey_secrets_missing", &[]), Some(0.0));
}

/// What identity says of each of these tokens, asked for in one message.
async fn verdicts<const N: usize>(cluster: &Cluster, tokens: [&str; N]) -> Vec<&'static str> {
    let options = NatsOptions {
        url: cluster.bus_url(),
        name: "edge".to_owned(),
        unique: "asks-for-many".to_owned(),
        user: None,
        ca_file: None,
        contracts: Contracts::OWN,
    };
    let bus = Bus::Nats(Nats::connect(options).await.unwrap());
    let tokens = tokens.map(|token| Secret::new(token.to_owned())).to_vec();
    let context = Context::new(RequestId::new("test"), SOON);
    let answer = bus.call(&context, &VerifyTokens { tokens, member: None }).await.unwrap();
    let MemberResult::Member(found) = answer else { panic!("nobody asks as a member") };
    found.verdicts.iter().map(|said| said.as_ref().map_or("not judged", Verdict::code)).collect()
}

/// The token with another signature.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let turned: String = signature.chars().rev().collect();
    assert_ne!(signature, turned);
    // The last character of a signature stands for fewer bits than the others.
    format!("{signed}.{}A", turned.chars().take(42).collect::<String>())
}

#[tokio::test]
async fn of_two_first_starts_with_different_secrets_one_serves() {
    let (bus, database) = (nats::Server::start(), postgres::fresh_database().await);
    let folder = Folder::new();
    let start = |secret: &str| {
        let program = mortal(binary::named(Service::Identity.binary()));
        let mut command = binary::clean(program, folder.path());
        command.env("NATS_URL", bus.url()).env("DATABASE_URL", &database);
        command.env("SECRET_KEY", secret).env("MONITOR_ADDR", "off");
        Process::start(command)
    };
    let mut both = [start(SECRET), start(NEXT)];
    let counts = poll::until("one serves and the other waits", SOON, || {
        let mut counts = [0, 0];
        for process in &mut both {
            let lines = process.stderr();
            assert!(process.ended().is_none(), "{lines:#?}");
            counts[0] += lines.iter().filter(|line| line.contains("\"ready\"")).count();
            counts[1] += lines.iter().filter(|line| line.contains(UNKNOWN)).count();
        }
        (counts[0] + counts[1] == 2).then_some(counts)
    });
    assert_eq!(counts, [1, 1]);
}

/// The revision, and how many signers are named and withdrawn.
async fn state(database: &mut PgConnection) -> (i64, i64, i64) {
    let query = "SELECT position, (SELECT count(*) FROM identity_signers WHERE withdrawn_at IS NULL), \
        (SELECT count(*) FROM identity_signers WHERE withdrawn_at IS NOT NULL) FROM identity_position";
    let row = sqlx::query(query).fetch_one(database).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_change_that_is_killed_is_done_whole_or_not_at_all_and_its_repeat_waits() {
    let cluster = Cluster::builder().start();
    cluster.joined(1).await;
    let api = cluster.api(0);
    let user = api.user().await;
    accepted(&api, &user.token).await;
    let connect = || PgConnection::connect(cluster.database(Service::Identity));
    let (mut holder, mut watcher) = (connect().await.unwrap(), connect().await.unwrap());
    let before = state(&mut watcher).await;

    // The revision is taken and the new secret named, and the former one cannot be taken back yet.
    holder.execute("BEGIN; SELECT 1 FROM identity_signers FOR UPDATE").await.unwrap();
    let mut killed = cluster.enforcing(NEXT, &["--new"]);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event_type = 'Lock'";
    loop {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut watcher).await.unwrap();
        // It gives up by itself where it waits for too long: nothing is done then either.
        if count > 0 || killed.ended().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed.kill();
    holder.execute("ROLLBACK").await.unwrap();
    let over = || async {
        let mut looker = connect().await.unwrap();
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut looker).await.unwrap();
        (count == 0).then_some(())
    };
    poll::until_async("the killed command's connection ends", SOON, over).await;
    assert_eq!(state(&mut watcher).await, before);
    accepted(&api, &user.token).await;

    // Killed behind its commit, while edges may still remember.
    let mut killed = cluster.enforcing(NEXT, &["--new"]);
    while state(&mut watcher).await == before {
        assert!(killed.ended().is_none(), "{:#?}", killed.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed.kill();
    let end = cluster.enforcing(NEXT, &[]).finish();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let answer = api.as_user(&user.token).await;
    assert!([401, 503].contains(&answer.status), "{}", answer.text());
    let (revision, _, _) = before;
    assert_eq!(state(&mut watcher).await, (revision + 1, 1, 1));
}
