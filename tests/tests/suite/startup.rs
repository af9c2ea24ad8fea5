//! Starting: what stops it, with which exit code, and what survives it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::process::mortal_nobody;
use e2e::{Finished, Folder, Process, SECRET, Service, Stack, binary, database};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

const ANY_PORT: (&str, &str) = ("LISTEN_ADDR", "127.0.0.1:0");
const SECRET_KEY: (&str, &str) = ("SECRET_KEY", SECRET);

/// Fails unless the start ended with `code` and a line that contains `part`.
#[track_caller]
fn stopped(end: &Finished, code: i32, part: &str) {
    assert_eq!(end.code, Some(code), "{}", end.stderr);
    assert!(end.stderr.contains(part), "no {part}: {}", end.stderr);
    assert!(!end.stderr.contains("panicked"), "{}", end.stderr);
}

#[test]
fn a_busy_port_is_named() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let end = binary::run(Folder::new().path(), &[], &[("LISTEN_ADDR", &address), SECRET_KEY]);
    stopped(&end, 69, &address);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    let url = ("DATABASE_URL", "sqlite:///proc/latchkey/latchkey.db");
    stopped(&binary::run(folder.path(), &[], &[ANY_PORT, SECRET_KEY, url]), 73, "/proc/latchkey");
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let folder = Folder::new();
    fs::write(folder.join("data"), "not a folder").unwrap();
    stopped(&binary::run(folder.path(), &[], &[ANY_PORT, SECRET_KEY]), 73, "data");
}

#[test]
fn a_database_that_is_no_database_is_named() {
    let folder = Folder::new();
    let path = folder.join("latchkey.db");
    fs::write(
        &path,
        "this is no database, only a text that is long enough to be read as one ".repeat(99),
    )
    .unwrap();
    let url = format!("sqlite://{}", path.display());
    let end = binary::run(folder.path(), &[], &[ANY_PORT, SECRET_KEY, ("DATABASE_URL", &url)]);
    stopped(&end, 73, "latchkey.db");
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is no database"));
}

#[test]
fn a_data_folder_without_the_right_to_write_is_named() {
    let folder = Folder::new();
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere, and others may not read our target folder: nobody gets a copy.
    let copy = folder.join("latchkey");
    fs::copy(binary::path(), &copy).unwrap();
    let mut command = binary::clean(mortal_nobody(copy), folder.path());
    command.envs([ANY_PORT, SECRET_KEY]);
    stopped(&Process::start(command).finish(), 73, "data");
}

#[test]
fn a_second_instance_on_the_same_data_is_refused_and_the_first_goes_on() {
    // Replicas share their data.
    if Stack::is_cluster() {
        return;
    }
    let stack = Stack::start();
    let url = stack.database(Service::Keys);
    let folder = Folder::new();
    let environment = [ANY_PORT, SECRET_KEY, ("DATABASE_URL", url.as_str())];
    stopped(&binary::run(folder.path(), &[], &environment), 73, "");
    let message = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(e2e::raw::exchange(stack.url(), message).unwrap().status, 200);
}

#[tokio::test]
async fn a_database_from_a_newer_version_is_left_alone() {
    // Of Postgres, the services' own tests say it.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::start();
    let embedded = stack.embedded().expect("one process");
    stack.stop();
    let url = stack.database(Service::Keys);
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let tables = sqlx::query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%migrations%'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(!tables.is_empty(), "where are migrations recorded?");
    for row in tables {
        let table: String = row.get(0);
        let statements = [
            format!(
                "CREATE TEMP TABLE copy AS SELECT * FROM \"{table}\" ORDER BY version DESC LIMIT 1"
            ),
            "UPDATE copy SET version = 99999999999999".to_owned(),
            format!("INSERT INTO \"{table}\" SELECT * FROM copy"),
            "DROP TABLE copy".to_owned(),
        ];
        for statement in statements {
            // Only the name of a table is put in, and it comes from the database itself.
            sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        }
    }
    connection.close().await.unwrap();
    let environment = [ANY_PORT, SECRET_KEY, ("DATABASE_URL", url.as_str())];
    let end = binary::run(&embedded.folder, &[], &environment);
    stopped(&end, 73, "newer");
}

/// The files below `folder` whose name speaks of a secret.
fn secrets(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().contains("secret")).collect()
}

#[tokio::test]
async fn a_secret_is_made_once_kept_private_and_never_shown() {
    // Replicas share a secret, so it has to be given to them.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::with(|config| {
        config.unset("SECRET_KEY");
    });
    let user = stack.api().user().await;
    let first = stack.logs();
    stack.restart();
    stack.api().as_user(&user.token).await.expect(200);
    let embedded = stack.embedded().expect("one process");
    let files = secrets(embedded.database.parent().unwrap());
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&files[0]).unwrap();
    assert!(text.trim().len() >= 32, "{}", text.len());
    for line in first.iter().chain(&stack.logs()) {
        assert!(!line.contains(text.trim()), "{line}");
    }
    assert!(first.iter().any(|line| line.to_lowercase().contains("secret")), "{first:#?}");
}

#[tokio::test]
async fn another_secret_ends_every_token_and_no_key() {
    let mut stack = Stack::start();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "stays").await;
    stack.restart_with(|config| {
        config.set("SECRET_KEY", "another-secret-another-secret-another");
    });
    let api = stack.api();
    api.as_user(&user.token).await.unauthenticated();
    api.as_service(&key.key).await.expect(200);
    let token = api.token(&user.username, &user.password).await;
    api.as_user(&token).await.expect(200);
}

#[tokio::test]
async fn the_defaults_put_the_data_below_the_working_folder() {
    // A cluster's services keep nothing in files.
    if Stack::is_cluster() {
        return;
    }
    let stack = Stack::with(|config| {
        config.unset("DATABASE_URL").unset("SECRET_KEY").unset("RATE_LIMIT");
    });
    stack.api().user().await;
    let embedded = stack.embedded().expect("one process");
    let data = embedded.folder.join("data");
    let names: Vec<_> =
        fs::read_dir(&data).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(names.len() >= 2, "{names:?}");
}

#[tokio::test]
async fn a_password_is_rehashed_when_the_cost_rises() {
    let mut stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let user = stack.api().user().await;
    let users = stack.database(Service::Identity);
    let hash = async || {
        let query = "SELECT password_hash FROM users WHERE username = $1";
        database::text(&users, query, &user.username).await
    };
    assert!(hash().await.starts_with("$argon2id$v=19$m=8192,t=1,p=1$"), "{}", hash().await);
    stack.restart_with(|config| {
        config.unset("ARGON2_MEMORY_KIB").unset("ARGON2_ITERATIONS").unset("ARGON2_PARALLELISM");
    });
    let api = stack.api();
    api.log_in(&user.username, "not this one").await.problem(401, "");
    assert!(hash().await.starts_with("$argon2id$v=19$m=8192,t=1,p=1$"));
    api.log_in(&user.username, &user.password).await.expect(200);
    assert!(hash().await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash().await);
    api.log_in(&user.username, &user.password).await.expect(200);
}
