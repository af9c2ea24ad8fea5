//! Changes seen to their end, with edges that the test plays.

use std::future::{Ready, ready};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use latchkey_bus::{MessageHandler, Subscription};
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::Tag;
use latchkey_contract::wire::{CONTRACT, Contracts, PREVIOUS};
use tokio_util::task::TaskTracker;

use super::*;
use crate::bench::{
    Bench, HASH, NOW, SQL, USER, at, bench, hasty_bench, member, waiting_bench, warnings,
};
use crate::changes::new_epoch;

/// What edges were told: by which contract, and of what.
type Told = Arc<Mutex<Vec<(u16, Invalidate<CredentialHash>)>>>;

/// An edge that acknowledges everything as `member`, and as this user of the bus.
async fn edge(bench: &Bench, id: u8, user: &'static str) -> (Told, Subscription) {
    let (told, bus) = (Told::default(), bench.bus.clone());
    let (heard, tasks) = (Arc::clone(&told), TaskTracker::new());
    let hear: MessageHandler = Arc::new(move |_, payload: Bytes| {
        let (contract, message) = wire::decode::<Invalidating>(&payload, Contracts::OWN).unwrap();
        let Invalidate { epoch, change } = message.invalidate;
        heard.lock().unwrap().push((contract, message.invalidate));
        let member = member(id, user).id;
        let acknowledge = Acknowledge { member, epoch, revision: change.revision };
        let subject = message.waiter.subject::<KeysAuthority>(user);
        let payload = wire::encode(&acknowledge, contract).unwrap().into();
        let bus = bus.clone();
        tasks.spawn(async move { bus.publish(&subject, payload).await });
    });
    let hearing =
        bench.bus.subscribe(KeysAuthority::INVALIDATIONS, hear, Box::new(|| {})).await.unwrap();
    (told, hearing)
}

fn nothing() -> Ready<Result<(), StoreError>> {
    ready(Ok(()))
}

