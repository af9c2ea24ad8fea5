//! Starting: what stops it, with which exit code, and what survives it.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use e2e::process::{mortal, mortal_nobody};
use e2e::{Finished, Folder, Process, SECRET, Service, Stack, binary, database, poll};
use sqlx::{Connection, SqliteConnection};

/// Bound on a start.
const START: Duration = Duration::from_mins(1);
const ANY_PORT: (&str, &str) = ("LISTEN_ADDR", "127.0.0.1:0");
const SECRET_KEY: (&str, &str) = ("SECRET_KEY", SECRET);
const ANOTHER: &str = "another-secret-another-secret-another";

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
async fn a_database_that_a_later_release_has_for_itself_is_left_alone() {
    // Of Postgres, the tests of releases say it.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::start();
    let embedded = stack.embedded().expect("one process");
    stack.stop();
    let url = stack.database(Service::Keys);
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    // As the start of a later release does.
    for statement in
        ["UPDATE identity_schema SET lowest = 9999", "UPDATE keys_schema SET lowest = 9999"]
    {
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }
    connection.close().await.unwrap();
    let environment = [ANY_PORT, SECRET_KEY, ("DATABASE_URL", url.as_str())];
    let end = binary::run(&embedded.folder, &[], &environment);
    stopped(&end, 73, "know step 9999 or later");
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
    stack.enforce(ANOTHER);
    stack.restart_with(|config| {
        config.set("SECRET_KEY", ANOTHER);
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

/// Starts one process on a database, waits until it is ready, and gives it.
fn started(folder: &Path, url: &str) -> Process {
    let mut command = binary::clean(mortal(binary::path()), folder);
    command.envs([ANY_PORT, ("DATABASE_URL", url)]);
    let mut process = Process::start(command);
    poll::until("it is ready", START, || {
        let lines = process.stderr();
        assert!(process.ended().is_none(), "{lines:#?}");
        lines.iter().any(|line| line.contains("ready")).then_some(())
    });
    process
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn everything_of_a_database_is_in_one_folder_however_it_is_written() {
    let folder = Folder::new();
    let url = format!("sqlite://{}/my%20data/lk.db", folder.path().display());
    drop(started(folder.path(), &url));
    assert_eq!(names(folder.path()), ["my data"], "one folder, the decoded one");
    let inside = names(&folder.join("my data"));
    for name in ["lk.db", "lk.db.lock", "operator.sock", "secret.key"] {
        assert!(inside.iter().any(|found| found == name), "no {name} in {inside:?}");
    }
    // The same by a link to the file, from another folder.
    let other = Folder::new();
    symlink(folder.join("my data/lk.db"), other.join("link.db")).unwrap();
    drop(started(other.path(), &format!("sqlite://{}", other.join("link.db").display())));
    assert_eq!(names(other.path()), ["link.db"]);
}

#[test]
fn a_second_process_is_refused_by_whichever_path_it_comes() {
    let (folder, other) = (Folder::new(), Folder::new());
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    symlink(&data, other.join("folder")).unwrap();
    symlink(data.join("lk.db"), other.join("file.db")).unwrap();
    symlink(other.join("file.db"), other.join("twice.db")).unwrap();
    let url = |path: &Path| format!("sqlite://{}", path.display());
    let first = started(folder.path(), &url(&other.join("twice.db")));
    let mut paths = vec![data.join("lk.db"), other.join("folder/lk.db"), other.join("file.db")];
    paths.push(data.join("../data/lk.db"));
    fs::hard_link(data.join("lk.db"), other.join("hard.db")).unwrap();
    paths.push(other.join("hard.db"));
    for path in paths {
        let url = url(&path);
        let environment = [ANY_PORT, SECRET_KEY, ("DATABASE_URL", url.as_str())];
        let end = binary::run(other.path(), &[], &environment);
        let part = if path.ends_with("hard.db") { "hard links" } else { "in use" };
        stopped(&end, 73, part);
    }
    drop(first);
}

#[test]
fn a_secret_from_before_links_and_encodings_were_followed_is_kept() {
    let folder = Folder::new();
    let (data, earlier) = (folder.join("my data"), folder.join("my%20data"));
    fs::create_dir(&data).unwrap();
    fs::create_dir(&earlier).unwrap();
    fs::write(earlier.join("secret.key"), SECRET).unwrap();
    drop(started(folder.path(), &format!("sqlite://{}/my%20data/lk.db", folder.path().display())));
    assert!(!data.join("secret.key").exists(), "tokens from before would end");
}
