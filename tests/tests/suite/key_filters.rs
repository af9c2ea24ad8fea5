//! `GET /keys` with filters and from the newest on, and `POST /keys/lookup`.

use e2e::{Answer, Api, Stack, User};
use serde_json::{Value, json};

async fn make(api: &Api, user: &User, body: Value) -> Value {
    api.make_key(&user.token, &body).await.expect(201)
}

fn id(key: &Value) -> i64 {
    key["id"].as_i64().expect("an id")
}

async fn found(api: &Api, user: &User, query: &str) -> Vec<i64> {
    let list = api.get(&format!("/keys?{query}")).bearer(&user.token).send().await.expect(200);
    list.as_array().expect("a list").iter().map(id).collect()
}

/// The query of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    Some(link.split_once("<?").unwrap().1.split_once('>').unwrap().0.to_owned())
}

#[tokio::test]
async fn each_filter_finds_those_keys_for_which_it_holds() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let other = api.user().await;
    make(&api, &other, json!({"name": "web 50% Ünit", "tags": ["ci"], "external_id": "c1"})).await;
    let web = make(
        &api,
        &user,
        json!({"name": "Web 50% Ünit", "tags": ["ci", "team:a_b", "prod"], "external_id": "c1",
            "expires_at": "2027-01-02T00:00:00Z"}),
    )
    .await;
    let box_ = json!({"name": "web_50", "tags": ["ci", "teamxa_b"], "environment": "sandbox", "external_id": "c2"});
    let sandbox = make(&api, &user, box_).await;
    let gone = make(&api, &user, json!({"name": "gone", "tags": ["prod"]})).await;
    let (a, b, c) = (id(&web), id(&sandbox), id(&gone));
    api.revoke(&user.token, c).await.expect(200);
    for (query, ids) in [
        ("", vec![a, b, c]),
        ("order=asc", vec![a, b, c]),
        ("order=desc", vec![c, b, a]),
        (&format!("order=desc&after={b}"), vec![a]),
        (&format!("after={b}&state=revoked"), vec![c]),
        ("state=active", vec![a, b]),
        ("state=revoked", vec![c]),
        ("state=revoked&state=active", vec![a, b, c]),
        ("state=disabled", vec![]),
        ("state=expired&state=retiring&state=inactive", vec![]),
        ("tag=ci", vec![a, b]),
        ("tag=prod&tag=ci", vec![a]),
        ("tag=ci&tag=prod&tag=team:a_b", vec![a]),
        ("tag=team:a_b", vec![a]),
        ("tag=team", vec![]),
        ("environment=sandbox", vec![b]),
        ("environment=live&state=active", vec![a]),
        ("environment=staging", vec![]),
        ("name=WEB", vec![a, b]),
        ("name=50%25", vec![a]),
        ("name=%25", vec![a]),
        ("name=b_5", vec![b]),
        ("name=_", vec![b]),
        ("name=%C3%BCnit", vec![a]),
        ("name=%C3%BC%25", vec![]),
        ("name=!", vec![]),
        ("origin=issued&name=gone", vec![c]),
        ("origin=imported", vec![]),
        ("external_id=c1", vec![a]),
        ("external_id=c1&order=desc", vec![a]),
        ("external_id=c1&environment=sandbox", vec![]),
        ("external_id=C1", vec![]),
        ("expires_before=2027-01-02T00:00:01Z&state=active&external_id=c1", vec![a]),
        ("expires_before=2027-01-02T00:00:00Z&external_id=c1", vec![]),
        ("unused_since=2020-01-01T00:00:00Z", vec![a, b, c]),
        (&format!("lineage={b}"), vec![b]),
        (&format!("lineage={b}&order=desc&state=revoked"), vec![]),
        ("colour=red", vec![a, b, c]),
    ] {
        assert_eq!(found(&api, &user, query).await, ids, "{query}");
    }
    let list = |query: &str| api.get(&format!("/keys?{query}")).bearer(&user.token).send();
    list("state=good&tag=A&name=").await.invalid(&["state", "tag", "name"]);
    list("name=a&name=b").await.invalid(&["query"]);
    list("owner=org:3").await.invalid(&["owner"]);
}

#[tokio::test]
async fn a_used_key_is_no_longer_among_those_that_were_not_used_since() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let worn = api.key(&user.token, "used").await;
    let unused = api.key(&user.token, "unused").await;
    api.as_service(&worn.key).await.expect(200);
    let within = std::time::Duration::from_secs(20);
    e2e::poll::until_async("a use that is written down", within, || async {
        let found = found(&api, &user, "unused_since=2020-01-01T00:00:00Z").await;
        (found == [unused.id]).then_some(())
    })
    .await;
    let all = found(&api, &user, "unused_since=2099-01-01T00:00:00Z").await;
    assert_eq!(all, [worn.id, unused.id]);
}

