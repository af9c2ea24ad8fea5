//! The log as an operator checks, exports and keeps it, while the service runs.

use super::*;

/// The key of logs that are sealed with one.
const KEY: &str = "audit-key-audit-key-audit-key-audit-key";
const OTHER_KEY: &str = "other-key-other-key-other-key-other-key";
const SERVICES: [(Service, &str); 2] = [(Service::Identity, "identity"), (Service::Keys, "keys")];
/// An anchor of nothing.
const NOWHERE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn stack_with(change: impl FnOnce(&mut e2e::Config)) -> Stack {
    tokio::task::block_in_place(|| {
        Stack::with(|config| {
            config.cheap_passwords();
            change(config);
        })
    })
}

/// What a command on the log of `service` gave.
fn audit(stack: &Stack, service: Service, arguments: &[&str]) -> e2e::Finished {
    tokio::task::block_in_place(|| stack.audit(service, arguments))
}

/// What is exported of a service's log.
fn exported(stack: &Stack, (service, name): (Service, &str), options: &[&str]) -> Vec<Value> {
    let end = audit(stack, service, &[&["export"], options].concat());
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    let lines = end.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &Value| line["service"] == name).collect()
}

/// The log of a service when everything in it is sealed, and `is_there` is true of it.
fn sealed(stack: &Stack, of: (Service, &str), is_there: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    tokio::task::block_in_place(|| {
        poll::until("events are sealed", ARRIVES, || {
            let events = exported(stack, of, &[]);
            is_there(&events).then_some(events)
        })
    })
}

fn has(action: &str) -> impl Fn(&[Value]) -> bool {
    move |events| events.iter().any(|event| event["action"] == action)
}

fn place(event: &Value) -> i64 {
    event["seq"].as_i64().expect("a place")
}

fn anchor(event: &Value) -> String {
    let text = |member: &str| event[member].as_str().expect("a text");
    format!("{}:{}:{}", text("service"), place(event), text("hash"))
}

/// Has a check say this of a service's log.
fn expect(
    stack: &Stack,
    (service, name): (Service, &str),
    from: &[&str],
    is_whole: bool,
    said: &str,
) {
    let from: Vec<&str> = from.iter().flat_map(|anchor| ["--from", anchor]).collect();
    let end = audit(stack, service, &[&["verify"], &from[..]].concat());
    assert_eq!(end.code, Some(i32::from(!is_whole)), "{} {}", end.stdout, end.stderr);
    let verdict = if is_whole { "ok: " } else { "broken: " };
    let line = end.stdout.trim_end();
    let parts: Vec<&str> = line.strip_prefix(verdict).expect("the verdict").split(", ").collect();
    assert!(parts.contains(&format!("{name} {said}").as_str()), "{line}: {name} {said}");
}

