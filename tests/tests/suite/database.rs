//! The services' database: away, stuck, vanished, refusing.

use std::time::Duration;

use e2e::cluster::Replica;
use e2e::pgbouncer::PgBouncer;
use e2e::process::mortal;
use e2e::raw::exchange;
use e2e::relay::Relay;
use e2e::{Cluster, Finished, Folder, Process, Service, binary, nats, poll, postgres};
use latchkey_store::Db;
use serde_json::json;
use sqlx::migrate::Migrate;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

/// Bound on what comes back by itself.
const BACK: Duration = Duration::from_mins(1);

/// The status of a monitor's path.
fn monitor(replica: &Replica, path: &str) -> Option<u16> {
    let message = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    exchange(&replica.monitor(), message).map(|answer| answer.status)
}

/// Waits until a replica has noticed whether it is ready: it looks every half second.
fn until_readiness_is(replica: &Replica, status: u16) {
    let is = || (monitor(replica, "/health/ready") == Some(status)).then_some(());
    poll::until("its readiness", BACK, is);
}

/// How many lines say `text`.
fn said(replica: &Replica, text: &str) -> usize {
    replica.logs().iter().filter(|line| line.contains(text)).count()
}

fn until_said(replica: &Replica, text: &str) {
    poll::until(text, BACK, || (said(replica, text) > 0).then_some(()));
}

/// Runs the key service to its end.
fn keys(arguments: &[&str], database: &str, bus: &str) -> Finished {
    let folder = Folder::new();
    let program = mortal(binary::named("latchkey-keys"));
    let mut command = binary::clean(program, folder.path());
    command.args(arguments).env("DATABASE_URL", database).env("NATS_URL", bus);
    command.env("MONITOR_ADDR", "off");
    Process::start(command).finish()
}

#[tokio::test]
async fn a_service_whose_database_is_away_waits_and_is_not_ready() {
    let mut cluster = Cluster::builder().own_postgres().set("CACHE", "off").start();
    cluster.replica_mut(Service::Keys, 0).stop();
    cluster.postgres().kill();

    let keys = cluster.replica_mut(Service::Keys, 0);
    keys.launch();
    until_said(keys, "waiting for the database");
    assert_eq!(monitor(keys, "/health/live"), Some(200));
    assert_eq!(monitor(keys, "/health/ready"), Some(503));
    let end = keys.stop();
    assert_eq!(end.code, Some(0), "a stop while it waits: {}", end.stderr);

    keys.launch();
    until_said(keys, "waiting for the database");
    cluster.postgres().restart();
    let keys = cluster.replica_mut(Service::Keys, 0);
    keys.wait_ready();
    assert_eq!(said(keys, "waiting for the database"), 1);
    assert_eq!(said(keys, "the database is available"), 1);
    assert_eq!(monitor(keys, "/health/ready"), Some(200));
}

#[tokio::test]
async fn a_proxy_before_a_database_that_is_away_is_waited_for_like_the_database() {
    let mut cluster = Cluster::builder().own_postgres().set("CACHE", "off").start();
    let port = cluster.postgres().port();
    // It takes connections, and closes them while there is nothing behind it.
    let relay = Relay::to(port);
    let url = cluster
        .database(Service::Keys)
        .replace(&format!(":{port}/"), &format!(":{}/", relay.port()));
    cluster.postgres().kill();
    for query in ["", "?sslmode=disable", "?sslmode=require"] {
        let keys = cluster.replica_mut(Service::Keys, 0);
        keys.stop();
        keys.set("DATABASE_URL", &format!("{url}{query}"));
        keys.launch();
        until_said(keys, "waiting for the database");
        assert_eq!(monitor(keys, "/health/ready"), Some(503));
    }
    let keys = cluster.replica_mut(Service::Keys, 0);
    keys.stop();
    keys.set("DATABASE_URL", &url);
    keys.launch();
    until_said(keys, "waiting for the database");
    cluster.postgres().restart();
    let keys = cluster.replica_mut(Service::Keys, 0);
    keys.wait_ready();
    assert!(said(keys, "the database is available") >= 1);
}

#[tokio::test]
async fn while_the_database_is_away_answers_are_503_and_the_first_right_one_comes_by_itself() {
    let mut cluster = Cluster::builder().own_postgres().set("CACHE", "off").start();
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "stays").await;
    api.as_service(&key.key).await.expect(200);
    let pids: Vec<u32> = cluster.all().map(|replica| replica.pid()).collect();

    cluster.postgres().stop();
    for _ in 0..3 {
        api.as_service(&key.key).await.problem(503, "unavailable");
        api.as_user(&user.token).await.problem(503, "unavailable");
        api.make_key(&user.token, &json!({"name": "lost"})).await.problem(503, "unavailable");
        api.log_in(&user.username, &user.password).await.problem(503, "unavailable");
    }
    for service in Service::ALL {
        until_readiness_is(cluster.replica(service, 0), 503);
    }

    cluster.postgres().restart();
    // A client that kept its connections might find them closed: they were idle meanwhile.
    poll::until_async("the key is good again", BACK, async || {
        let answer = cluster.api(0).as_service(&key.key).await;
        (answer.status == 200).then_some(())
    })
    .await;
    poll::until_async("so is the token", BACK, async || {
        let answer = cluster.api(0).as_user(&user.token).await;
        (answer.status == 200).then_some(())
    })
    .await;
    for service in Service::ALL {
        until_readiness_is(cluster.replica(service, 0), 200);
    }
    let api = cluster.api(0);
    api.key(&user.token, "new").await;
    api.token(&user.username, &user.password).await;
    let now: Vec<u32> = cluster.all().map(|replica| replica.pid()).collect();
    assert_eq!(now, pids, "nothing was started anew");
}