#[tokio::test]
async fn pages_of_a_filter_go_on_by_the_same_filter_from_either_end() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let mut wanted = Vec::new();
    for number in 0..9 {
        let name = if number % 2 == 0 { "Ö & even" } else { "odd" };
        let made = make(&api, &user, json!({"name": name, "tags": ["a/b"]})).await;
        wanted.extend((number % 2 == 0).then(|| id(&made)));
    }
    for order in ["asc", "desc"] {
        let (mut all, mut pages) = (Vec::new(), 0);
        let mut query = format!("limit=2&tag=a%2Fb&name=%C3%B6%20%26&order={order}");
        loop {
            let answer = api.get(&format!("/keys?{query}")).bearer(&user.token).send().await;
            all.extend(answer.expect(200).as_array().unwrap().iter().map(id));
            pages += 1;
            match next(&answer) {
                Some(following) if pages < 9 => query = following,
                Some(following) => panic!("pages without end: {following}"),
                None => break,
            }
        }
        if order == "desc" {
            all.reverse();
        }
        assert_eq!(all, wanted, "{order}");
        assert!(pages <= 4, "{pages}");
    }
}

#[tokio::test]
async fn heavy_keys_come_in_as_many_messages_as_it_takes() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let description = "ж".repeat(1_000);
    let scopes: Vec<String> =
        (0..60).map(|number| format!("scope-of-some-length:{number}")).collect();
    let mut ids = Vec::new();
    for number in 0..40 {
        let name = format!("{number}");
        let body = json!({"name": name, "description": description, "scopes": scopes});
        ids.push(id(&make(&api, &user, body).await));
    }
    for query in ["", "limit=1000", "state=active", "name=%20&limit=1"] {
        let expected = if query.starts_with("name") { Vec::new() } else { ids.clone() };
        assert_eq!(found(&api, &user, query).await, expected, "{query}");
    }
    ids.reverse();
    assert_eq!(found(&api, &user, "order=desc").await, ids);
}

#[tokio::test]
async fn ones_own_keys_are_found_by_text_and_by_hint_and_others_keys_are_nobodys() {
    let api = Stack::shared().api();
    let (user, other) = (api.user().await, api.user().await);
    let (key, foreign) =
        (api.key(&user.token, "mine").await, api.key(&other.token, "another's").await);
    let look_up = |body: Value| {
        let call = api.post("/keys/lookup").bearer(&user.token).json(&body);
        async move { call.send().await }
    };
    let hint = |key: &str| {
        let (start, end) = (key.get(..7).unwrap(), key.get(key.len() - 4..).unwrap());
        format!("{start}…{end}")
    };
    let mine = hint(&key.key);
    for body in
        [json!({"key": key.key}), json!({"hint": mine}), json!({"hint": mine.replace('…', "...")})]
    {
        let found = look_up(body).await;
        assert!(!found.text().contains(&key.key));
        let found = found.expect(200);
        assert_eq!((found.as_array().map(Vec::len), id(&found[0])), (Some(1), key.id));
    }
    api.revoke(&user.token, key.id).await.expect(200);
    assert_eq!(look_up(json!({"key": key.key})).await.expect(200)[0]["state"], "revoked");
    let unknown = e2e::forge::key();
    let mut answers = Vec::new();
    for body in [
        json!({"key": foreign.key}),
        json!({"key": unknown.expose()}),
        json!({"key": "no key at all"}),
        json!({"hint": hint(&foreign.key)}),
        json!({"hint": "sk_0000…0000"}),
    ] {
        let mut problem = look_up(body).await.problem(404, "");
        problem["request_id"] = json!(null);
        answers.push(problem);
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    look_up(json!({})).await.invalid(&["key"]);
    look_up(json!({"key": 7})).await.invalid(&["key"]);
    look_up(json!({"key": "a", "hint": "b"})).await.invalid(&["hint"]);
    look_up(json!({"hint": "", "colour": 1})).await.invalid(&["hint", "colour"]);
    for no_hint in ["\u{0}", "sk_EXFE q7Zk", "ä", &"x".repeat(65)] {
        look_up(json!({"hint": no_hint})).await.invalid(&["hint"]);
    }
}
