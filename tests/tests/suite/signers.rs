//! Whose tokens are accepted stands in the database: a change of `SECRET_KEY` is meant, exact, and for good; a mistake
//! is noticed and ends nobody's session.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::cluster::Replica;
use e2e::process::{free_port, mortal};
use e2e::prometheus::{scrape, value};
use e2e::{Api, Cluster, Folder, Process, SECRET, Service, Stack, binary, nats, poll, postgres};
use latchkey_authority::MemberKey;
use latchkey_bus::{Bus, Context, Nats, NatsOptions, RequestId};
use latchkey_contract::identity::{ChangePassword, VerifyTokens};
use latchkey_contract::lease::{MemberId, MemberResult, Missed, Revision};
use latchkey_contract::wire::Contracts;
use latchkey_contract::{CredentialHash, Mark, Secret, SessionId, Timestamp, UserId, Verdict};
use latchkey_identity::store::password::{self, Outcome};
use latchkey_identity::store::session::{self, NewSession, Opened};
use latchkey_identity::store::signer::{self, Adoption, Others, Signers};
use latchkey_identity::store::{AUTHORITY, account};
use latchkey_identity::token::Fingerprint;
use latchkey_revocation::authority;
use latchkey_store::Db;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::store::{SIGNER, engines};

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

#[tokio::test]
async fn the_one_process_takes_another_secret_at_its_start_and_says_so() {
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::start();
    let user = stack.api().user().await;
    let key = stack.api().key(&user.token, "stays").await;
    let (says, quiet) = ("tokens from before are refused", |stack: &Stack, text: &str| {
        assert!(!stack.logs().iter().any(|line| line.contains(text)), "{:#?}", stack.logs());
    });
    stack.restart_with(|config| {
        config.set("SECRET_KEY", NEXT).set("SECRET_KEY_PREVIOUS", SECRET);
    });
    quiet(&stack, says);
    stack.api().as_user(&user.token).await.expect(200);
    let next = stack.api().token(&user.username, PASSWORD).await;
    stack.restart_with(|config| {
        config.unset("SECRET_KEY_PREVIOUS");
    });
    assert!(stack.logs().iter().any(|line| line.contains(says)), "{:#?}", stack.logs());
    stack.api().as_user(&user.token).await.unauthenticated();
    stack.api().as_user(&next).await.expect(200);
    stack.api().as_service(&key.key).await.expect(200);
    stack.restart();
    quiet(&stack, says);
    stack.api().as_user(&next).await.expect(200);

    let folder = stack.embedded().expect("one process").folder;
    let run = |arguments: &[&str], secret: &str| {
        let environment = [("LISTEN_ADDR", "127.0.0.1:0"), ("SECRET_KEY", secret)];
        binary::run(&folder, arguments, &environment)
    };
    let end = run(&["secret", "enforce"], NEXT);
    assert_eq!(end.code, Some(73), "it is in use: {}", end.stderr);
    stack.stop();
    // What was taken back is not accepted again.
    for arguments in [&[][..], &["secret", "enforce"]] {
        let end = run(arguments, SECRET);
        assert_eq!(end.code, Some(78), "{}", end.stderr);
        assert!(end.stderr.contains("SECRET_KEY: "), "{}", end.stderr);
        assert!(end.stderr.contains("taken back"), "{}", end.stderr);
    }
    let end = run(&["secret", "enforce"], NEXT);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    stack.restart();
    stack.api().as_user(&next).await.expect(200);
}

/// One process on a Postgres database, where a start waits until its secret is named.
fn one_on_postgres(folder: &Folder, database: &str, secret: &str, ports: [u16; 2]) -> Process {
    let mut command = binary::clean(mortal(binary::path()), folder.path());
    let [listen, monitor] = ports.map(|port| format!("127.0.0.1:{port}"));
    command.env("LISTEN_ADDR", listen).env("MONITOR_ADDR", monitor);
    command.env("DATABASE_URL", database).env("SECRET_KEY", secret);
    Process::start(command)
}

