//! What lists read: no more than they show, by indexes that have it in order, and never with all the connections.

use std::fmt::Write as _;

use e2e::ANYBODY;
use futures_util::future::join_all;
use latchkey_audit::list;
use latchkey_audit::{Action, Event, ListSql, Target, append};
use latchkey_contract::audit::{AuditEvent, ListEvents};
use latchkey_contract::keys::{KeyFilter, KeyState, KeysAuthority, ListKeys};
use latchkey_contract::{Actor, Caller, KeyId, Owner, RequestId, UserId};
use latchkey_identity::store as identity;
use latchkey_keys::store as keys;
use latchkey_store::{Db, Engine, StoreError, values};

use super::{NOW, engines, insert, key};

/// Events of one page.
const LIMIT: u32 = 100;
/// Keys of one owner: more than are read for one page.
const KEYS: i64 = 10_050;

/// Rows of events on keys by keys, of fifty owners.
const EVENTS: &str = "INSERT INTO keys_audit_events (at, action, outcome, actor_type, actor_id, target_type, target_id, \
    request_id, owner_id) SELECT n, 'key.updated', 'success', 'key', n, 'key', CAST(n AS TEXT), 'r', \
    1 + n % 50 FROM (WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 40000) \
    SELECT n FROM numbers) AS numbers";
/// Keys of the owner 1 with one external id and one hint, none of which has expired.
const MANY_KEYS: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, external_id) \
    SELECT 1, CAST(CAST(n AS TEXT) AS BYTEA), 'sk_' || CAST(n AS TEXT), 'one', 0, 9000000000000, 'shared' FROM \
    (WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1) \
    SELECT n FROM numbers) AS numbers";
/// A list that takes its time on a server, and on a file.
const SLOW: [&str; 2] = [
    "SELECT CAST(1 AS BIGINT) FROM (SELECT pg_sleep(1.5)) AS slept",
    "SELECT COUNT(*) FROM (WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 20000000) \
    SELECT n FROM numbers)",
];

/// How the database would answer, or on a server did, with these arguments: one text.
async fn plan(db: &Db, sql: &str, arguments: &[&str]) -> String {
    let mut sql = sql.to_owned();
    for (place, argument) in arguments.iter().enumerate().rev() {
        sql = sql.replace(&format!("${}", place + 1), argument);
    }
    let mut steps = String::new();
    if db.engine() == Engine::Sqlite {
        let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {sql}").into_boxed_str());
        let rows: Vec<(i64, i64, i64, String)> = db.fetch(explain, values![]).await.unwrap();
        for (.., step) in rows {
            writeln!(steps, "{step}").unwrap();
        }
    } else {
        let how = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)";
        let explain: &'static str = Box::leak(format!("{how} {sql}").into_boxed_str());
        let rows: Vec<(String,)> = db.fetch(explain, values![]).await.unwrap();
        for (step,) in rows {
            writeln!(steps, "{step}").unwrap();
        }
    }
    steps
}

/// The greatest number of rows that a step of a plan gave or threw away.
fn most_rows(plan: &str) -> u64 {
    let numbers = ["rows=", "Rows Removed by Filter: ", "Rows Removed by Join Filter: "];
    let found = numbers.iter().flat_map(|mark| plan.split(mark).skip(1));
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    };
    found.map(number).max().unwrap()
}

async fn listed(db: &Db, owner: i64) -> Vec<AuditEvent> {
    let ask = ListEvents::<KeysAuthority>::of(UserId(owner), LIMIT);
    list::page(db, &keys::LISTING, &ask).await.unwrap().events
}

#[tokio::test]
async fn a_page_of_events_reads_what_it_looks_at_however_many_there_are() {
    for (db, _folder) in engines().await {
        db.execute(EVENTS, values![]).await.unwrap();
        if db.engine() == Engine::Postgres {
            db.execute("ANALYZE", values![]).await.unwrap();
        }
        let services: [(&str, ListSql, &[&str]); 2] = [
            ("keys", keys::LISTING, &["actor", "target", "owner"]),
            ("identity", identity::LISTING, &["actor", "target"]),
        ];
        for (service, sql, indexes) in services {
            for (sql, behind) in
                [(sql.newest_first, "9223372036854775807"), (sql.oldest_first, "0")]
            {
                let plan = plan(&db, sql.of(db.engine()), &["1", "'1'", behind, "100"]).await;
                for index in indexes {
                    let index = format!("{service}_audit_events_{index}");
                    assert!(plan.contains(&index), "{index}: {plan}");
                }
                assert!(!plan.contains("Seq Scan") && !plan.contains("SCAN keys"), "{plan}");
                if db.engine() == Engine::Postgres {
                    assert!(most_rows(&plan) <= 3 * u64::from(LIMIT), "{plan}");
                }
            }
        }
        assert_eq!(listed(&db, 1).await.len(), LIMIT as usize);
    }
}

