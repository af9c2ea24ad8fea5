//! Two users: neither sees, ends or learns anything of the other's keys.

use e2e::{Answer, Stack};

/// A problem document without the one member that differs between any two answers.
fn without_request_id(answer: &Answer) -> serde_json::Value {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    body
}

#[tokio::test]
async fn anothers_key_is_as_missing_as_one_that_never_was() {
    let api = Stack::shared().api();
    let (ann, bob) = (api.user().await, api.user().await);
    let key = api.key(&ann.token, "mine").await;
    let foreign = api.revoke(&bob.token, key.id).await;
    let missing = api.revoke(&bob.token, key.id + 1_000_000_000).await;
    foreign.problem(404, "API key not found");
    missing.problem(404, "API key not found");
    let (foreign_body, missing_body) = (without_request_id(&foreign), without_request_id(&missing));
    assert_eq!(foreign_body, missing_body);
    let names = |answer: &Answer| {
        let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(&foreign), names(&missing));
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn anothers_revoked_key_is_missing_too() {
    let api = Stack::shared().api();
    let (ann, bob) = (api.user().await, api.user().await);
    let key = api.key(&ann.token, "ended").await;
    api.revoke(&ann.token, key.id).await.expect(200);
    api.revoke(&bob.token, key.id).await.problem(404, "API key not found");
}

#[tokio::test]
async fn each_user_lists_their_own_keys_only() {
    let api = Stack::shared().api();
    let (ann, bob) = (api.user().await, api.user().await);
    let (hers, his) = (api.key(&ann.token, "hers").await, api.key(&bob.token, "his").await);
    for (token, own) in [(&ann.token, hers.id), (&bob.token, his.id)] {
        let list = api.get("/keys").bearer(token).send().await.expect(200);
        let ids: Vec<_> = list.as_array().unwrap().iter().map(|key| &key["id"]).collect();
        assert_eq!(ids, [own]);
        // Another's id is no way in by the paging either.
        let list = api.get("/keys?after=0&limit=1000").bearer(token).send().await.expect(200);
        assert_eq!(list.as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_key_speaks_for_its_owner_only() {
    let api = Stack::shared().api();
    let (ann, bob) = (api.user().await, api.user().await);
    let (hers, his) = (api.key(&ann.token, "hers").await, api.key(&bob.token, "his").await);
    assert_eq!(api.as_service(&hers.key).await.expect(200)["user_id"], ann.id);
    assert_eq!(api.as_service(&his.key).await.expect(200)["user_id"], bob.id);
}

#[tokio::test]
async fn a_key_cannot_manage_keys_not_even_its_owners() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "service").await;
    let own = format!("/keys/{}", key.id);
    let routes = [("GET", "/keys"), ("POST", "/keys/create"), ("DELETE", own.as_str())];
    for (method, path) in routes {
        let call = api.call(method, path).api_key(&key.key);
        call.send().await.problem(403, "Only user accounts");
        let call = api.call(method, path).api_key("sk_nonsense");
        call.send().await.unauthenticated();
    }
    api.revoke(&user.token, key.id).await.expect(200);
    for (method, path) in routes {
        api.call(method, path).api_key(&key.key).send().await.unauthenticated();
    }
}
