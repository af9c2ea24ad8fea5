//! Ending many of an owner's keys by what they have in common: what is found, what is held meanwhile, and what holds at the
//! write.

use std::time::Duration;

use e2e::{acting_user, poll};
use latchkey_contract::keys::{
    KeyFilter, KeyPatch, KeyState, KeyTarget, RevocationReason, RevokeKeys, UpdateKey, Which,
};
use latchkey_contract::{KeyId, Mark, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::revoke_many::{Many, ManyRevoked};
use latchkey_keys::store::update::Allowed;
use latchkey_store::{Db, Engine, Value, values};

use super::{NOW, engines, insert, key};

const OWNER: UserId = UserId(1);
/// Keys of the owner's that have ended, and that live.
const ENDED: i64 = 2_500;
const LIVING: i64 = 1_500;

/// Keys of an owner: from the first on those that have ended and are settled, then living ones, each second called even.
const MANY: [&str; 2] = [
    "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < $2 + $3) \
     INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, revoked_at, is_settled) \
     SELECT $4, CAST(SUBSTR('00000000000000000000000000000000' || (i + 100000 * $4), -32) AS BLOB), 'sk_0000…0000', \
     CASE WHEN i % 2 = 0 THEN 'Even' ELSE 'odd' END, $1, $1 + 60000, CASE WHEN i <= $2 THEN $1 END, i <= $2 \
     FROM numbers",
    "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < CAST($2 + $3 AS BIGINT)) \
     INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, revoked_at, is_settled) \
     SELECT CAST($4 AS BIGINT), CAST(LPAD(CAST(i + 100000 * CAST($4 AS BIGINT) AS TEXT), 32, '0') AS BYTEA), 'sk_0000…0000', \
     CASE WHEN i % 2 = 0 THEN 'Even' ELSE 'odd' END, CAST($1 AS BIGINT), CAST($1 AS BIGINT) + 60000, \
     CASE WHEN i <= CAST($2 AS BIGINT) THEN CAST($1 AS BIGINT) END, i <= CAST($2 AS BIGINT) FROM numbers",
];

async fn many(db: &Db) {
    many_of(db, OWNER).await;
}

async fn many_of(db: &Db, owner: UserId) {
    let sql = if db.engine() == Engine::Sqlite { MANY[0] } else { MANY[1] };
    let made = db.execute(sql, values![NOW.0, ENDED, LIVING, owner.0]).await.unwrap();
    assert_eq!(i64::try_from(made).unwrap(), ENDED + LIVING);
}

fn named(part: &str) -> KeyFilter {
    KeyFilter { name: Some(part.to_owned()), ..KeyFilter::default() }
}

fn living() -> KeyFilter {
    KeyFilter { states: vec![KeyState::Active], ..KeyFilter::default() }
}

async fn revoke(db: &Db, filter: KeyFilter, dry_run: bool) -> Many {
    let (which, reason) = (Which::Filter(filter), RevocationReason::Unspecified);
    let request = RevokeKeys { owner: OWNER, which, reason, note: None, dry_run, wait: true };
    let by = acting_user(OWNER.0);
    match keys::revoke_many::revoke(db, &request, &by, NOW).await.unwrap() {
        ManyRevoked::Done(many) => many,
        ManyRevoked::Barred(barred) => panic!("{barred:?}"),
    }
}

async fn confirm(db: &Db, many: &Many) {
    keys::revoke_many::mark_confirmed(db, &many.unconfirmed).await.unwrap();
}

fn ids(many: &Many) -> Vec<KeyId> {
    many.keys.iter().map(|key| key.id).collect()
}

#[tokio::test]
async fn a_filter_finds_its_keys_among_thousands_and_goes_on_where_one_command_is_full() {
    for (db, _folder) in engines().await {
        many(&db).await;
        let half = usize::try_from(LIVING / 2).unwrap();
        let dry = revoke(&db, named("eVEN"), true).await;
        let even = revoke(&db, named("eVEN"), false).await;
        assert_eq!((even.keys.len(), even.more, ids(&dry)), (half, false, ids(&even)));
        let count = "SELECT COUNT(*) FROM keys_audit_events WHERE action = 'key.revoked'";
        let events: Option<(i64,)> = db.fetch_first(count, &[]).await.unwrap();
        assert_eq!(events, Some((LIVING / 2,)));
        // What lives goes before what has ended and not every edge is known to know of; there is room for a part of that.
        for dry_run in [true, false] {
            let all = revoke(&db, living(), dry_run).await;
            assert_eq!((all.keys.len(), all.more), (1_000, true));
            let odd = all.keys.iter().filter(|key| !ids(&even).contains(&key.id)).count();
            assert_eq!(odd, half);
        }
        confirm(&db, &even).await;
        let rest = revoke(&db, living(), false).await;
        assert_eq!((rest.keys.len(), rest.more), (half, false));
        confirm(&db, &rest).await;
        let nothing = revoke(&db, living(), false).await;
        assert!(nothing.keys.is_empty() && !nothing.more && nothing.change.is_none());
    }
}

#[tokio::test]
async fn more_than_one_command_ends_are_ended_by_the_same_command_again() {
    for (db, _folder) in engines().await {
        many(&db).await;
        let first = revoke(&db, living(), false).await;
        assert_eq!((first.keys.len(), first.more), (1_000, true));
        confirm(&db, &first).await;
        let second = revoke(&db, living(), false).await;
        assert_eq!(
            (second.keys.len(), second.more),
            (usize::try_from(LIVING).unwrap() - 1_000, false)
        );
    }
}

#[tokio::test]
async fn whoever_searches_waits_for_no_writer_and_keeps_none_waiting() {
    for (db, _folder) in engines().await {
        many(&db).await;
        let mut writing = db.begin("write").await.unwrap();
        let touch = "UPDATE api_keys SET version = version WHERE owner_id = $1";
        writing.execute(touch, values![OWNER.0]).await.unwrap();
        assert_eq!(revoke(&db, named("even"), true).await.keys.len(), 750);
        assert!(revoke(&db, named("nothing"), false).await.keys.is_empty());
        writing.commit().await.unwrap();
    }
}

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND query LIKE 'UPDATE api_keys SET version = version%RETURNING%hash%'";

#[tokio::test]
async fn a_key_that_the_filter_finds_no_more_when_it_is_held_lives_on() {
    for (db, _folder) in engines().await {
        // How long somebody waits for the one writer of SQLite nobody can see.
        if db.engine() != Engine::Postgres {
            continue;
        }
        let one = insert(&db, key(1, 1, NOW.plus(60_000))).await;
        let other = insert(&db, key(1, 2, NOW.plus(60_000))).await;
        let mut renaming = db.begin("rename").await.unwrap();
        let rename = "UPDATE api_keys SET name = 'stays', version = version + 1 WHERE id = $1";
        renaming.execute(rename, values![one.0]).await.unwrap();
        let renamed = async {
            poll::until_async("the revoke waits for the key", Duration::from_mins(1), || async {
                let waiting: Option<(i64,)> = db.fetch_first(WAITING, &[]).await.unwrap();
                (waiting == Some((1,))).then_some(())
            })
            .await;
            renaming.commit().await.unwrap();
        };
        let (ended, ()) = tokio::join!(revoke(&db, named("key"), false), renamed);
        assert_eq!((ids(&ended), ended.more), (vec![other], false));
        // What was decided on is what is there.
        let patch = KeyPatch { name: Some("lives".to_owned()), ..KeyPatch::default() };
        let target =
            KeyTarget { owner: OWNER, key: one, version: 2, mark: Mark([1; 16]), narrowed: None };
        let request = UpdateKey { target, patch, wait: true };
        let allowed = Allowed { max_days: 3_650, may_restrict: true };
        let done = keys::update::update(&db, &request, allowed, &acting_user(1), NOW).await;
        assert_eq!(done.unwrap().unwrap().object.state, KeyState::Active);
    }
}

#[tokio::test]
async fn a_search_goes_along_the_keys_that_can_be_ended() {
    for (db, _folder) in engines().await {
        for owner in 1..=4 {
            many_of(&db, UserId(owner)).await;
        }
        let (engine, is_sqlite) = (db.engine(), db.engine() == Engine::Sqlite);
        if !is_sqlite {
            // SQLite is never asked to, and goes by the indexes alone.
            db.execute("ANALYZE api_keys", &[]).await.unwrap();
        }
        let mut plans = 0;
        for sql in keys::statements(is_sqlite) {
            let is_search = sql.starts_with("SELECT") && sql.contains("NOT is_settled");
            // That one goes by the index of external ids.
            if !is_search || sql.contains(" AND external_id = $11") {
                continue;
            }
            let explain = if is_sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
            let text: &'static str = Box::leak(format!("{explain} {sql}").into_boxed_str());
            let last = if sql.contains("$14") { i64::MAX } else { 1_000 };
            let mut values: Vec<Value<'_>> = values![OWNER.0, 0_i64, last].to_vec();
            if sql.contains("$14") {
                values.extend(values![1_000_i64, NOW.0].iter().copied());
                values.extend((0..6).map(|_| Value::from(None::<&str>)));
                values.extend((0..3).map(|_| Value::from(None::<i64>)));
            }
            let steps: Vec<String> = if is_sqlite {
                let steps: Vec<(i64, i64, i64, String)> = db.fetch(text, &values).await.unwrap();
                steps.into_iter().map(|(.., step)| step).collect()
            } else {
                let steps: Vec<(String,)> = db.fetch(text, &values).await.unwrap();
                steps.into_iter().map(|(step,)| step).collect()
            };
            let is_good = steps.iter().any(|step| step.contains("api_keys_to_end"));
            assert!(is_good, "{engine:?}: {sql}: {steps:#?}");
            plans += 1;
        }
        assert_eq!(plans, 2, "the search, and how far one statement of it reads");
    }
}
