//! The count of keys in use that expire soon.

use latchkey_contract::{KeyId, Timestamp, UserId};
use latchkey_keys::expiring::ExpiryCounter;
use latchkey_keys::store as keys;
use latchkey_keys::store::expiring::{Expiring, Horizon, count};
use latchkey_runtime::Clock;
use latchkey_store::Db;

use super::{NOW, disable, engines, insert, key, revoke};

const DAY: i64 = Timestamp::DAY;

async fn counted(db: &Db, now: Timestamp) -> Expiring {
    ExpiryCounter::new(db.clone(), Clock::manual(now.0)).count().await.unwrap()
}

/// Stores a key that ends after so many days, and was used when that is said.
async fn stored(db: &Db, owner: i64, number: u8, ends: i64, used: Option<Timestamp>) -> KeyId {
    let id = insert(db, key(owner, number, NOW.plus(ends))).await;
    if let Some(at) = used {
        keys::record_uses(db, &[(id, at)]).await.unwrap();
    }
    id
}

#[tokio::test]
async fn keys_in_use_that_expire_within_a_week_and_a_month_are_counted() {
    for (db, _folder) in engines().await {
        assert_eq!(counted(&db, NOW).await, Expiring::default());
        let used = Some(NOW.plus(-DAY));
        stored(&db, 1, 1, 1, used).await;
        stored(&db, 1, 2, 7 * DAY, used).await;
        stored(&db, 1, 3, 7 * DAY + 1, used).await;
        stored(&db, 1, 4, 30 * DAY, Some(NOW.plus(-30 * DAY))).await;
        // Not counted: later, expired, not used, not used for long, revoked, of a deactivated owner.
        stored(&db, 1, 5, 30 * DAY + 1, used).await;
        stored(&db, 1, 6, 0, used).await;
        stored(&db, 1, 7, DAY, None).await;
        stored(&db, 1, 8, DAY, Some(NOW.plus(-30 * DAY - 1))).await;
        let revoked = stored(&db, 1, 9, DAY, used).await;
        revoke(&db, UserId(1), revoked, NOW).await.unwrap();
        stored(&db, 2, 10, DAY, used).await;
        disable(&db, 2, true, 1).await.unwrap();
        assert_eq!(counted(&db, NOW).await, Expiring { week: 2, month: 4 });
        disable(&db, 2, false, 2).await.unwrap();
        assert_eq!(counted(&db, NOW).await, Expiring { week: 3, month: 5 });
        assert_eq!(counted(&db, NOW.plus(7 * DAY)).await, Expiring { week: 1, month: 2 });
    }
}

#[tokio::test]
async fn a_count_looks_at_no_more_keys_than_it_may_and_at_the_next_first() {
    for (db, _folder) in engines().await {
        for (number, days) in (1..).zip([20, 2, 10, 1]) {
            stored(&db, 1, number, days * DAY, Some(NOW)).await;
        }
        let looked = async |max| {
            let (week, month) = (NOW.plus(7 * DAY), NOW.plus(30 * DAY));
            count(&db, Horizon { now: NOW, week, month, used_since: NOW, max }).await.unwrap()
        };
        let expected = [(0, 0, 0), (1, 1, 1), (3, 2, 3), (4, 2, 4), (9, 2, 4)];
        for (max, week, month) in expected {
            assert_eq!(looked(max).await, Expiring { week, month }, "{max}");
        }
    }
}
