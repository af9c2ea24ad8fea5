//! The grace of a key that was replaced: users may move its end, up to the one that the key had before; keys may not. And
//! where there is none, no clock has a say, whosever is wrong.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;

use super::*;

/// Seconds of grace, and seconds until the end that it is moved to.
const GRACE: i64 = 3;
const LONGER: i64 = 10;
/// What a key needs that changes keys.
const WRITES: &str = "latchkey:keys:write";

fn in_seconds(seconds: i64) -> OffsetDateTime {
    let moment = OffsetDateTime::now_utc() + ::time::Duration::seconds(seconds);
    moment.replace_nanosecond(0).unwrap()
}

async fn move_to(api: &Api, token: &str, key: i64, moment: OffsetDateTime) -> Answer {
    let body = json!({"expires_at": moment.format(&Rfc3339).unwrap()});
    api.call("PATCH", &format!("/keys/{key}")).bearer(token).json(&body).send().await
}

#[tokio::test]
async fn a_grace_that_its_user_moves_lasts_until_the_new_moment_and_not_beyond_the_old_expiry() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let body = json!({"name": "straggler", "expires_in_days": 30});
    let old = api.make_key(&user.token, &body).await.expect(201);
    let (key, id) = (old["key"].as_str().unwrap(), id(&old["id"]));
    let before = time(&old["expires_at"]);
    for edge in &edges {
        edge.as_service(key).await.expect(200);
    }
    let answer = rotate(&api, &user.token, id, &json!({"grace_seconds": GRACE})).await;
    let first = time(&answer.expect(201)["replaces"]["retires_at"]);
    for edge in &edges {
        edge.as_service(key).await.expect(200);
    }
    // Not beyond what the key had before, and as far as that.
    let beyond = move_to(&api, &user.token, id, before + ::time::Duration::seconds(1)).await;
    beyond.invalid(&["expires_at"]);
    let most = move_to(&api, &user.token, id, before).await.expect(200);
    assert_eq!((&most["expires_at"], &most["state"]), (&old["expires_at"], &json!("retiring")));

    let later = in_seconds(LONGER);
    let moved = move_to(&api, &user.token, id, later).await.expect(200);
    assert_eq!(time(&moved["expires_at"]), later);
    assert_eq!(time(&moved["lineage"]["retires_at"]), later);
    poll::until_async("the first end has come", SOON, async || {
        (OffsetDateTime::now_utc() > first).then_some(())
    })
    .await;
    for edge in &edges {
        let answer = edge.as_service(key).await;
        let is_over = OffsetDateTime::now_utc() >= later;
        assert!(answer.status == 200 || is_over, "{}", answer.text());
    }
    for edge in &edges {
        poll::until_async("the old key has ended", SOON, async || {
            (edge.as_service(key).await.status == 401).then_some(())
        })
        .await;
        assert!(OffsetDateTime::now_utc() >= later, "not before its moment");
        edge.as_service(&made(&answer).key).await.expect(200);
    }
    // It has come: whichever way it is to be moved.
    for moment in [in_seconds(LONGER), before, before + ::time::Duration::days(1)] {
        let refused = move_to(&api, &user.token, id, moment).await;
        assert!([409, 422].contains(&refused.status), "{}", refused.text());
        if moment <= before {
            assert_eq!(refused.problem(409, "")["state"], "expired");
        }
        edges[0].as_service(key).await.unauthenticated();
    }
}

#[tokio::test]
async fn no_key_moves_the_end_of_a_grace_further_away() {
    let stack = Stack::shared();
    let (api, user) = (stack.api(), stack.api().user().await);
    let body = json!({"name": "acts", "scopes": ["*", WRITES], "expires_in_days": 300});
    let make = async || {
        let made = api.post("/keys").bearer(&user.token).json(&body).send().await.expect(201);
        (id(&made["id"]), made["key"].as_str().unwrap().to_owned())
    };
    let ((old, itself), (_, other)) = (make().await, make().await);
    rotate(&api, &user.token, old, &json!({"grace_seconds": 3_600})).await.expect(201);
    let was = shown(&api, &user.token, old).await;
    for key in [&itself, &other] {
        for edge in edges(stack) {
            let later = json!({"expires_at": in_seconds(7_200).format(&Rfc3339).unwrap()});
            for body in [later, json!({"expires_in_days": 2})] {
                let path = format!("/keys/{old}");
                let refused = edge.call("PATCH", &path).api_key(key).json(&body).send().await;
                refused.problem(403, "");
            }
        }
    }
    assert_eq!(shown(&api, &user.token, old).await, was, "nothing changed");
    // Their user may.
    move_to(&api, &user.token, old, in_seconds(7_200)).await.expect(200);
}

#[tokio::test]
async fn without_a_grace_the_old_key_is_over_whichever_clocks_are_an_hour_behind() {
    // So many of the two key services, and the edges or not.
    for (engine, keys, edges) in [
        (Engine::Sqlite, 1, true),
        (Engine::Postgres, 1, true),
        (Engine::Sqlite, 2, true),
        (Engine::Sqlite, 2, false),
        (Engine::Sqlite, 0, true),
    ] {
        let miniature = Miniature::start(12, engine).await;
        miniature.calm();
        let way = |edge: usize| Way { edge, name: "behind".to_owned(), patience: SOON };
        let body = json!({"email": "a@example.com", "username": "ada", "password": PASSWORD});
        let signup = Ask::post("/auth/signup").with(&body);
        assert_eq!(miniature.send(&way(0), &signup).await.status, 201);
        let login = miniature.send(&way(0), &Ask::post("/auth/login").with(&body)).await;
        let token = login.body["access_token"].as_str().expect("a token").to_owned();
        let named = json!({"name": "old"});
        let create = Ask::post("/keys/create").bearer(&token).with(&named);
        let mut key = miniature.send(&way(0), &create).await.body;
        miniature.set_keys_back(keys, 3_600_000);
        if edges {
            miniature.set_edges_back(3_600_000);
        }
        let says = async |edge: usize, text: &str| {
            miniature.send(&way(edge), &Ask::get("/protected/service").key(text)).await.status
        };
        for edge in 0..miniature.edges() {
            let old = key["key"].as_str().unwrap().to_owned();
            for other in 0..miniature.edges() {
                assert_eq!(says(other, &old).await, 200, "{engine:?} {keys} {edges}");
            }
            let (at_once, path) =
                (json!({"grace_seconds": 0}), format!("/keys/{}/rotate", key["id"]));
            let rotate = Ask::post(&path).bearer(&token).with(&at_once);
            let new = miniature.send(&way(edge), &rotate).await;
            assert_eq!(new.status, 201, "{:?}", new.body);
            key = new.body;
            for other in 0..miniature.edges() {
                assert_eq!([says(other, &old).await, says(other, &old).await], [401; 2]);
                assert_eq!(says(other, key["key"].as_str().unwrap()).await, 200);
            }
        }
        miniature.stop().await;
    }
}