#[tokio::test]
async fn what_was_done_to_a_key_and_by_it_is_its_owners_also_when_its_row_is_gone() {
    for (db, _folder) in engines().await {
        let made = insert(&db, key(1, 1, NOW.plus(60_000))).await;
        let other = insert(&db, key(2, 2, NOW.plus(60_000))).await;
        let by_key = Actor::Key { id: made, owner: Owner::User(UserId(1)) };
        let by_key = Caller::of(by_key, RequestId::new("by key"));
        let done = [
            Event::done(Action::KeyUpdated, Target::Key(made), NOW, &ANYBODY),
            Event::done(Action::AuditRead, Target::Service("keys"), NOW, &by_key),
            Event::done(Action::KeyUpdated, Target::Key(other), NOW, &ANYBODY),
            Event::done(Action::KeyUpdated, Target::Key(KeyId(99)), NOW, &ANYBODY),
            Event::done(Action::AuditPruned, Target::Chain("keys"), NOW, &ANYBODY),
        ];
        let mut tx = db.begin("write events").await.unwrap();
        for event in &done {
            append(&mut tx, &keys::AUDIT, event).await.unwrap();
        }
        tx.commit().await.unwrap();
        let seen = async || {
            let actions = |events: Vec<AuditEvent>| -> Vec<String> {
                events.into_iter().map(|event| event.action).collect()
            };
            [actions(listed(&db, 1).await), actions(listed(&db, 2).await)]
        };
        let all = [
            vec!["audit.read".to_owned(), "key.updated".to_owned(), "key.created".to_owned()],
            vec!["key.updated".to_owned(), "key.created".to_owned()],
        ];
        assert_eq!(seen().await, all);
        // As a release before writes them: a start fills in whose they are.
        db.execute("UPDATE keys_audit_events SET owner_id = NULL", values![]).await.unwrap();
        db.execute("UPDATE keys_schema SET lowest = 9, filled = 9", values![]).await.unwrap();
        db.migrate("keys", keys::MIGRATIONS).await.unwrap();
        assert_eq!(seen().await, all);
        db.execute("DELETE FROM api_keys", values![]).await.unwrap();
        assert_eq!(seen().await, all);
    }
}

#[tokio::test]
async fn a_page_of_keys_reads_no_more_than_it_may_whatever_all_of_them_share() {
    for (db, _folder) in engines().await {
        db.execute(MANY_KEYS, values![KEYS]).await.unwrap();
        for newest_first in [false, true] {
            let filter = KeyFilter {
                states: vec![KeyState::Expired],
                external_id: Some("shared".to_owned()),
                ..KeyFilter::default()
            };
            let ask =
                ListKeys { owner: UserId(1), after: None, limit: LIMIT, newest_first, filter };
            let page = keys::list::page(&db, &ask, NOW).await.unwrap();
            assert_eq!(page.keys, []);
            let next = page.next.expect("it ends before it has read all of them");
            let rest = ListKeys { after: Some(next), ..ask };
            assert_eq!(keys::list::page(&db, &rest, NOW).await.unwrap().next, None);
        }
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_hint_without_a_look_at_the_others() {
    for (db, _folder) in engines().await {
        db.execute(MANY_KEYS, values![KEYS]).await.unwrap();
        let sql = keys::statements(db.engine() == Engine::Sqlite);
        let by_hint = sql.into_iter().find(|sql| sql.contains("hint = $2")).unwrap();
        let plan = plan(&db, by_hint, &["1", "'sk_77'", "100"]).await;
        assert!(plan.contains("api_keys_hint"), "{plan}");
        if db.engine() == Engine::Postgres {
            assert!(most_rows(&plan) <= 1, "{plan}");
        }
        let found = keys::key::by_hint(&db, UserId(1), "sk_77", 100, NOW).await.unwrap();
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test]
async fn lists_leave_connections_for_everything_else() {
    for (db, _folder) in engines().await {
        let slow = if db.engine() == Engine::Postgres { SLOW[0] } else { SLOW[1] };
        // As many as there are connections, all of which are under way before the other.
        let count = if db.engine() == Engine::Postgres { 8 } else { 2 };
        let lists = join_all((0..count).map(|_| async {
            let list: Result<Vec<(i64,)>, StoreError> = db.list(slow, values![]).await;
            list.is_ok()
        }));
        let other = async {
            let row: Result<Option<(i64,)>, StoreError> =
                db.fetch_first("SELECT CAST(1 AS BIGINT)", values![]).await;
            row.unwrap()
        };
        let (lists, other) = tokio::join!(lists, other);
        assert_eq!(other, Some((1,)));
        assert!(lists.contains(&true), "{lists:?}");
    }
}
