//! Chores that one replica at a time does: who works, who goes on where a holder stops, dies or stands still, and that
//! one which wakes beside the next does no harm. On both engines, and by processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::{Cluster, Service, poll, prometheus};
use latchkey_authority::{MemberKey, Store};
use latchkey_contract::Timestamp;
use latchkey_contract::lease::MemberId;
use latchkey_contract::wire::CONTRACT;
use latchkey_identity::store::{AUTHORITY, CHORES};
use latchkey_runtime::Clock;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::{Chores, Db, Exclusive, Holder, values};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::store::engines;

/// Bound on whatever is waited for.
const SOON: Duration = Duration::from_mins(1);
const NAME: &str = "tested";
const NOW: Timestamp = Timestamp(1_764_975_600_000);

/// Counts how often it was begun and finished; it finishes when it is let.
#[derive(Clone, Default)]
struct Counted {
    begun: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
    stood_by: Arc<AtomicUsize>,
    looked_on: Arc<AtomicUsize>,
    is_cut_off: Arc<AtomicBool>,
    gate: Option<Arc<Notify>>,
}

impl PeriodicTask for Counted {
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
    }

    fn is_able(&self) -> bool {
        !self.is_cut_off.load(Ordering::SeqCst)
    }

    async fn look_on(&self) {
        self.looked_on.fetch_add(1, Ordering::SeqCst);
    }

    fn stand_by(&self) {
        self.stood_by.fetch_add(1, Ordering::SeqCst);
    }
}

struct Replica {
    chore: Exclusive<Counted>,
    counted: Counted,
}

impl Replica {
    fn new(db: &Db, number: u8) -> Self {
        Self::with(db, number, Counted::default())
    }

    fn with(db: &Db, number: u8, counted: Counted) -> Self {
        let (holder, clock) = (Holder([number; 16]), Clock::System);
        let chores = Chores { db: db.clone(), sql: &CHORES, holder, clock };
        Self { chore: chores.exclusive(NAME, counted.clone()), counted }
    }

    /// Whether a run does the chore.
    async fn works(&self) -> bool {
        let before = self.counted.finished.load(Ordering::SeqCst);
        self.chore.run().await;
        self.counted.finished.load(Ordering::SeqCst) > before
    }
}

/// As if so much time had gone by that the hold ends at `until`.
async fn set_until(db: &Db, until: i64) {
    let sql = "UPDATE identity_chores SET until = $2 WHERE name = $1";
    assert_eq!(db.execute(sql, values![NAME, until]).await.unwrap(), 1);
}

#[tokio::test]
async fn of_three_replicas_one_works_and_goes_on() {
    for (db, _folder) in engines().await {
        let [a, b, c] = [1, 2, 3].map(|number| Replica::new(&db, number));
        let mut worked = [0; 3];
        for _ in 0..5 {
            let (a, b, c) = tokio::join!(a.works(), b.works(), c.works());
            for (count, has) in worked.iter_mut().zip([a, b, c]) {
                *count += usize::from(has);
            }
        }
        worked.sort_unstable();
        assert_eq!(worked, [0, 0, 5]);
    }
}

#[tokio::test]
async fn a_holder_that_died_is_replaced_when_its_hold_has_run_out_and_not_before() {
    for (db, _folder) in engines().await {
        let (dies, next) = (Replica::new(&db, 1), Replica::new(&db, 2));
        assert!(dies.works().await);
        drop(dies);
        assert!(!next.works().await);
        set_until(&db, 1).await;
        assert!(next.works().await);
        assert!(!Replica::new(&db, 3).works().await);
        // A hold that was stamped before the database's clock was set back binds nobody.
        set_until(&db, i64::MAX).await;
        assert!(Replica::new(&db, 3).works().await);
    }
}