#[tokio::test]
async fn a_stuck_statement_ends_as_503_and_gives_its_connection_back() {
    let cluster = Cluster::builder().set_for(Service::Keys, "DATABASE_POOL", "1").start();
    let api = cluster.api(0);
    let user = api.user().await;
    let mut other = PgConnection::connect(cluster.database(Service::Keys)).await.unwrap();
    other
        .execute(
            "CREATE FUNCTION stick() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$",
        )
        .await
        .unwrap();
    let trigger =
        "CREATE TRIGGER stick BEFORE INSERT ON api_keys FOR EACH ROW EXECUTE FUNCTION stick()";
    other.execute(trigger).await.unwrap();
    api.make_key(&user.token, &json!({"name": "stuck"})).await.problem(503, "unavailable");

    // The only connection is free again, and nothing was written.
    poll::until_async("the connection is given back", BACK, async || {
        let answer = api.get("/keys").bearer(&user.token).send().await;
        (answer.status == 200).then(|| assert_eq!(answer.json(), json!([])))
    })
    .await;
    other.execute("DROP TRIGGER stick ON api_keys").await.unwrap();
    api.key(&user.token, "not stuck").await;

    // The same for a lock that somebody else holds.
    let mut locking = other.begin().await.unwrap();
    locking.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await.unwrap();
    api.get("/keys").bearer(&user.token).send().await.problem(503, "unavailable");
    locking.rollback().await.unwrap();
    poll::until_async("the lock is forgotten", BACK, async || {
        let answer = api.get("/keys").bearer(&user.token).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_vanishes_takes_no_place_of_the_pool_with_it() {
    let url = postgres::fresh_database().await;
    let port = postgres::server().port();
    let relay = Relay::to(port);
    let url = url.replace(&format!(":{port}/"), &format!(":{}/", relay.port()));
    let db = Db::open(&url, "test", 2).await.unwrap();
    // One connection is with somebody, the other is free.
    let held = db.begin("held").await.unwrap();
    db.ping().await.unwrap();

    relay.freeze();
    drop(held);
    let back = poll::until_async("both places are free", BACK, async || {
        let (one, two) = tokio::join!(db.begin("one"), db.begin("two"));
        let (one, two) = (one.ok()?, two.ok()?);
        let (one, two) = tokio::join!(one.commit(), two.commit());
        one.and(two).ok()
    });
    tokio::time::timeout(BACK, Box::pin(back)).await.expect("no wait without a bound");
    // Nor does a statement wait for ever whose answer does not come.
    relay.freeze();
    let ping = tokio::time::timeout(BACK, db.ping()).await;
    assert!(ping.is_ok(), "no wait without a bound");
    poll::until_async("it answers again", BACK, async || db.ping().await.ok()).await;
}

#[tokio::test]
async fn replicas_wait_for_each_others_migrations_however_long_they_take() {
    let mut cluster = Cluster::builder().replicas(Service::Keys, 2).start();
    let fresh = postgres::fresh_database().await;
    let mut migrating = PgConnection::connect(&fresh).await.unwrap();
    migrating.lock().await.unwrap();
    for keys in cluster.of(Service::Keys) {
        keys.stop();
        keys.set("DATABASE_URL", &fresh);
        keys.launch();
    }
    // Each has waited for the lock as long as one attempt may, and goes on waiting.
    for keys in cluster.of(Service::Keys) {
        until_said(keys, "waiting for the database");
    }
    migrating.unlock().await.unwrap();
    for keys in cluster.of(Service::Keys) {
        keys.wait_ready();
        assert_eq!(said(keys, "waiting for the database"), 1);
    }
    let steps: i64 = sqlx::query_scalar("SELECT count(*) FROM keys_migrations WHERE success")
        .fetch_one(&mut migrating)
        .await
        .unwrap();
    assert_eq!(steps, i64::try_from(latchkey_keys::store::MIGRATIONS.len()).unwrap());
}

#[tokio::test]
async fn migrate_says_what_it_did_and_does_it_once() {
    let url = postgres::fresh_database().await;
    let first = keys(&["migrate"], &url, "nats://127.0.0.1:1");
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stdout.contains("applied now"), "{}", first.stdout);
    let second = keys(&["migrate"], &url, "nats://127.0.0.1:1");
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(!second.stdout.contains("applied now"), "{}", second.stdout);
    assert!(second.stdout.contains("up to date"), "{}", second.stdout);
}

#[tokio::test]
async fn a_database_that_does_not_know_the_service_ends_the_start_with_one_line() {
    let (mut server, bus) = (postgres::Server::start(), nats::Server::start());
    // Passwords are asked for from the next start on.
    let rules = "host all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
    server.restart();
    let wrong = server.url("postgres").replace("postgres@", "postgres:hunter2@");
    let unknown = postgres::server().url("nothing_here");
    for (url, part) in [(&wrong, "password"), (&unknown, "nothing_here")] {
        for arguments in [&["migrate"][..], &[]] {
            let end = keys(arguments, url, &bus.url());
            assert_eq!(end.code, Some(78), "{}", end.stderr);
            let last = end.stderr.lines().last().unwrap_or_default();
            assert!(last.contains("DATABASE_URL") && last.contains(part), "{}", end.stderr);
            assert!(!end.stderr.contains("hunter2"), "{}", end.stderr);
        }
    }
}

#[tokio::test]
async fn services_work_through_a_pooler_that_keeps_sessions() {
    let server = postgres::server();
    let pooler = PgBouncer::before(server, "session", "");
    let mut cluster = Cluster::builder().set("CACHE", "off").start();
    for service in [Service::Identity, Service::Keys] {
        let url = pooler.url(server, cluster.database(service));
        for replica in cluster.of(service) {
            replica.stop();
            replica.set("DATABASE_URL", &url);
            replica.restart();
        }
    }
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "pooled").await;
    api.as_service(&key.key).await.expect(200);
    api.revoke(&user.token, key.id).await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
    // The bounds on statements hold here, too.
    let url = pooler.url(server, &postgres::fresh_database().await);
    let end = keys(&["migrate"], &url, "nats://127.0.0.1:1");
    assert_eq!(end.code, Some(0), "{}", end.stderr);
}

#[tokio::test]
async fn a_pooler_that_changes_sessions_ends_the_start_with_one_line() {
    let (server, bus) = (postgres::server(), nats::Server::start());
    for (mode, further) in [
        ("transaction", ""),
        ("transaction", "server_round_robin = 1"),
        ("transaction", "default_pool_size = 1"),
        ("transaction", "ignore_startup_parameters = extra_float_digits, options"),
        ("statement", ""),
    ] {
        let pooler = PgBouncer::before(server, mode, further);
        let url = pooler.url(server, &postgres::fresh_database().await);
        // Sessions that others have left behind, so that a fresh one is not the only one.
        let mut others = Vec::new();
        for _ in 0..if further.contains("round_robin") { 3 } else { 0 } {
            let mut other = PgConnection::connect_with(&plain(&url)).await.unwrap();
            sqlx::raw_sql("BEGIN").execute(&mut other).await.unwrap();
            others.push(other);
        }
        for other in &mut others {
            sqlx::raw_sql("COMMIT").execute(other).await.unwrap();
        }
        for arguments in [&["migrate"][..], &[]] {
            let end = keys(arguments, &url, &bus.url());
            assert_eq!(end.code, Some(73), "{mode} {further}: {}", end.stderr);
            let last = end.stderr.lines().last().unwrap_or_default();
            assert!(
                last.contains("DATABASE_URL") && last.contains("pool_mode = session"),
                "{last}"
            );
        }
    }
}

/// An address without what poolers do not take.
fn plain(url: &str) -> PgConnectOptions {
    url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None)
}