#[tokio::test]
async fn one_process_on_postgres_answers_while_its_secret_is_not_named_and_waits_again_when_it_is_taken_back()
 {
    let (database, folder) = (postgres::fresh_database().await, Folder::new());
    let ports = || [free_port(), free_port()];
    let api = |port: u16| Api::new(&format!("http://127.0.0.1:{port}"));
    let answers = async |port: u16, path: &str, status: u16| {
        poll::until_async("it answers so", SOON, || async {
            let answer = api(port).get(path).try_send().await.ok()?;
            (answer.status == status).then_some(())
        })
        .await;
    };
    let enforce = || {
        let mut command = binary::clean(mortal(binary::path()), folder.path());
        command.env("DATABASE_URL", &database).env("SECRET_KEY", NEXT);
        command.args(["secret", "enforce", "--new"]);
        let end = Process::start(command).finish();
        assert_eq!(end.code, Some(0), "{}", end.stderr);
    };
    let (first, second) = (ports(), ports());
    let _serves = one_on_postgres(&folder, &database, SECRET, first);
    answers(first[0], "/health/ready", 200).await;
    let waits = one_on_postgres(&folder, &database, NEXT, second);
    poll::until("it says why it waits", SOON, || {
        waits.stderr().iter().any(|line| line.contains(UNKNOWN)).then_some(())
    });
    for (port, live) in second.into_iter().zip(["/health", "/health/live"]) {
        answers(port, live, 200).await;
        answers(port, "/health/ready", 503).await;
    }
    enforce();
    for (port, status) in [(first[0], 503), (first[1], 503), (second[0], 200), (second[1], 200)] {
        answers(port, "/health/ready", status).await;
    }
    answers(first[0], "/health", 200).await;
    let user = api(second[0]).user().await;
    accepted(&api(second[0]), &user.token).await;
}

#[tokio::test]
async fn a_secret_that_is_missing_by_mistake_takes_nobody_s_place() {
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::with(|config| {
        config.unset("SECRET_KEY");
    });
    let user = stack.api().user().await;
    let folder = stack.embedded().expect("one process").folder;
    stack.stop();
    let run = |arguments: &[&str], more: &[(&str, &str)]| {
        let environment = [&[("LISTEN_ADDR", "127.0.0.1:0")], more].concat();
        binary::run(&folder, arguments, &environment)
    };
    let (file, away) = (folder.join("data/secret.key"), folder.join("away"));
    std::fs::rename(&file, &away).unwrap();
    for arguments in [&[][..], &[][..], &["secret", "enforce"]] {
        let end = run(arguments, &[]);
        assert_eq!(end.code, Some(78), "{}", end.stderr);
        assert!(end.stderr.contains("SECRET_KEY: not set"), "{}", end.stderr);
        assert!(!file.exists(), "{}", end.stderr);
    }
    std::fs::rename(&away, &file).unwrap();
    stack.restart();
    stack.api().as_user(&user.token).await.expect(200);
}

