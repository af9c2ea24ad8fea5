//! The rows, statement by statement, on a SQLite file. The suite has the services' own on both engines.

use latchkey_contract::UserId;
use latchkey_contract::lease::Tag;
use latchkey_contract::wire::CONTRACT;
use latchkey_store::Value;

use super::*;
use crate::bench::{HASH, NOW, SQL, USER, asker, at, bench, member};
use crate::changes::new_epoch;
use crate::{Change, Ended, end_once, invalidate_everything};

#[tokio::test]
async fn a_member_joins_under_an_id_that_nobody_has_and_leaves_as_itself() {
    let bench = bench("joins").await;
    let key = member(1, USER);
    let joined = bench.store.join(&key, CONTRACT, NOW).await.unwrap().unwrap();
    assert_eq!(joined, bench.store.revision().await.unwrap());
    assert_eq!(bench.store.join(&key, CONTRACT, NOW).await.unwrap(), None);
    let (epoch, members) = bench.store.members().await.unwrap();
    assert_eq!(epoch, joined.epoch());
    assert_eq!(members, [Member { key: key.clone(), contract: CONTRACT }]);
    let stranger = MemberKey::of(&asker(Some("other")), key.id);
    assert_eq!(stranger, member(1, "other"));
    bench.store.leave(&stranger).await.unwrap();
    assert_eq!(bench.store.members().await.unwrap().1.len(), 1);
    bench.store.leave(&key).await.unwrap();
    assert_eq!(bench.store.members().await.unwrap().1, []);
    bench.end().await;
}

#[tokio::test]
async fn a_number_that_no_contract_has_is_lower_than_any() {
    let bench = bench("contract").await;
    bench.member(1, CONTRACT).await;
    bench.execute("UPDATE keys_members SET contract = 70000", &[]).await;
    assert_eq!(bench.store.members().await.unwrap().1[0].contract, 0);
    bench.end().await;
}

#[tokio::test]
async fn a_renewal_is_told_every_change_since_its_position_in_their_order() {
    let bench = bench("renewal").await;
    let key = bench.member(1, CONTRACT).await;
    let tags = [Tag::Credential(HASH), Tag::of_user(UserId(5)), Tag::All];
    for (tag, revision) in tags.into_iter().zip(1..) {
        assert_eq!(bench.commit(tag).await.revision(), at(revision));
    }
    // Records that this release does not write: what they say is everything.
    for (revision, credential) in [(4, &[1_u8][..]), (5, &HASH.0)] {
        let sql = "INSERT INTO keys_invalidations (position, credential, owner_id, recorded_at) \
            VALUES ($1, $2, 5, 0)";
        bench.execute(sql, values![revision, credential]).await;
    }
    let (snapshot, changes) = bench.store.renew(&key, at(0)).await.unwrap();
    let here = bench.store.revision().await.unwrap();
    let member = Some(MemberState::Member);
    assert_eq!(
        snapshot,
        Snapshot { membership: member, epoch: here.epoch(), revision: here.revision() }
    );
    let told: Vec<_> = changes.rows.iter().map(|row| (row.revision, row.tag)).collect();
    let expected = tags.into_iter().chain([Tag::All, Tag::All]);
    let expected: Vec<_> = (1..).map(at).zip(expected).collect();
    assert_eq!((told, changes.pruned), (expected, at(0)));
    let (_, changes) = bench.store.renew(&key, at(4)).await.unwrap();
    assert_eq!(changes.rows.len(), 1);
    let stranger = crate::bench::member(1, "other");
    assert_eq!(bench.store.renew(&stranger, at(0)).await.unwrap().0.membership, None);
    bench.store.retire(key.id).await.unwrap();
    let (snapshot, _) = bench.store.renew(&key, at(0)).await.unwrap();
    assert_eq!(snapshot.membership, Some(MemberState::Retired));
    bench.end().await;
}

#[tokio::test]
async fn who_was_not_noted_for_long_is_quiet_and_only_the_retired_are_deleted() {
    let bench = bench("quiet").await;
    let key = bench.member(1, CONTRACT).await;
    let row = |state, quiet| Row { member: key.id, state, quiet };
    for (before, quiet) in [(NOW, false), (NOW.plus(1), true)] {
        let rows = bench.store.rows(before).await.unwrap();
        assert_eq!(rows, [row(MemberState::Member, quiet)]);
    }
    for (lately, noted) in [(NOW, NOW), (NOW.plus(1), NOW.plus(9))] {
        bench.store.touch(key.id, NOW.plus(9), lately).await.unwrap();
        assert_eq!(bench.noted(&key).await, Some(noted.0));
    }
    bench.store.delete_retired(key.id).await.unwrap();
    bench.store.retire(key.id).await.unwrap();
    bench.store.touch(key.id, NOW.plus(99), NOW.plus(99)).await.unwrap();
    assert_eq!(bench.store.rows(NOW).await.unwrap(), [row(MemberState::Retired, false)]);
    assert_eq!(bench.noted(&key).await, Some(NOW.plus(9).0), "it is noted of members alone");
    bench.store.delete_retired(key.id).await.unwrap();
    assert_eq!(bench.store.rows(NOW).await.unwrap(), []);
    bench.end().await;
}

#[tokio::test]
async fn old_records_go_and_up_to_where_is_noted() {
    let bench = bench("prune").await;
    let key = bench.member(1, CONTRACT).await;
    for _ in 0..3 {
        bench.commit(Tag::Credential(HASH)).await;
        bench.clock.advance(1);
    }
    for (before, max, gone, pruned) in [(0, 9, 0, 0), (2, 1, 1, 1), (2, 9, 1, 2), (2, 9, 0, 2)] {
        assert_eq!(bench.store.prune(NOW.plus(before), max).await.unwrap(), gone);
        let (_, changes) = bench.store.renew(&key, at(0)).await.unwrap();
        assert_eq!(changes.pruned, at(pruned));
    }
    bench.end().await;
}