/// Changes a service's table by `statement`, whose `$1` is a place.
async fn change(stack: &Stack, service: Service, statement: [&'static str; 2], place: i64) -> u64 {
    let statement = statement[usize::from(service == Service::Keys)];
    database::execute(&stack.database(service), statement, &place.to_string()).await
}

/// A statement for both tables.
macro_rules! both {
    ($before:literal, $behind:literal) => {
        [
            concat!($before, " identity_audit_events ", $behind),
            concat!($before, " keys_audit_events ", $behind),
        ]
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_what_was_changed_and_with_an_anchor_what_is_missing_at_the_end() {
    let stack = stack_with(|config| {
        config.set("AUDIT_KEY", KEY);
    });
    let user = stack.api().user().await;
    for name in ["one", "two", "three"] {
        stack.api().key(&user.token, name).await;
    }
    stack.api().post("/auth/logout").bearer(&user.token).send().await.expect(200);
    for of in SERVICES {
        let events = sealed(&stack, of, |events| events.len() >= 3);
        let places: Vec<i64> = events.iter().map(place).collect();
        assert!(places.iter().copied().eq(1..=place(&events[events.len() - 1])), "{places:?}");
        assert!(events.iter().all(|event| event["sealed"] == true));
        let (second, last) = (&events[1], &events[events.len() - 1]);
        let to = place(last);
        expect(&stack, of, &[], true, &format!("1..{to}"));
        expect(&stack, of, &[&anchor(second)], true, &format!("2..{to}"));
        let nowhere = format!("{}:2:{NOWHERE}", of.1);
        expect(&stack, of, &[&nowhere], false, "at 2");
        let after = format!("{}:2", of.1);
        assert_eq!(exported(&stack, of, &["--after", &after]), events[2..]);

        let changed =
            both!("UPDATE", "SET request_id = request_id || '-' WHERE CAST(seq AS TEXT) = $1");
        assert_eq!(change(&stack, of.0, changed, 2).await, 1);
        expect(&stack, of, &[], false, "at 2");
        let back = both!(
            "UPDATE",
            "SET request_id = SUBSTR(request_id, 1, LENGTH(request_id) - 1) WHERE CAST(seq AS TEXT) = $1"
        );
        assert_eq!(change(&stack, of.0, back, 2).await, 1);
        expect(&stack, of, &[], true, &format!("1..{to}"));

        let gone = both!("DELETE FROM", "WHERE CAST(seq AS TEXT) = $1");
        assert_eq!(change(&stack, of.0, gone, to).await, 1);
        expect(&stack, of, &[], true, &format!("1..{}", to - 1));
        expect(&stack, of, &[&anchor(last)], false, &format!("at {to}"));
        tokio::task::block_in_place(|| {
            poll::until("an alarm", ARRIVES, || {
                let logs = stack.logs();
                let mut lines = logs.iter().filter_map(|line| serde_json::from_str(line).ok());
                lines.find(|line: &Value| {
                    line["level"] == "ERROR" && line["service"] == of.1 && line["seq"] == to
                })
            })
        });
    }
    let end =
        audit(&stack, Service::Keys, &["verify", "--from", &format!("elsewhere:1:{NOWHERE}")]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    let end = audit(&stack, Service::Keys, &["verify", "--from", "keys:1"]);
    assert_eq!(end.code, Some(2), "{}", end.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_events_are_sealed_and_anchored_when_the_service_ends() {
    let mut stack = stack_with(|_config| {});
    let user = stack.api().user().await;
    stack.api().key(&user.token, "last").await;
    let end = tokio::task::block_in_place(|| stack.stop());
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    for of in SERVICES {
        let events = exported(&stack, of, &[]);
        let last = events.last().expect("an event");
        assert_eq!(
            last["action"],
            if of.0 == Service::Keys { "key.created" } else { "user.logged_in" }
        );
        let anchors = end.stderr.lines().filter_map(|line| serde_json::from_str(line).ok());
        let anchors = anchors.filter(|line: &Value| line["message"] == "audit.anchor");
        assert!(
            anchors
                .into_iter()
                .any(|line| line["seq"] == last["seq"] && line["hash"] == last["hash"]),
            "{last}"
        );
        expect(&stack, of, &[], true, &format!("1..{}", place(last)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_goes_on_under_a_key_that_it_had_not_before_and_under_another() {
    let mut stack = stack_with(|_config| {});
    stack.api().user().await;
    let identity = SERVICES[0];
    // Where the one process keeps a secret it seals with that from the first start on.
    let first = sealed(&stack, identity, has("user.logged_in"));
    tokio::task::block_in_place(|| {
        stack.restart_with(|config| {
            config.set("AUDIT_KEY", KEY).set("AUDIT_KEY_PREVIOUS", "none");
        });
    });
    let second = sealed(&stack, identity, has("audit.key_changed"));
    assert_eq!(second[first.len()]["action"], "audit.key_changed");
    assert_eq!(second[first.len()]["actor"]["type"], "system");
    expect(&stack, identity, &[], true, &format!("1..{}", second.len()));
    let seam = anchor(&second[first.len()]);
    tokio::task::block_in_place(|| {
        stack.restart_with(|config| {
            config.unset("AUDIT_KEY_PREVIOUS");
        });
    });
    stack.api().user().await;
    let third = sealed(&stack, identity, |events| events.len() >= second.len() + 2);
    expect(&stack, identity, &[], false, "at 1");
    expect(&stack, identity, &[&seam], true, &format!("{}..{}", first.len() + 1, third.len()));
    tokio::task::block_in_place(|| {
        stack.restart_with(|config| {
            config.set("AUDIT_KEY", OTHER_KEY).set("AUDIT_KEY_PREVIOUS", KEY);
        });
    });
    let seams = |events: &[Value]| {
        events.iter().filter(|event| event["action"] == "audit.key_changed").count()
    };
    let last = sealed(&stack, identity, |events| seams(events) == 2);
    expect(&stack, identity, &[&seam], true, &format!("{}..{}", first.len() + 1, last.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_too_old_are_taken_out_and_a_check_begins_behind_them() {
    let mut stack = stack_with(|config| {
        config.set("AUDIT_KEY", KEY);
    });
    let old = both!(
        "INSERT INTO",
        "(at, action, outcome, actor_type, request_id) VALUES (CAST($1 AS BIGINT), 'user.logged_in', 'success', 'system', 'old')"
    );
    for of in SERVICES {
        // Old for who keeps them for a month, and not for who keeps them for as long as usual.
        let at = latchkey_runtime::Clock::System.unix_millis() - 60 * 24 * 60 * 60 * 1_000;
        for number in [1, 2, 3] {
            assert_eq!(change(&stack, of.0, old, at + number).await, 1);
        }
        let before = sealed(&stack, of, |events| events.len() >= 3);
        let to = before.len();
        expect(&stack, of, &[], true, &format!("1..{to}"));
    }
    let user = stack.api().user().await;
    stack.api().key(&user.token, "kept").await;
    for of in SERVICES {
        sealed(&stack, of, |events| events.len() >= 4);
    }
    tokio::task::block_in_place(|| {
        stack.restart_with(|config| {
            config.set("AUDIT_DAYS", "30");
        });
    });
    for of in SERVICES {
        let kept =
            sealed(&stack, of, |events| has("audit.pruned")(events) && place(&events[0]) == 4);
        let to = place(&kept[kept.len() - 1]);
        expect(&stack, of, &[], true, &format!("4..{to}"));
        let pruned = kept.iter().find(|event| event["action"] == "audit.pruned").expect("an event");
        assert_eq!(pruned["changes"]["pruned"]["through"], 3);
    }
    for of in SERVICES {
        let gone = both!("DELETE FROM", "WHERE CAST(seq AS TEXT) = $1");
        assert_eq!(change(&stack, of.0, gone, 4).await, 1);
        expect(&stack, of, &[], false, "at 4");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_address_no_more_is_written_down_than_is_set() {
    let mut stack = stack_with(|config| {
        config.set("AUDIT_IP", "prefix");
    });
    let ips = |events: &[Value]| -> Vec<Value> {
        events.iter().map(|event| event["ip"].clone()).collect()
    };
    stack.api().user().await;
    let events = sealed(&stack, SERVICES[0], has("user.logged_in"));
    assert!(ips(&events).iter().all(|ip| ip == "127.0.0.0/24"), "{events:?}");
    tokio::task::block_in_place(|| {
        stack.restart_with(|config| {
            config.set("AUDIT_IP", "off");
        });
    });
    stack.api().user().await;
    let all = sealed(&stack, SERVICES[0], |all| all.len() >= events.len() + 2);
    assert!(ips(&all[events.len()..]).iter().all(Value::is_null), "{all:?}");
}
