//! Keys that are in use and expire soon are told by a metric.

use std::time::Duration;

use e2e::prometheus::{scrape, value};
use e2e::{Service, Stack, poll};
use serde_json::json;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// Whether so many keys expire within 7 and 30 days, as the replica says that counts.
async fn is_shown(stack: &Stack, week: f64, month: f64) -> bool {
    let mut said = Vec::new();
    for monitor in stack.monitors(Service::Keys) {
        let text = scrape(&monitor).await;
        let within = |days| value(&text, "latchkey_keys_expiring", &[("within", days)]);
        said.push((within("7d"), within("30d")));
    }
    let counted = said.iter().filter(|said| **said == (Some(week), Some(month))).count();
    counted == 1
        && said.iter().filter(|said| **said == (Some(0.0), Some(0.0))).count() == said.len() - 1
}

#[tokio::test]
async fn keys_in_use_that_expire_soon_are_counted_and_others_are_not() {
    let mut stack = Stack::with(|config| {
        config.cheap_passwords();
        if !Stack::is_cluster() {
            config.set("MONITOR_ADDR", "127.0.0.1:0");
        }
    });
    let user = stack.api().user().await;
    let mut keys = Vec::new();
    for days in [3, 20, 300, 3] {
        let body = json!({"name": "ends", "expires_in_days": days});
        let made = stack.api().make_key(&user.token, &body).await.expect(201);
        keys.push(made["key"].as_str().unwrap().to_owned());
    }
    // The last one is used by nobody.
    for key in &keys[..3] {
        stack.api().as_service(key).await.expect(200);
    }
    poll::until_async("the uses are written down", SOON, async || {
        let list = stack.api().get("/keys").bearer(&user.token).send().await.expect(200);
        let noted = list.as_array().unwrap().iter().filter(|key| !key["last_used_at"].is_null());
        (noted.count() == 3).then_some(())
    })
    .await;
    stack.restart();
    poll::until_async("the keys are counted", SOON, async || {
        is_shown(&stack, 1.0, 2.0).await.then_some(())
    })
    .await;
}