#[test]
fn the_command_makes_neither_a_secret_nor_a_database() {
    let folder = Folder::new();
    let run = |more: &[(&str, &str)]| binary::run(folder.path(), &["secret", "enforce"], more);
    let end = run(&[]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("SECRET_KEY: not set"), "{}", end.stderr);
    let end = run(&[("SECRET_KEY", SECRET)]);
    assert_eq!(end.code, Some(73), "{}", end.stderr);
    assert!(end.stderr.contains("there is no database"), "{}", end.stderr);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const FURTHER: Fingerprint = Fingerprint([2; 16]);
const THIRD: Fingerprint = Fingerprint([3; 16]);

fn named(added: usize, withdrawn: usize, revision: i64) -> Adoption {
    Adoption::Named { added, withdrawn, revision: Some(Revision(revision)) }
}

const NOTHING: Adoption = Adoption::Named { added: 0, withdrawn: 0, revision: None };

#[tokio::test]
async fn whoever_holds_a_named_secret_names_others_and_what_is_taken_back_stays_so() {
    for (db, _folder) in engines().await {
        let take_up = async |own: &[Fingerprint], others| {
            signer::take_up(&db, own, others, NOW).await.unwrap()
        };
        assert_eq!(take_up(&[SIGNER], Others::Stay).await, NOTHING);
        assert_eq!(take_up(&[FURTHER], Others::Stay).await, Adoption::Unknown);
        assert_eq!(take_up(&[FURTHER, THIRD], Others::Stay).await, Adoption::Unknown);
        let only = Signers { named: vec![SIGNER], withdrawn: vec![] };
        assert_eq!(signer::read(&db).await.unwrap(), only);
        assert_eq!(take_up(&[FURTHER, SIGNER], Others::Stay).await, named(1, 0, 1));
        // A replica that was not told of it changes nothing.
        assert_eq!(take_up(&[SIGNER], Others::Stay).await, NOTHING);
        assert_eq!(take_up(&[THIRD], Others::WithdrawnByNamed).await, Adoption::Unknown);
        assert_eq!(take_up(&[THIRD, SIGNER], Others::WithdrawnByNamed).await, Adoption::Unknown);
        assert_eq!(take_up(&[FURTHER], Others::WithdrawnByNamed).await, named(0, 1, 2));
        for others in [Others::Stay, Others::Withdrawn, Others::WithdrawnByNamed] {
            assert_eq!(take_up(&[SIGNER], others).await, Adoption::Withdrawn);
            assert_eq!(take_up(&[SIGNER, FURTHER], others).await, Adoption::Withdrawn);
            assert_eq!(take_up(&[FURTHER, SIGNER], others).await, NOTHING);
        }
        assert_eq!(take_up(&[THIRD, SIGNER], Others::Stay).await, Adoption::Unknown);
        let end = Signers { named: vec![FURTHER], withdrawn: vec![SIGNER] };
        assert_eq!(signer::read(&db).await.unwrap(), end);
    }
}

/// Makes the account that sessions are of.
async fn sign_ada_up(db: &Db) {
    let user = account::NewUser {
        email: &crate::store::name("ada@example.com"),
        username: &crate::store::name("ada"),
        password_hash: "x",
        created_at: NOW,
    };
    assert_eq!(account::insert(db, &user).await.unwrap(), Some(1));
}

/// Opens a session whose token is signed by `signer`.
async fn open(db: &Db, number: u8, signer: Fingerprint) -> Opened {
    let row = NewSession {
        id: SessionId([number; 16]),
        user: UserId(1),
        created_at: NOW,
        expires_at: NOW.plus(Timestamp::DAY),
        token: CredentialHash([number; 32]),
        signer,
        mark: None,
    };
    session::open(db, &row, 1).await.unwrap()
}

#[tokio::test]
async fn a_change_of_signers_is_in_every_snapshot_and_told_to_every_member() {
    for (db, _folder) in engines().await {
        sign_ada_up(&db).await;
        assert_eq!(open(&db, 1, SIGNER).await, Opened::New);
        assert_eq!(open(&db, 2, FURTHER).await, Opened::NotNamed);
        let rows = latchkey_authority::Store { db: db.clone(), sql: &AUTHORITY };
        let member = MemberKey { id: MemberId([5; 16]), user: "edge".into() };
        rows.join(&member, 2, NOW).await.unwrap().unwrap();
        let adoption = signer::take_up(&db, &[FURTHER], Others::Withdrawn, NOW).await.unwrap();
        assert_eq!(adoption, named(1, 1, 1));
        assert_eq!(open(&db, 3, SIGNER).await, Opened::NotNamed);
        assert_eq!(open(&db, 4, FURTHER).await, Opened::New);

        let (read, sessions) = session::find(&db, &[&[1; 16]], &[]).await.unwrap();
        assert_eq!((read.facts(), sessions.len()), (&[FURTHER.0.to_vec()][..], 1));
        assert_eq!(read.for_asker(None).revision, Revision(1));
        for (since, everything) in [(0, true), (1, false)] {
            let (snapshot, changes) = rows.renew(&member, Revision(since)).await.unwrap();
            let MemberResult::Member(renewed) =
                authority::renew(&snapshot, Revision(since), changes)
            else {
                panic!("a member")
            };
            assert_eq!(matches!(renewed.missed, Missed::TooMany), everything, "{since}");
            assert_eq!(renewed.revision, Revision(1));
        }
    }
}

/// Asks for a new password by a session, as something that was decided before whatever the test does.
async fn change_password(db: &Db, session: u8) -> Outcome {
    let request = ChangePassword {
        version: 1,
        mark: Mark([session; 16]),
        current_password: None,
        new_password: None,
    };
    password::change(db, (UserId(1), SessionId([session; 16])), &request, "y", NOW).await.unwrap()
}

#[tokio::test]
async fn a_change_of_password_that_comes_late_does_not_hold_where_its_tokens_secret_was_taken_back()
{
    for (db, _folder) in engines().await {
        sign_ada_up(&db).await;
        for session in [1, 2] {
            assert_eq!(open(&db, session, SIGNER).await, Opened::New);
        }
        // As the release before wrote it.
        let before = "UPDATE sessions SET signer = NULL WHERE number = 2";
        db.execute(before, &[]).await.unwrap();
        signer::take_up(&db, &[FURTHER], Others::Withdrawn, NOW).await.unwrap();
        assert_eq!(open(&db, 3, FURTHER).await, Opened::New);
        for session in [1, 2] {
            let outcome = change_password(&db, session).await;
            assert!(matches!(outcome, Outcome::SessionEnded), "{session}: {outcome:?}");
        }
        let outcome = change_password(&db, 3).await;
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_first_start_on_a_database_of_the_release_before_is_a_change_where_somebody_has_logged_in()
 {
    for (db, _folder) in engines().await {
        sign_ada_up(&db).await;
        assert_eq!(open(&db, 1, SIGNER).await, Opened::New);
        db.execute("DELETE FROM identity_signers", &[]).await.unwrap();
        let first = || signer::take_up(&db, &[FURTHER], Others::Stay, NOW);
        let (one, two) = tokio::join!(first(), first());
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(
            [(&one, &two), (&two, &one)].contains(&(&named(1, 0, 1), &NOTHING)),
            "{one:?} {two:?}"
        );
    }
}
