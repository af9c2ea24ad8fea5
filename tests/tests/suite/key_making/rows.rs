//! Making keys in the key service's database, by a key and by several at once. Each test on both engines.

use e2e::{acting_user, order};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Actor, AllowedIps, Caller, KeyId, Owner, Refusal, RequestId, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::acting::Barred;
use latchkey_keys::store::issue::{Inserted, Order, Policy};
use latchkey_store::Db;

use crate::store::{NOW, engines};

/// A key that makes keys, in a database whose owners may grant that.
async fn acting_key(db: &Db, number: u8, more: impl FnOnce(&mut Order)) -> (KeyId, Caller) {
    let ceiling = "UPDATE keys_telling SET default_ceiling = '* latchkey:keys:write'";
    db.execute(ceiling, &[]).await.unwrap();
    let mut key = order(1, number, NOW, NOW.plus(60_000));
    key.scopes = Some(Scopes::parse("latchkey:keys:write orders:*").unwrap());
    more(&mut key);
    let made = keys::issue::insert(db, key, &Policy::default(), &acting_user(1)).await.unwrap();
    let Inserted::Key(made) = made else { panic!("{made:?}") };
    let actor = Actor::Key { id: made.id, owner: Owner::User(UserId(1)) };
    (made.id, Caller::of(actor, RequestId::new("test")))
}

fn refused(inserted: &Inserted) -> bool {
    matches!(inserted, Inserted::Barred(Barred::Refused(Refusal::InsufficientScope { .. })))
}

#[tokio::test]
async fn a_key_makes_none_that_may_more_than_itself_and_takes_its_own_for_what_it_does_not_say() {
    for (db, _folder) in engines().await {
        let ips = AllowedIps::of(["10.0.0.0/8"]).unwrap();
        let (_, by) = acting_key(&db, 1, |key| key.allowed_ips = Some(ips.clone())).await;
        let by = Caller { address: Some("10.1.2.3".parse().unwrap()), ..by };
        let policy = Policy::default();
        let insert = async |number: u8, change: &dyn Fn(&mut Order)| {
            let mut key = order(1, number, NOW, NOW.plus(60_000));
            change(&mut key);
            keys::issue::insert(&db, key, &policy, &by).await.unwrap()
        };
        let read = Some(Scopes::parse("orders:read").unwrap());
        assert!(refused(&insert(2, &|_| {}).await), "scopes that are not named are the default");
        let wide = Some(Scopes::parse("orders:read users:read").unwrap());
        assert!(refused(&insert(3, &|key| key.scopes.clone_from(&wide)).await));
        let any = Some(AllowedIps::default());
        let elsewhere = |key: &mut Order| {
            (key.scopes, key.allowed_ips) = (read.clone(), any.clone());
        };
        assert!(refused(&insert(4, &elsewhere).await));
        let longer = |key: &mut Order| {
            key.scopes.clone_from(&read);
            key.expires_at = NOW.plus(60_001);
        };
        assert!(refused(&insert(5, &longer).await));
        let other = |key: &mut Order| {
            key.scopes.clone_from(&read);
            "sandbox".clone_into(&mut key.environment);
        };
        assert!(refused(&insert(6, &other).await));
        let within = |key: &mut Order| {
            key.scopes.clone_from(&read);
            (key.expires_at, key.is_default_expiry) = (NOW.plus(999_999), true);
        };
        let Inserted::Key(made) = insert(7, &within).await else { panic!("refused") };
        assert_eq!((made.expires_at, &made.allowed_ips), (NOW.plus(60_000), &ips));
    }
}

#[tokio::test]
async fn several_keys_of_one_command_are_one_transaction_and_the_same_when_it_comes_twice() {
    for (db, _folder) in engines().await {
        let (id, by) = acting_key(&db, 1, |_| {}).await;
        let read = |scopes: &str| Some(Scopes::parse(scopes).unwrap());
        let orders = |scopes: [&str; 2]| -> Vec<Order> {
            let one = |number, scopes| Order {
                scopes: read(scopes),
                ..order(1, number, NOW, NOW.plus(60_000))
            };
            vec![one(11, scopes[0]), one(12, scopes[1])]
        };
        let policy = Policy::default();
        let insert =
            async |orders| keys::issue::insert_all(&db, orders, &policy, &by).await.unwrap();
        let barred = insert(orders(["orders:read", "users:read"])).await;
        assert!(matches!(barred, Inserted::Barred(_)), "{barred:?}");
        assert_eq!(keys::key::list(&db, UserId(1), KeyId(0), 9, NOW).await.unwrap().len(), 1);
        let made = insert(orders(["orders:read", "orders:write"])).await;
        assert!(matches!(&made, Inserted::Key(keys) if keys.len() == 2), "{made:?}");
        let events = "SELECT COUNT(*) FROM keys_audit_events";
        let events: Option<(i64,)> = db.fetch_first(events, &[]).await.unwrap();
        assert_eq!(events, Some((3,)), "one of each key");
        // The key that made them has ended: its doubled message finds them, so that they can be ended, too.
        let end = e2e::ending(UserId(1), id);
        keys::revoke(&db, &end, &acting_user(1), NOW).await.unwrap().change().unwrap();
        assert_eq!(insert(orders(["orders:read", "orders:write"])).await, made);
        let other = order(1, 13, NOW, NOW.plus(60_000));
        let ended = keys::issue::insert(&db, other, &policy, &by).await.unwrap();
        assert_eq!(ended, Inserted::Barred(Barred::Refused(Refusal::SessionEnded)));
    }
}

#[tokio::test]
async fn nothing_restricts_a_key_while_an_older_release_would_not_look_at_it() {
    for (db, _folder) in engines().await {
        let policy = Policy { may_restrict: false, ..Policy::default() };
        let insert = async |number: u8, scopes: Option<&str>| {
            let scopes = scopes.map(|text| Scopes::parse(text).unwrap());
            let key = Order { scopes, ..order(1, number, NOW, NOW.plus(60_000)) };
            keys::issue::insert(&db, key, &policy, &acting_user(1)).await.unwrap()
        };
        assert!(matches!(insert(1, None).await, Inserted::Key(_)));
        assert!(matches!(insert(2, Some("*")).await, Inserted::Key(_)));
        let refused = insert(3, Some("orders:read")).await;
        assert!(matches!(refused, Inserted::Barred(Barred::Refused(Refusal::Conflict(_)))));
    }
}
