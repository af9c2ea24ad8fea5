//! The signers of one process that is all of Latchkey, and the command that changes them.

use e2e::account::PASSWORD;
use e2e::process::{free_port, mortal};
use e2e::{Api, Folder, Process, SECRET, Stack, binary, poll, postgres};

use super::{NEXT, SOON, UNKNOWN, accepted};

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