#[tokio::test]
async fn a_clean_stop_hands_over_at_once_and_gives_back_what_is_one_s_own() {
    for (db, _folder) in engines().await {
        let [first, next, third] = [1, 2, 3].map(|number| Replica::new(&db, number));
        assert!(first.works().await && !next.works().await);
        // Whoever holds nothing gives nothing back.
        next.chore.end().await;
        assert!(!third.works().await);
        first.chore.end().await;
        assert!(next.works().await);
        assert!(!third.works().await);
        // It has given back once: another's row is not its own.
        first.chore.end().await;
        assert!(!third.works().await && next.works().await);
    }
}

#[tokio::test]
async fn a_holder_that_cannot_do_it_gives_the_row_back_even_in_the_midst_of_a_run() {
    for (db, _folder) in engines().await {
        let [first, next] = [1, 2].map(|number| Replica::new(&db, number));
        let is_cut_off = |replica: &Replica, is: bool| {
            replica.counted.is_cut_off.store(is, Ordering::SeqCst);
        };
        assert!(first.works().await && !next.works().await);
        assert_eq!(next.counted.looked_on.load(Ordering::SeqCst), 1);
        is_cut_off(&first, true);
        assert!(!first.works().await && next.works().await);
        assert_eq!(first.counted.looked_on.load(Ordering::SeqCst), 1);
        is_cut_off(&next, true);
        assert!(!next.works().await && !first.works().await, "it takes nothing either");
        let counted = Counted { gate: Some(Arc::default()), ..Counted::default() };
        let waits = Replica::with(&db, 3, counted.clone());
        let (has_finished, ()) = tokio::join!(waits.works(), async {
            poll::until_async("it works", SOON, async || {
                (counted.begun.load(Ordering::SeqCst) == 1).then_some(())
            })
            .await;
            is_cut_off(&waits, true);
        });
        assert!(!has_finished && Replica::new(&db, 4).works().await);
    }
}

#[tokio::test]
async fn a_row_that_went_is_made_again() {
    for (db, _folder) in engines().await {
        let [first, next] = [1, 2].map(|number| Replica::new(&db, number));
        assert!(first.works().await && !next.works().await);
        db.execute("DELETE FROM identity_chores", values![]).await.unwrap();
        assert!(next.works().await);
    }
}

