//! What an authority answers edges, on a SQLite file, with a wall clock that the test moves.

use std::time::Duration;

use latchkey_bus::{Routes, with};
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::{Invalidation, Missed, Tag};
use latchkey_contract::wire::CONTRACT;

use super::*;
use crate::bench::{Bench, HASH, NOW, SQL, USER, asker, at, bench, member};
use crate::changes::new_epoch;

const ID: MemberId = MemberId([1; 16]);

/// Waits for something that happens in another task.
pub(crate) async fn until(mut seen: impl FnMut() -> bool) {
    let waiting = async {
        while !seen() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never happens");
}

impl Bench {
    async fn join_as(&self, id: MemberId, lease_ms: u64, user: Option<&str>) -> Option<String> {
        let join = Join::<KeysAuthority>::new(id, lease_ms);
        match Arc::clone(&self.authority).join(asker(user), join).await {
            Ok(_) => None,
            Err(Failure::Refused(Refusal::Invalid(faults))) => {
                Some(format!("{} {}", faults[0].field, faults[0].message))
            }
            Err(failure) => panic!("{failure:?}"),
        }
    }

    async fn renews(&self, id: u8) {
        let renew = Renew::<KeysAuthority>::new(MemberId([id; 16]), at(0));
        let standing = Arc::clone(&self.authority).renew(asker(Some(USER)), renew).await.unwrap();
        assert!(matches!(standing, MemberResult::Member(_)));
    }
}

#[tokio::test]
async fn who_would_rely_on_answers_for_too_long_or_is_nobody_is_no_member() {
    let bench = bench("join").await;
    for (lease_ms, user, refused) in [
        (2_001, Some(USER), "lease_ms must be at most 2000, as"),
        (u64::MAX, Some(USER), "lease_ms must be at most 2000, as"),
        (2_000, None, " must ask for an answer below _INBOX_USER"),
        (2_000, Some(""), " must ask for an answer below _INBOX_USER"),
    ] {
        let said = bench.join_as(ID, lease_ms, user).await.unwrap();
        assert!(said.starts_with(refused), "{said}");
    }
    assert_eq!(bench.join_as(ID, 2_000, Some(USER)).await, None);
    assert_eq!(bench.join_as(MemberId([2; 16]), 1_999, Some(USER)).await, None);
    let said = bench.join_as(ID, 2_000, Some(USER)).await.unwrap();
    assert!(said.starts_with("member must be an id that nobody has had"), "{said}");
    assert_eq!(bench.store.members().await.unwrap().1.len(), 2);
    bench.end().await;
}

#[tokio::test]
async fn a_member_is_told_what_it_missed_and_may_leave_while_a_stranger_is_and_may_nothing() {
    let bench = bench("serves").await;
    let authority = &bench.authority;
    let routes = Routes::new("keys", "0.0.0", "")
        .on::<Join<KeysAuthority>, _, _>(with(authority, Authority::join))
        .on::<Renew<KeysAuthority>, _, _>(with(authority, Authority::renew))
        .on::<Leave<KeysAuthority>, _, _>(with(authority, Authority::leave));
    let _serving = bench.bus.serve(routes).await.unwrap();
    let joined =
        bench.bus.call(&asker(None), &Join::<KeysAuthority>::new(ID, 2_000)).await.unwrap();
    let here = bench.store.revision().await.unwrap();
    assert_eq!(joined, Joined { epoch: here.epoch(), revision: at(0) });
    bench.commit(Tag::Credential(HASH)).await;
    let renew = Renew::<KeysAuthority>::new(ID, at(0));
    let told = bench.bus.call(&asker(None), &renew).await.unwrap();
    let missed = Missed::These(vec![Invalidation { revision: at(1), tag: Tag::Credential(HASH) }]);
    let renewed = Renewed { epoch: here.epoch(), revision: at(1), missed };
    assert_eq!(told, MemberResult::Member(renewed));
    let stranger = asker(Some("other"));
    let told =
        Arc::clone(&bench.authority).renew(stranger.clone(), Renew::new(ID, at(0))).await.unwrap();
    assert_eq!(told, MemberResult::NotMember);
    Arc::clone(&bench.authority).leave(stranger, Leave::new(ID)).await.unwrap();
    assert_eq!(bench.store.members().await.unwrap().1.len(), 1);
    bench.bus.call(&asker(None), &Leave::<KeysAuthority>::new(ID)).await.unwrap();
    assert_eq!(bench.store.members().await.unwrap().1, []);
    bench.end().await;
}

#[tokio::test]
async fn that_a_member_lives_is_noted_now_and_then() {
    let bench = bench("noted").await;
    let key = bench.member(1, CONTRACT).await;
    for (later, noted) in [(2_000, 0), (4_000, 0), (1_001, 7_001), (5_000, 7_001), (1, 12_002)] {
        bench.clock.advance(later);
        bench.renews(1).await;
        let since = bench.noted(&key).await.map(|at| at - NOW.0);
        assert_eq!(since, Some(noted), "{}", bench.now().0 - NOW.0);
    }
    bench.end().await;
}

#[tokio::test]
async fn where_too_many_members_live_to_know_of_each_it_is_the_database_that_knows() {
    let bench = bench("many").await;
    *bench.authority.noted.lock().unwrap() = Bounded::new(1);
    let [first, second] = [bench.member(1, CONTRACT).await, bench.member(2, CONTRACT).await];
    // The first is known of here, and the second has to be noted each time.
    bench.clock.advance(2_000);
    for member in [1, 2] {
        bench.renews(member).await;
    }
    bench.clock.advance(4_000);
    for member in [1, 2] {
        bench.renews(member).await;
    }
    assert_eq!(bench.noted(&first).await, Some(NOW.0));
    assert_eq!(bench.noted(&second).await, Some(NOW.plus(6_000).0));
    bench.end().await;
}

#[tokio::test]
async fn nothing_is_early_in_a_history_that_was_not_watched_and_anything_in_one_that_was() {
    let bench = bench("early").await;
    let (row, early) = bench.authority.observe().await.unwrap();
    assert!(row.is_watched() && early <= bench.authority.moment());
    let mut tx = bench.store.db.begin("test").await.unwrap();
    new_epoch(&mut tx, &SQL, 77).await.unwrap();
    tx.commit().await.unwrap();
    let before = bench.authority.moment();
    let (row, early) = bench.authority.observe().await.unwrap();
    assert!(!row.is_watched());
    assert!(early >= before.plus(bench.authority.bounds().wait()));
    let (_, again) = bench.authority.observe().await.unwrap();
    assert_eq!(early, again, "since it was first seen");
    assert_eq!(bench.authority.now(), NOW);
    assert_eq!(member(1, USER).id, ID);
    bench.end().await;
}
