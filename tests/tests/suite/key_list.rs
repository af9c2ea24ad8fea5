//! `GET /keys`: what it shows, its pages, and when a key was last used.

use std::time::Duration;

use e2e::answer::{id, time};
use e2e::{Answer, Api, Stack, poll};
use serde_json::Value;

/// The contract's 10 seconds and what a loaded machine adds.
const LAST_USED: Duration = Duration::from_secs(20);

async fn page(api: &Api, token: &str, query: &str) -> Answer {
    api.get(&format!("/keys{query}")).bearer(token).send().await
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().expect("a list").iter().map(|key| id(&key["id"])).collect()
}

/// The path and query of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    assert!(link.contains("rel=\"next\""), "{link}");
    let target = link.split_once('<').unwrap().1.split_once('>').unwrap().0;
    // Under whatever path a proxy has put it.
    let request = reqwest::Url::parse("https://proxy.example/prefix/keys?limit=1").unwrap();
    let target = request.join(target).unwrap();
    let at = target.as_str().strip_prefix("https://proxy.example/prefix");
    Some(at.unwrap_or_else(|| panic!("{target}")).to_owned())
}

#[tokio::test]
async fn a_user_without_keys_has_an_empty_list() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let answer = page(&api, &user.token, "").await;
    assert_eq!(answer.text(), "[]");
    assert_eq!(answer.status, 200);
    assert!(answer.headers.get("link").is_none());
}

#[tokio::test]
async fn a_listed_key_shows_everything_but_the_key() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "listed").await;
    let answer = page(&api, &user.token, "").await;
    assert!(!answer.text().contains(&key.key));
    let list = answer.expect(200);
    let listed = &list[0];
    assert_eq!(listed["id"], key.id);
    assert_eq!(listed["name"], "listed");
    assert_eq!(listed["is_revoked"], false);
    assert!(listed.as_object().unwrap().contains_key("last_used_at"));
    assert!(listed["last_used_at"].is_null());
    assert!(listed.get("key").is_none() && listed.get("hash").is_none(), "{listed}");
    assert_eq!((time(&listed["expires_at"]) - time(&listed["created_at"])).whole_days(), 365);
    let hint = listed["hint"].as_str().unwrap();
    let end: String = key.key.chars().skip(key.key.len() - 4).collect();
    assert!(hint.starts_with("sk_") && hint.ends_with(&end), "{hint}");
    assert!(hint.chars().count() < 20, "{hint}");
}

#[tokio::test]
async fn a_revoked_key_stays_in_the_list_as_revoked() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "gone").await;
    api.revoke(&user.token, key.id).await.expect(200);
    let list = page(&api, &user.token, "").await.expect(200);
    assert_eq!(list[0]["is_revoked"], true);
}

#[tokio::test]
async fn pages_follow_each_other_from_oldest_to_newest() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(api.key(&user.token, &format!("key {number}")).await.id);
    }
    assert!(made.is_sorted());
    assert_eq!(ids(&page(&api, &user.token, "").await.expect(200)), made);

    let (mut found, mut path, mut sizes) = (Vec::new(), "/keys?limit=2".to_owned(), Vec::new());
    loop {
        let answer = api.get(&path).bearer(&user.token).send().await;
        let part = ids(&answer.expect(200));
        sizes.push(part.len());
        found.extend(part);
        match next(&answer) {
            Some(following) if sizes.len() < 10 => path = following,
            Some(following) => panic!("pages without end: {following}"),
            None => break,
        }
    }
    assert_eq!((found, sizes), (made.clone(), vec![2, 2, 1]));

    let rest = page(&api, &user.token, &format!("?after={}", made[2])).await;
    assert_eq!(ids(&rest.expect(200)), made[3..]);
    let end = page(&api, &user.token, &format!("?after={}", made[4])).await;
    assert_eq!(end.text(), "[]");
}

#[tokio::test]
async fn a_full_last_page_has_no_next() {
    let api = Stack::shared().api();
    let user = api.user().await;
    for _ in 0..2 {
        api.key(&user.token, "two").await;
    }
    assert_eq!(next(&page(&api, &user.token, "?limit=2").await), None);
    assert!(next(&page(&api, &user.token, "?limit=1").await).is_some());
}

#[tokio::test]
async fn a_page_holds_100_keys_unless_told_otherwise() {
    let api = Stack::shared().api();
    let user = api.user().await;
    for _ in 0..101 {
        api.key(&user.token, "hundred").await;
    }
    let answer = page(&api, &user.token, "").await;
    assert_eq!(ids(&answer.expect(200)).len(), 100);
    let following = next(&answer).expect("a next page");
    let answer = api.get(&following).bearer(&user.token).send().await;
    assert_eq!(ids(&answer.expect(200)).len(), 1);
    let answer = page(&api, &user.token, "?limit=1000").await;
    assert_eq!(ids(&answer.expect(200)).len(), 101);
}

#[tokio::test]
async fn a_bad_limit_or_start_is_refused() {
    let api = Stack::shared().api();
    let user = api.user().await;
    for limit in ["0", "1001", "-1", "abc", "1.5", "", "99999999999999999999"] {
        page(&api, &user.token, &format!("?limit={limit}")).await.invalid(&["limit"]);
    }
    for after in ["abc", "-1", "9223372036854775808"] {
        page(&api, &user.token, &format!("?after={after}")).await.invalid(&["after"]);
    }
    page(&api, &user.token, "?page=7&limit=1").await.expect(200);
}

#[tokio::test]
async fn the_last_use_of_a_key_is_known_within_seconds() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let (busy, idle) = (api.key(&user.token, "used").await, api.key(&user.token, "idle").await);
    let before = time::OffsetDateTime::now_utc();
    api.as_service(&busy.key).await.expect(200);
    let seen = poll::until_async("last_used_at is set", LAST_USED, async || {
        let list = page(&api, &user.token, "").await.expect(200);
        assert!(list[1]["last_used_at"].is_null(), "{idle:?} was never used: {list}");
        (!list[0]["last_used_at"].is_null()).then(|| time(&list[0]["last_used_at"]))
    })
    .await;
    let after = time::OffsetDateTime::now_utc();
    // A stored time may be cut to whole seconds.
    assert!(seen >= before - Duration::from_secs(1) && seen <= after, "{before} {seen} {after}");
}