#[tokio::test]
async fn a_startup_parameter_that_the_pooler_does_not_take_ends_the_start() {
    let (server, bus) = (postgres::server(), nats::Server::start());
    let pooler = PgBouncer::before(server, "session", "");
    let url = pooler.url(server, &postgres::fresh_database().await);
    let end = keys(&[], &format!("{url}?options=-c%20search_path%3Dpublic"), &bus.url());
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("options"), "{}", end.stderr);
}

#[tokio::test]
async fn a_database_that_is_not_utf8_ends_the_start_with_one_line() {
    let (server, bus) = (postgres::server(), nats::Server::start());
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    for (name, make) in [
        ("latin", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"),
        ("bytes", "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"),
    ] {
        connection.execute(make).await.unwrap();
        for arguments in [&["migrate"][..], &[]] {
            let end = keys(arguments, &server.url(name), &bus.url());
            assert_eq!(end.code, Some(73), "{}", end.stderr);
            let last = end.stderr.lines().last().unwrap_or_default();
            assert!(last.contains("encoding") && last.contains("UTF8"), "{last}");
        }
        let mut fresh = PgConnection::connect(&server.url(name)).await.unwrap();
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut fresh).await.unwrap();
        assert_eq!(tables, 0, "nothing was written");
    }
}

#[tokio::test]
async fn what_hosted_databases_put_into_their_addresses_is_understood() {
    let url = postgres::fresh_database().await;
    let further = "sslmode=prefer&channel_binding=prefer&connect_timeout=10&application_name=latchkey\
        &target_session_attrs=read-write&options=-c%20search_path%3Dpublic";
    let end = keys(&["migrate"], &format!("{url}?{further}"), "nats://127.0.0.1:1");
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let end = keys(&["migrate"], &format!("{url}?channel_binding=require"), "nats://127.0.0.1:1");
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("channel_binding"), "{}", end.stderr);
}