/// The database answers no look any more: the hold is good until it has run out, and no longer.
async fn is_not_told_who_holds_it(db: &Db) {
    let replica = Replica::new(db, 1);
    let began = Instant::now();
    assert!(replica.works().await);
    db.execute("ALTER TABLE identity_chores RENAME TO lost", values![]).await.unwrap();
    let mut looked = 0;
    while replica.works().await {
        let age = began.elapsed();
        assert!(age < Exclusive::<Counted>::TERM + Duration::from_secs(5), "{age:?}");
        looked += usize::from(age > Exclusive::<Counted>::TERM / 2);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(looked > 0 && began.elapsed() >= Exclusive::<Counted>::TERM, "{looked}");
    assert_eq!(replica.counted.stood_by.load(Ordering::SeqCst), 1);
    db.execute("ALTER TABLE lost RENAME TO identity_chores", values![]).await.unwrap();
    assert!(replica.works().await);
}

#[tokio::test]
async fn a_look_that_fails_ends_no_hold_that_has_not_run_out() {
    let [(sqlite, _folder), (postgres, _)] = engines().await;
    tokio::join!(is_not_told_who_holds_it(&sqlite), is_not_told_who_holds_it(&postgres));
}

/// A holder is in the midst of its work when its hold runs out and another one takes the row.
async fn is_overtaken_while_it_works(db: &Db) {
    let counted = Counted { gate: Some(Arc::default()), ..Counted::default() };
    let paused = Arc::new(Replica::with(db, 1, counted.clone()));
    let works = Arc::clone(&paused);
    let working = tokio::spawn(async move { works.works().await });
    poll::until_async("it works", SOON, async || {
        (counted.begun.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    set_until(db, 1).await;
    let next = Replica::new(db, 2);
    assert!(next.works().await, "beside it");
    // It notices, and leaves the rest of its work to the next one.
    let has_finished = timeout(SOON, working).await.expect("it gives up").unwrap();
    assert!(!has_finished);
    assert_eq!(counted.stood_by.load(Ordering::SeqCst), 1);
    assert!(next.works().await && !paused.works().await, "it stands by");
}

#[tokio::test]
async fn a_holder_that_stood_still_gives_up_its_work_when_it_notices() {
    let [(sqlite, _folder), (postgres, _)] = engines().await;
    tokio::join!(is_overtaken_while_it_works(&sqlite), is_overtaken_while_it_works(&postgres));
}

#[tokio::test]
async fn a_janitor_that_stood_still_retires_nobody_who_has_renewed_since() {
    for (db, _folder) in engines().await {
        let store = Store { db, sql: &AUTHORITY };
        let (id, user) = (MemberId([1; 16]), Arc::from("edge"));
        store.join(&MemberKey { id, user }, CONTRACT, NOW).await.unwrap().expect("joined");
        let retired = async || {
            let rows = store.rows(NOW).await.unwrap();
            rows.iter().filter(|row| row.state != latchkey_revocation::MemberState::Member).count()
        };
        // What it read before its pause: quiet since before this moment.
        store.retire_quiet(id, NOW).await.unwrap();
        assert_eq!(retired().await, 0);
        store.retire_quiet(id, NOW.plus(1)).await.unwrap();
        assert_eq!(retired().await, 1);
    }
}

/// Which of the replicas does this chore; `None` where it is not one.
async fn holder(cluster: &Cluster, service: Service, chore: &str) -> Option<usize> {
    let name = service.binary().trim_start_matches("latchkey-");
    let mut holders = Vec::new();
    for number in 0..cluster.count(service) {
        let replica = cluster.replica(service, number);
        if !replica.runs() {
            continue;
        }
        let text = prometheus::scrape(&replica.monitor()).await;
        let labels = [("service", name), ("chore", chore)];
        if prometheus::value(&text, "latchkey_chore_held", &labels)? > 0.5 {
            holders.push(number);
        }
    }
    if let [one] = holders[..] { Some(one) } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_processes_one_does_each_chore_and_another_one_where_it_stops_or_is_killed() {
    let builder = Cluster::builder().replicas(Service::Identity, 3);
    let mut cluster = tokio::task::block_in_place(|| builder.start());
    for is_killed in [false, true] {
        let before = poll::until_async("one holds the row", SOON, || {
            holder(&cluster, Service::Identity, "outbox")
        })
        .await;
        let replica = cluster.replica_mut(Service::Identity, before);
        if is_killed {
            replica.kill();
        } else {
            tokio::task::block_in_place(|| replica.stop());
        }
        let next = poll::until_async("another one does", SOON, || {
            holder(&cluster, Service::Identity, "outbox")
        })
        .await;
        assert_ne!(next, before);
    }
    // What is decided is carried out all the same.
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "ends").await;
    let done =
        tokio::task::block_in_place(|| cluster.operator(&["user", "deactivate", &user.username]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    api.as_service(&key.key).await.unauthenticated();
}

/// It could tell the key service nothing, and would have nobody else tell it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_cut_off_from_the_bus_alone_hands_the_outbox_over() {
    let builder = Cluster::builder().replicas(Service::Identity, 2).relayed();
    let mut cluster = tokio::task::block_in_place(|| builder.start());
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "ends").await;
    let outbox = async |cluster: &Cluster| holder(cluster, Service::Identity, "outbox").await;
    let before = poll::until_async("one holds the row", SOON, || outbox(&cluster)).await;
    cluster.relay(Service::Identity, before).cut();
    poll::until_async("the other one does", SOON, async || {
        outbox(&cluster).await.filter(|now| *now != before)
    })
    .await;
    // What is decided while the key service is away is carried when it is back.
    let done = tokio::task::block_in_place(|| {
        cluster.replica_mut(Service::Keys, 0).kill();
        let done = cluster.operator(&["user", "deactivate", &user.username]);
        cluster.replica_mut(Service::Keys, 0).restart();
        done
    });
    assert_eq!(done.code, Some(69), "{}", done.stderr);
    poll::until_async("the key is refused", SOON, async || {
        (api.as_service(&key.key).await.status == 401).then_some(())
    })
    .await;
}