#[tokio::test]
async fn a_change_of_everything_leaves_no_record_and_nobody_who_has_not_applied_it() {
    let bench = bench("everything").await;
    let key = bench.member(1, CONTRACT).await;
    let mut tx = bench.store.db.begin("test").await.unwrap();
    let row = invalidate_everything(&mut tx, &SQL).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(row.revision(), at(1));
    let (snapshot, changes) = bench.store.renew(&key, at(0)).await.unwrap();
    assert_eq!((snapshot.revision, changes.pruned), (at(1), at(1)));
    assert_eq!(changes.rows, []);
    bench.end().await;
}

#[tokio::test]
async fn an_epoch_is_watched_as_itself_and_another_one_is_not_and_has_no_members() {
    let bench = bench("epoch").await;
    bench.member(1, CONTRACT).await;
    let before = bench.store.revision().await.unwrap();
    // A file has one history, whose members are all in this process.
    assert!(before.is_watched());
    let mut tx = bench.store.db.begin("test").await.unwrap();
    new_epoch(&mut tx, &SQL, 77).await.unwrap();
    tx.commit().await.unwrap();
    let after = bench.store.revision().await.unwrap();
    assert_eq!((after.epoch().made, after.is_watched()), (77, false));
    assert_eq!(bench.store.members().await.unwrap().1, []);
    bench.store.watched(before.epoch()).await.unwrap();
    assert!(!bench.store.revision().await.unwrap().is_watched());
    bench.store.watched(after.epoch()).await.unwrap();
    assert!(bench.store.revision().await.unwrap().is_watched());
    bench.member(2, CONTRACT).await;
    bench.store.prepare(78).await.unwrap();
    assert_eq!(bench.store.revision().await.unwrap().epoch().made, 77, "it is made once");
    assert_eq!(bench.store.members().await.unwrap().1, []);
    bench.end().await;
}

#[tokio::test]
async fn a_start_makes_the_row_where_there_is_none() {
    let bench = bench("begin").await;
    bench.execute("DELETE FROM keys_position", &[]).await;
    bench.store.revision().await.unwrap_err();
    bench.store.begin(9).await.unwrap();
    assert_eq!(bench.store.revision().await.unwrap().epoch(), Epoch { made: 9, timeline: 0 });
    bench.end().await;
}

/// Ends what stands in the row of owner 5, for the first time or once more.
async fn end_of_five(bench: &crate::bench::Bench, earlier: Option<i64>, confirmed: bool) -> Change {
    const SET: &str = "UPDATE keys_disabled_owners SET disabled_at = $2 WHERE owner_id = $1";
    let tag = Tag::Credential(HASH);
    let ended = Ended { tag, earlier, is_confirmed: confirmed };
    let mut tx = bench.store.db.begin("test").await.unwrap();
    let change = end_once(&mut tx, &SQL, ended, (SET, Value::from(5_i64)), NOW).await.unwrap();
    tx.commit().await.unwrap();
    change
}

#[tokio::test]
async fn what_is_ended_twice_takes_one_revision() {
    let bench = bench("twice").await;
    bench.execute("INSERT INTO keys_disabled_owners VALUES (5, 0)", &[]).await;
    bench.commit(Tag::All).await;
    let first = end_of_five(&bench, None, false).await;
    assert_eq!((first.revision(), first.earlier), (at(2), None));
    let sql = "SELECT disabled_at FROM keys_disabled_owners";
    let written: Option<(i64,)> = bench.store.db.fetch_first(sql, &[]).await.unwrap();
    assert_eq!(written, Some((2,)));
    bench.commit(Tag::All).await;
    for confirmed in [false, true] {
        let again = end_of_five(&bench, Some(2), confirmed).await;
        assert_eq!((again.revision(), again.earlier), (at(2), Some((at(2), confirmed))));
        assert_eq!(again.row.revision(), at(3));
    }
    bench.end().await;
}

#[test]
fn a_snapshot_holds_its_position_its_members_and_its_facts_and_leaves_other_rows() {
    let row = |kind| SnapshotRow {
        kind,
        at_revision: 4,
        at_epoch: 1,
        at_timeline: 2,
        member: Some(vec![1; 16]),
        bus_user: Some(USER.to_owned()),
        state: Some("retired".to_owned()),
    };
    let mut read = Read::default();
    for (kind, is_taken) in [(0, true), (1, true), (2, false), (3, true)] {
        assert_eq!(read.take(&row(kind)), is_taken, "{kind}");
    }
    let strange = SnapshotRow { state: Some("?".to_owned()), ..row(1) };
    assert!(read.take(&strange), "it is a member's row, whatever it says");
    let epoch = Epoch { made: 1, timeline: 2 };
    assert_eq!((read.epoch(), read.facts()), (epoch, &[vec![1; 16]][..]));
    let (mine, other) = (member(1, USER), member(1, "other"));
    for (asker, membership) in [
        (Some(&mine), Some(MemberState::Retired)),
        (Some(&other), None),
        (None, Some(MemberState::Member)),
    ] {
        let snapshot = Snapshot { membership, epoch, revision: at(4) };
        assert_eq!(read.for_asker(asker), snapshot);
    }
}

#[tokio::test]
async fn every_statement_is_among_all_and_is_understood() {
    let bench = bench("statements").await;
    let mut all = SQL.sqlite.all();
    for sql in &all {
        bench.store.db.check(sql).await.unwrap();
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 18);
    bench.end().await;
}
