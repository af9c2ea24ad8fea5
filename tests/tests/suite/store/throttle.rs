//! Budgets of tries at a password, and the clients that have one of their own.

use e2e::ANYBODY;
use latchkey_audit::{Action, Event, Target};
use latchkey_contract::{CredentialHash, Refusal, Timestamp};
use latchkey_identity::store::client;
use latchkey_identity::store::throttle::{self, Budget, End, FREE};
use latchkey_identity::sweeper::Sweeper;
use latchkey_identity::throttle::{FORGET_AFTER, FORGET_BLOCKED_AFTER, FORGET_CLIENT_AFTER};
use latchkey_runtime::Clock;
use latchkey_store::Db;

use super::{NOW, engines, patiently, user};

const SECOND: i64 = Timestamp::SECOND;

async fn found(db: &Db, budget: &CredentialHash) -> Budget {
    throttle::find(db, budget).await.unwrap().unwrap()
}

/// Reserves one try, which there is.
async fn reserved(db: &Db, budget: &CredentialHash, now: Timestamp) -> i64 {
    throttle::reserve(db, budget, now).await.unwrap().unwrap()
}

/// Ends a try as a failure.
async fn fail(db: &Db, budget: &CredentialHash, round: i64, now: Timestamp) {
    let (action, target) = (Action::UserLoginFailed, Target::Name([0; 32]));
    let event = Event::refused(action, &Refusal::WrongCredentials, target, now, &ANYBODY);
    throttle::refuse(db, Some((budget, round)), End::Failed, None, &event).await.unwrap();
}

#[tokio::test]
async fn a_message_that_comes_twice_is_one_failure_and_one_event() {
    for (db, _folder) in engines().await {
        let (budget, message) = (CredentialHash::of("ada"), CredentialHash::of("message"));
        let rounds = [reserved(&db, &budget, NOW).await, reserved(&db, &budget, NOW).await];
        let (action, target) = (Action::UserLoginFailed, Target::Name([0; 32]));
        let event = Event::refused(action, &Refusal::WrongCredentials, target, NOW, &ANYBODY);
        let refusals = rounds.map(|round| {
            let (db, event, budget, message) = (&db, &event, &budget, &message);
            patiently(move || {
                throttle::refuse(db, Some((budget, round)), End::Failed, Some(message), event)
            })
        });
        futures_util::future::join_all(refusals).await;
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (1, 0));
        let events = "SELECT COUNT(*) FROM identity_audit_events";
        let events: Option<(i64,)> = db.fetch_first(events, &[]).await.unwrap();
        assert_eq!(events, Some((1,)));
    }
}

#[tokio::test]
async fn tries_at_once_get_what_is_free_and_no_more() {
    for (db, _folder) in engines().await {
        let budget = CredentialHash::of("ada");
        let tries = (0..40).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { patiently(|| throttle::reserve(&db, &budget, NOW)).await })
        });
        let mut rounds = Vec::new();
        for reserving in tries.collect::<Vec<_>>() {
            rounds.extend(reserving.await.unwrap());
        }
        assert_eq!(i64::try_from(rounds.len()).unwrap(), FREE);
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (0, FREE));
        for round in rounds {
            assert_eq!(throttle::reserve(&db, &budget, NOW).await.unwrap(), None);
            fail(&db, &budget, round, NOW).await;
        }
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (FREE, 0));
        assert_eq!(throttle::reserve(&db, &budget, NOW.plus(SECOND - 1)).await.unwrap(), None);
        // After the wait it is one at a time.
        reserved(&db, &budget, NOW.plus(SECOND)).await;
        assert_eq!(throttle::reserve(&db, &budget, NOW.plus(SECOND)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_wait_doubles_up_to_a_bound_and_a_hundred_failures_are_the_end() {
    for (db, _folder) in engines().await {
        let (budget, mut now) = (CredentialHash::of("ada"), NOW);
        for failures in 1..=102 {
            let round = reserved(&db, &budget, now).await;
            fail(&db, &budget, round, now).await;
            let wait = match failures {
                1..10 => 0,
                10..20 => SECOND << (failures - 10),
                20..100 => 15 * 60 * SECOND,
                _ => Timestamp::DAY,
            };
            let row = found(&db, &budget).await;
            assert_eq!(row.failures, failures);
            let free_at = if wait == 0 { 0 } else { now.0 + wait };
            assert_eq!(row.free_at, free_at, "after {failures}");
            if wait > 0 {
                let early = now.plus(wait - 1);
                assert_eq!(throttle::reserve(&db, &budget, early).await.unwrap(), None);
            }
            now = now.plus(wait);
        }
    }
}

#[tokio::test]
async fn a_success_forgets_failures_and_leaves_what_is_under_way() {
    for (db, _folder) in engines().await {
        let budget = CredentialHash::of("ada");
        let rounds = [reserved(&db, &budget, NOW).await, reserved(&db, &budget, NOW).await];
        let third = reserved(&db, &budget, NOW).await;
        fail(&db, &budget, rounds[0], NOW).await;
        throttle::succeed(&db, &budget, rounds[1]).await.unwrap();
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (0, 1));
        throttle::give_back(&db, &budget, third).await.unwrap();
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (0, 0));
    }
}

