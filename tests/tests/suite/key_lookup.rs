//! `key lookup -`: an operator learns whose key this is.

use e2e::process::{free_port, mortal};
use e2e::{Api, Finished, Folder, Process, Stack, binary, forge, poll, postgres};
use tokio::task::block_in_place;

/// Bound on whatever is waited for.
const SOON: std::time::Duration = std::time::Duration::from_mins(1);
const LOOK_UP: [&str; 3] = ["key", "lookup", "-"];

fn look_up(stack: &Stack, input: &str) -> Finished {
    block_in_place(|| stack.operator_given(&LOOK_UP, input))
}

fn hint(key: &str) -> String {
    format!("{}…{}", key.get(..7).unwrap(), key.get(key.len() - 4..).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_learns_whose_key_a_text_or_a_hint_is_of_and_no_text_is_shown() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "in a paste").await;
    let hint = hint(&key.key);
    let said = |state: &str| {
        let (id, owner, name) = (key.id, user.id, &user.username);
        format!("Key {id} \"in a paste\" is {state}. Owner: user {owner} \"{name}\".")
    };
    for input in [&key.key, &format!(" {}\n", key.key), &hint, &hint.replace('…', "...")] {
        let done = look_up(stack, input);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let shown = [done.stdout, done.stderr].join("\n");
        assert!(shown.lines().any(|line| line == said("active")), "{shown}");
        assert!(!shown.contains(&key.key), "{shown}");
    }
    api.revoke(&user.token, key.id).await.expect(200);
    let done = look_up(stack, &key.key);
    assert!(done.stdout.lines().any(|line| line == said("revoked")), "{done:?}");
    for (input, code) in
        [(forge::key().expose(), 1), ("sk_0000…0000", 1), ("two words", 73), ("", 73)]
    {
        let done = look_up(stack, input);
        assert_eq!((done.code, done.stdout.as_str()), (Some(code), ""), "{}", done.stderr);
        assert!(input.is_empty() || !done.stderr.contains(input), "{}", done.stderr);
    }
    let listed = block_in_place(|| stack.operator(&["key", "lookup", &key.key]));
    assert_eq!(listed.code, Some(2), "no key belongs into a command line: {}", listed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_process_takes_commands_in_its_data_folder_also_where_the_database_is_a_server() {
    let (database, folder, port) = (postgres::fresh_database().await, Folder::new(), free_port());
    let run = |arguments: &[&str], input: &str| {
        let mut command = binary::clean(mortal(binary::path()), folder.path());
        command.env("LISTEN_ADDR", format!("127.0.0.1:{port}"));
        command.env("DATABASE_URL", &database).env("SECRET_KEY", e2e::stack::SECRET);
        command.args(arguments);
        Process::start_given(command, input)
    };
    let _serves = run(&[], "");
    let api = Api::new(&format!("http://127.0.0.1:{port}"));
    poll::until_async("it is ready", SOON, || async {
        let answer = api.get("/health/ready").try_send().await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    let user = api.user().await;
    let key = api.key(&user.token, "on a server").await;
    let socket = folder.path().join("data/operator.sock");
    poll::until("there is the socket", SOON, || socket.exists().then_some(()));
    let done = block_in_place(|| run(&LOOK_UP, &key.key).finish());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("\"on a server\" is active"), "{}", done.stdout);
    let done = block_in_place(|| run(&["user", "deactivate", &user.username], "").finish());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    api.as_service(&key.key).await.unauthenticated();
}
