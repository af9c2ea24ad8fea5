//! How long keys live that keys make in the place of others.

use e2e::Stack;
use e2e::answer::{id, time};
use serde_json::{Value, json};

use crate::key_rotation::{grant, shown};

#[tokio::test]
async fn a_key_does_not_outlive_its_end_by_what_it_replaces() {
    let stack = Stack::shared();
    let (api, user) = (stack.api(), stack.api().user().await);
    let made = async |days: i64| {
        let body = json!({"name": "ends", "expires_in_days": days});
        let key = api.make_key(&user.token, &body).await.expect(201);
        (id(&key["id"]), key["key"].as_str().unwrap().to_owned(), key["expires_at"].clone())
    };
    // The shorter-lived one was made to live as long, and its successor would from now on.
    let (target, _, _) = made(30).await;
    let (acts, text, _) = made(30).await;
    grant(stack, acts, "latchkey:keys:write *").await;
    let by = async |key: i64, body: &Value| {
        api.post(&format!("/keys/{key}/rotate")).api_key(&text).json(body).send().await
    };
    // To renew itself it takes another scope, whichever way it asks.
    let itself = by(acts, &json!({})).await.problem(403, "latchkey:keys:rotate-self");
    assert_eq!(itself["required"], json!(["latchkey:keys:rotate-self"]));
    let own = shown(&api, &user.token, acts).await;
    let new = by(target, &json!({})).await.expect(201);
    assert!(time(&new["expires_at"]) <= time(&own["expires_at"]), "{new}, {own}");
    let longer = by(id(&new["id"]), &json!({"expires_in_days": 31})).await;
    assert_eq!(longer.problem(403, "")["required"], json!([]));
}