#[tokio::test]
async fn a_try_whose_process_has_gone_is_a_failure() {
    for (db, _folder) in engines().await {
        let budget = CredentialHash::of("ada");
        let round = reserved(&db, &budget, NOW).await;
        for _ in 1..FREE {
            reserved(&db, &budget, NOW.plus(1)).await;
        }
        throttle::expire(&db, &budget, NOW).await.unwrap();
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (0, FREE), "one began after that");
        throttle::expire(&db, &budget, NOW.plus(1)).await.unwrap();
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (FREE, 0));
        let later = NOW.plus(1 + SECOND);
        let next = reserved(&db, &budget, later).await;
        // It was only slow: what it reserved is not what is under way now.
        throttle::give_back(&db, &budget, round).await.unwrap();
        fail(&db, &budget, round, later).await;
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (FREE + 1, 1));
        throttle::succeed(&db, &budget, next).await.unwrap();
        let row = found(&db, &budget).await;
        assert_eq!((row.failures, row.in_flight), (0, 0));
    }
}

#[tokio::test]
async fn budgets_are_forgotten_when_nothing_of_them_was_spent_for_long() {
    for (db, _folder) in engines().await {
        let (few, blocked) = (CredentialHash::of("ada"), CredentialHash::of("bob"));
        let round = reserved(&db, &few, NOW).await;
        fail(&db, &few, round, NOW).await;
        for _ in 0..100 {
            fail(&db, &blocked, 0, NOW).await;
        }
        let clock = Clock::manual(NOW.0 + FORGET_AFTER);
        let sweeper = Sweeper { db: db.clone(), clock: clock.clone() };
        assert_eq!(sweeper.sweep().await.unwrap(), 0);
        clock.advance(1);
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert_eq!(throttle::find(&db, &few).await.unwrap(), None);
        assert_eq!(found(&db, &blocked).await.failures, 100, "a hundred stay a hundred");
        clock.advance(FORGET_BLOCKED_AFTER - FORGET_AFTER);
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert_eq!(throttle::find(&db, &blocked).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_last_clients_of_an_account_are_known_and_forgotten_when_they_stay_away() {
    for (db, _folder) in engines().await {
        let (ada, bob) = (user(&db, "ada").await.unwrap(), user(&db, "bob").await.unwrap());
        let hash = |number: i64| CredentialHash::of(&number.to_string());
        let known = async |user: i64, number: i64| {
            client::find(&db, user, &hash(number)).await.unwrap().map(|at| at.0 - NOW.0)
        };
        client::remember(&db, bob, &hash(1), NOW, 3).await.unwrap();
        for number in 1..=3 {
            client::remember(&db, ada, &hash(number), NOW.plus(number), 3).await.unwrap();
        }
        client::remember(&db, ada, &hash(1), NOW.plus(10), 3).await.unwrap();
        client::remember(&db, ada, &hash(4), NOW.plus(11), 3).await.unwrap();
        assert_eq!(known(ada, 1).await, Some(10));
        assert_eq!(known(ada, 2).await, None, "the one that was away for longest");
        assert_eq!((known(ada, 3).await, known(ada, 4).await), (Some(3), Some(11)));
        assert_eq!(known(bob, 1).await, Some(0), "everybody has their own");
        assert_eq!(known(bob, 3).await, None);

        let clock = Clock::manual(NOW.0 + FORGET_CLIENT_AFTER + 10);
        let sweeper = Sweeper { db: db.clone(), clock };
        assert_eq!(sweeper.sweep().await.unwrap(), 2);
        assert_eq!((known(ada, 1).await, known(ada, 3).await), (Some(10), None));
    }
}
