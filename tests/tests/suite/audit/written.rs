//! Sealed events are written to `AUDIT_LOG`: each at least once, in order, over a moved file and a kill.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::{Folder, binary};

use super::*;

/// The places that a file has of a service, each when it first comes: they rise.
fn places(path: &Path, service: &str) -> BTreeSet<i64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).expect("a whole line of JSON");
        assert_eq!(
            (&event["sealed"], event["hash"].as_str().map(str::len)),
            (&json!(true), Some(64))
        );
        let place = event["seq"].as_i64().expect("a place");
        if event["service"] == service && seen.insert(place) {
            assert_eq!(seen.last(), Some(&place), "in order");
        }
    }
    seen
}

/// Waits until the files have every place of the identity service that there is, and more than `before` of them.
fn written(files: &[&Path], before: usize) -> usize {
    tokio::task::block_in_place(|| {
        poll::until("lines", ARRIVES, || {
            let places: BTreeSet<i64> =
                files.iter().flat_map(|file| places(file, "identity")).collect();
            let is_whole = places.iter().copied().eq(1..=places.last().copied().unwrap_or(0));
            (is_whole && places.len() > before).then_some(places.len())
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sealed_event_is_written_in_order_over_a_moved_file_and_a_kill() {
    let folder = Folder::new();
    let (path, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
    let log = path.to_str().expect("UTF-8").to_owned();
    let mut stack = tokio::task::block_in_place(|| {
        Stack::with(|config| {
            config.cheap_passwords().set("AUDIT_LOG", &log);
        })
    });
    stack.api().user().await;
    let first = written(&[&path], 1);
    assert!(first >= 2, "a signup and a login");

    std::fs::rename(&path, &moved).expect("move");
    let mut pids = [stack.pids(Service::Identity), stack.pids(Service::Keys)].concat();
    pids.dedup();
    for pid in pids {
        let done = std::process::Command::new("kill").args(["-HUP", &pid.to_string()]).status();
        assert!(done.expect("kill").success());
    }
    tokio::task::block_in_place(|| {
        poll::until("the file anew", ARRIVES, || path.exists().then_some(()));
    });
    stack.api().user().await;
    let second = written(&[&moved, &path], first);
    assert!(!places(&path, "identity").is_empty());

    tokio::task::block_in_place(|| {
        stack.kill();
        stack.restart();
    });
    stack.api().user().await;
    written(&[&moved, &path], second);
}

#[tokio::test]
async fn a_folder_that_is_not_there_stops_the_start() {
    let folder = Folder::new();
    let log = folder.path().join("missing").join("audit");
    let environment = [("SECRET_KEY", e2e::SECRET), ("AUDIT_LOG", log.to_str().expect("UTF-8"))];
    for arguments in [&[][..], &["--check-config"]] {
        let end = binary::run(folder.path(), arguments, &environment);
        assert_eq!(end.code, Some(78), "{}", end.stderr);
        assert!(
            end.stderr.contains("AUDIT_LOG") && end.stderr.contains("is not there"),
            "{}",
            end.stderr
        );
    }
    assert!(!log.exists() && !folder.path().join("data").exists());
}