#[tokio::test]
async fn it_returns_when_every_edge_has_acknowledged_and_is_then_settled() {
    let bench = bench("acknowledged").await;
    for (id, contract, says) in [(1, CONTRACT, CONTRACT), (2, PREVIOUS, PREVIOUS)] {
        bench.member(id, contract).await;
        let change = bench.commit(Tag::Credential(HASH)).await;
        let (told, _first) = edge(&bench, 1, USER).await;
        let (_, _second) = edge(&bench, 2, USER).await;
        let is_confirmed = Arc::new(AtomicUsize::new(0));
        let mark_confirmed = Arc::clone(&is_confirmed);
        let receipt = bench
            .authority
            .confirm(change, async move {
                mark_confirmed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .await;
        assert_eq!((receipt.revision, receipt.edges_confirmed), (at(id.into()), id.into()));
        assert!(receipt.waited_ms < bench.authority.bounds().wait() / Moment::MILLISECOND);
        let invalidation = Invalidation { revision: at(id.into()), tag: Tag::Credential(HASH) };
        let invalidate = Invalidate { epoch: change.row.epoch(), change: invalidation };
        assert_eq!(told.lock().unwrap()[0], (says, invalidate), "as the oldest of them reads it");
        crate::tests::until(|| is_confirmed.load(Ordering::Relaxed) == 1).await;
    }
    bench.end().await;
}

#[tokio::test]
async fn an_acknowledgement_in_another_s_name_does_not_count_and_is_said_once() {
    let warnings = warnings();
    // Long enough to be told again on any machine.
    let bench = waiting_bench("name", 2_000).await;
    let key = bench.member(1, CONTRACT).await;
    let change = bench.commit(Tag::Credential(HASH)).await;
    let (told, _edge) = edge(&bench, 1, "other").await;
    let receipt = bench.authority.confirm(change, nothing()).await;
    assert_eq!(receipt.edges_confirmed, 0);
    assert!(receipt.waited_ms >= 2_000, "{receipt:?}");
    assert!(told.lock().unwrap().len() > 1, "it is told again, and says so again");
    bench.authority.tasks.close();
    bench.authority.tasks.wait().await;
    // Of the other's name, and of the edge that was silent.
    assert_eq!(warnings(), 2);
    let (snapshot, _) = bench.store.renew(&key, at(0)).await.unwrap();
    assert_eq!(snapshot.membership, Some(latchkey_revocation::MemberState::Retired));
    bench.end().await;
}

#[tokio::test]
async fn an_edge_that_is_silent_is_one_line_however_many_changes_waited_for_it() {
    let warnings = warnings();
    let bench = hasty_bench("retired").await;
    bench.member(1, CONTRACT).await;
    let first = bench.commit(Tag::Credential(HASH)).await;
    let (second, third) =
        (bench.commit(Tag::Credential(HASH)).await, bench.commit(Tag::Credential(HASH)).await);
    let wait = |change| bench.authority.confirm(change, nothing());
    let receipts = tokio::join!(wait(first), wait(second), wait(third));
    let confirmed = [receipts.0, receipts.1, receipts.2].map(|receipt| receipt.edges_confirmed);
    assert_eq!(confirmed, [0; 3]);
    bench.authority.tasks.close();
    bench.authority.tasks.wait().await;
    assert_eq!(warnings(), 1);
    bench.end().await;
}

#[tokio::test]
async fn in_a_history_that_nobody_has_watched_it_takes_the_whole_wait() {
    let bench = hasty_bench("history").await;
    let mut tx = bench.store.db.begin("test").await.unwrap();
    new_epoch(&mut tx, &SQL, 77).await.unwrap();
    tx.commit().await.unwrap();
    let change = bench.commit(Tag::Credential(HASH)).await;
    // Nobody is a member, so everybody has acknowledged.
    let receipt = bench.authority.confirm(change, nothing()).await;
    assert!(receipt.waited_ms >= 70, "{receipt:?}");
    bench.end().await;
}

#[tokio::test]
async fn a_repeat_of_what_was_settled_returns_at_once_and_of_anything_else_waits() {
    let bench = hasty_bench("repeat").await;
    bench.member(1, CONTRACT).await;
    let change = bench.commit(Tag::Credential(HASH)).await;
    for (is_confirmed, waits) in [(true, false), (false, true)] {
        let change = Change { earlier: Some((at(1), is_confirmed)), ..change };
        let receipt = bench.authority.confirm(change, nothing()).await;
        assert_eq!(receipt.revision, at(1));
        assert_eq!(receipt.waited_ms >= 70, waits, "{receipt:?}");
    }
    bench.end().await;
}

#[tokio::test]
async fn who_does_not_wait_is_told_from_when_it_is_exact_and_there_is_a_bound() {
    let bench = bench("unwatched").await;
    let change = bench.commit(Tag::Credential(HASH)).await;
    let answered = bench.authority.answer(change, false, nothing()).await.unwrap();
    let exact_from = NOW.plus(2_200);
    assert_eq!(answered, Changed::Committed { revision: at(1), exact_from });
    let answered = bench.authority.answer(change, true, nothing()).await.unwrap();
    assert!(matches!(answered, Changed::Confirmed(receipt) if receipt.revision == at(1)));
    let enter = || bench.authority.unwatched.try_enter();
    let full: Vec<_> = std::iter::from_fn(enter).collect();
    let refused = bench.authority.answer(change, false, nothing()).await.unwrap_err();
    assert!(matches!(refused, Failure::Unavailable(_)), "it stands: {refused:?}");
    drop(full);
    bench.end().await;
}

#[tokio::test]
async fn nothing_is_kept_of_a_change_that_is_over_and_what_failed_afterwards_is_said() {
    let warnings = warnings();
    let bench = bench("over").await;
    let change = bench.commit(Tag::Credential(HASH)).await;
    let failed = async { Err(StoreError::Unexpected("broken")) };
    bench.authority.confirm(change, failed).await;
    bench.authority.tasks.close();
    bench.authority.tasks.wait().await;
    assert_eq!(warnings(), 1);
    // A second waiter would find the first one's place.
    let mut waiting = bench.authority.acknowledgements.of(at(1));
    waiting.close();
    bench.authority.acknowledgements.forget(at(1));
    bench.end().await;
}
