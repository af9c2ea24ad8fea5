//! The OpenAPI document and the behaviour are the same thing: whatever it says of a field, a parameter or
//! an answer is tried.

use std::fmt::Write as _;

use e2e::account::PASSWORD;
use e2e::{Answer, Api, Stack, unique};
use serde_json::{Value, json};

mod requests;
mod schema;

use schema::{document, fault, resolve, type_of, types};

#[tokio::test]
async fn every_answer_is_as_it_is_described() {
    let api = Stack::shared().api();
    let document = document(&api).await;
    let mut tried: Vec<String> = Vec::new();
    for (method, path, answer) in requests::good(&api).await {
        let place = format!("{method} {path} {}", answer.status);
        let described = &document["paths"][path][method]["responses"][answer.status.to_string()];
        assert!(answer.status < 300 && described.is_object(), "{place}: {}", answer.text());
        if described["content"].is_null() {
            assert!(answer.text().is_empty(), "{place}: {}", answer.text());
        } else {
            let schema = &described["content"]["application/json"]["schema"];
            assert_eq!(fault(&document, schema, &answer.json(), &place), None);
        }
        tried.push(format!("{method} {path}"));
    }
    // Metadata are there where the issuer is an address: `jwks` tries them.
    for name in ["oauth-authorization-server", "openid-configuration"] {
        tried.push(format!("get /.well-known/{name}"));
    }
    // It answers as the route by id does, to a key that may.
    tried.push("post /keys/self/rotate".to_owned());
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            assert!(tried.contains(&format!("{method} {path}")), "{method} {path} was not tried");
        }
    }
}

/// A text of so many characters that is good in every other way.
fn text(field: &str, length: usize) -> String {
    let mut text = match field {
        // A label has at most 63 characters, the part before the sign 64.
        "email" => {
            let domain = "b".repeat(60);
            let mut text = format!("{}@", unique("e"));
            let rest = length.saturating_sub(text.len() + ".example".len());
            let mut left = rest;
            while left > 61 {
                write!(text, "{domain}.").unwrap();
                left -= 61;
            }
            let last = if left == 0 { String::new() } else { "b".repeat(left) };
            return format!("{text}{last}.example");
        }
        // Each another one, of 100 characters at most.
        "scope" => {
            let scopes: Vec<String> =
                (0..length.div_ceil(101)).map(|number| format!("s{number:099}")).collect();
            return scopes.join(" ").chars().take(length).collect();
        }
        "username" => unique("u"),
        // Neither common nor the same again and again.
        _ => "zQ7,vK2 harbour dusk ox9; ".repeat(6),
    };
    while text.chars().count() < length {
        text.push('x');
    }
    let start = if field == "username" { text.chars().count() - length } else { 0 };
    text.chars().skip(start).take(length).collect()
}

/// The values of one field that its schema takes, and those that it does not.
fn values(field: &str, schema: &Value) -> (Vec<Value>, Vec<Value>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let types = types(schema);
    for value in [json!(null), json!(true), json!(7), json!(1.5), json!("7"), json!([]), json!({})]
    {
        let fits = types.contains(&type_of(&value));
        match value {
            Value::Null if fits => good.push(value),
            _ if !fits => bad.push(value),
            _ => {}
        }
    }
    if types.contains(&"integer") {
        let (least, most) =
            (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
        good.extend([json!(least), json!(most), json!(7.0)]);
        bad.extend([json!(least - 1), json!(most + 1)]);
    }
    if let Some(most) = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()) {
        good.push(json!(text(field, most)));
        bad.push(json!(text(field, most + 1)));
    }
    if let Some(least) = schema["minLength"].as_u64().and_then(|least| usize::try_from(least).ok())
    {
        good.push(json!(text(field, least)));
        bad.push(json!(text(field, least - 1)));
    }
    (good, bad)
}

/// What the object in a body is described as; `None` where it has several forms, each of which is tried beside its
/// route, as a form's fields are.
fn json_object(document: &Value, path: &str, body: &Value) -> Option<Value> {
    if body["content"]["application/json"].is_null() {
        assert!(path.starts_with("/oauth/"), "{path}");
        return None;
    }
    let mut schema = resolve(document, &body["content"]["application/json"]["schema"]);
    if body["required"] != true {
        // It may be left out, and then every field of it is.
        let choices = schema["oneOf"].as_array().into_iter().flatten();
        let object = choices.map(|it| resolve(document, it)).find(|it| it["type"] == "object");
        schema = object.unwrap_or(schema);
        assert!(schema["required"].is_null(), "{path}");
    }
    (!schema["oneOf"].is_array()).then(|| schema.clone())
}

#[tokio::test]
async fn every_field_of_a_body_is_taken_as_it_is_described_and_not_otherwise() {
    let stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let api = stack.api();
    let document = document(&api).await;
    let user = api.user().await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let body = &operations["post"]["requestBody"];
        // A key that replaces itself sends what a user does who replaces it.
        if body.is_null() || path == "/keys/self/rotate" {
            continue;
        }
        let Some(schema) = json_object(&document, path, body) else { continue };
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let post = async |body: &Value| {
            // A password that changes ends the other sessions.
            let token = api.token(&user.username, PASSWORD).await;
            let key = if path.contains("{key_id}") || path.contains("self") {
                Some(api.key(&token, "changes").await)
            } else {
                None
            };
            let id = key.as_ref().map_or(0, |key| key.id);
            let call = api.post(&path.replace("{key_id}", &id.to_string())).json(body);
            match key.filter(|_| path.starts_with("/keys/self")) {
                Some(key) => call.api_key(&key.key).send().await,
                None => call.bearer(&token).send().await,
            }
        };
        for (field, schema) in schema["properties"].as_object().unwrap() {
            let good_body = async || match path.as_str() {
                // It is used once.
                "/auth/refresh" => {
                    json!({"refresh_token": requests::refresh_token(&api, &user).await})
                }
                path => requests::good_body(path, &user),
            };
            let mut missing = good_body().await;
            missing.as_object_mut().unwrap().remove(field);
            let answer = post(&missing).await;
            // One of the two is required, and which one no schema of a member says.
            let is_either = path == "/keys/revoke" && field == "ids";
            if required.contains(&field.as_str()) {
                answer.invalid(&[field]);
            } else if is_either {
                answer.invalid(&["filter"]);
            } else {
                assert!(answer.status < 300, "{path} without {field}: {}", answer.text());
            }
            let (good, bad) = values(field, resolve(&document, schema));
            for value in bad {
                let mut body = good_body().await;
                body[field] = value;
                post(&body).await.invalid(&[field]);
            }
            // A text of the right form opens nothing by that.
            let good = if path == "/auth/refresh" { Vec::new() } else { good };
            for value in good.into_iter().filter(|value| !(is_either && value.is_null())) {
                let mut body = good_body().await;
                body[field] = value.clone();
                let answer = post(&body).await;
                assert!(answer.status < 300, "{path} {field}={value}: {}", answer.text());
                if field == "new_password" {
                    // And back, for whoever comes next.
                    let token = api.token(&user.username, value.as_str().unwrap()).await;
                    let back = json!({"current_password": value, "new_password": PASSWORD});
                    api.post(path).bearer(&token).json(&back).send().await.expect(200);
                }
            }
        }
    }
}

/// Values that a parameter which is a text takes, and others.
fn texts(name: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match name {
        "order" => (&["asc", "desc"], &["ASC", "", "newest"]),
        "state" => (&["active", "revoked", "inactive"], &["Active", "", "good"]),
        "tag" => (&["team:core", "0"], &["", "A", "a%20b"]),
        "environment" => (&["live", "sandbox"], &["", "Live", "l"]),
        "name" => (&["x", "%25", "_"], &[""]),
        "origin" => (&["issued", "imported"], &["", "here"]),
        "external_id" => (&["a", "7"], &["", "a%20b"]),
        "expires_before" | "unused_since" => {
            (&["2026-12-24T00:00:00Z"], &["", "2026-12-24", "7", "tomorrow"])
        }
        "after" => (&["d412-3f"], &["", "a412-3f", "x"]),
        "action" => (&["key.", "user.logged_in"], &["", "KEY", "key%25"]),
        "outcome" => (&["success", "failure"], &["", "maybe"]),
        "actor" | "target" => (&["key:7", "user%3A1"], &["", "key", ":7"]),
        "since" | "until" => (&["2026-12-24T00:00:00Z"], &["", "2026-12-24", "tomorrow"]),
        "ip" => (&["203.0.113.7", "::1"], &["", "localhost"]),
        "request_id" => (&["a-1"], &[""]),
        "Idempotency-Key" => (
            &["8e03978e-40d5-43dd-bc93-6894a57f9324", "!~!~!~!~!~!~!~!~"],
            &["", "0123456789abcde", "0123456789 abcdef"],
        ),
        other => panic!("{other} is a text that nobody has told the test of"),
    }
}

/// The texts that a schema lets be chosen from, with a bar between two.
fn choices(schema: &Value) -> Option<&str> {
    let choices = schema["pattern"].as_str()?.strip_prefix("^(")?.strip_suffix(")$")?;
    let is_word = |byte: u8| byte.is_ascii_lowercase() || b"_|".contains(&byte);
    choices.bytes().all(is_word).then_some(choices)
}

/// Values that a parameter takes, and others.
fn parameter_values(name: &str, schema: &Value) -> (Vec<String>, Vec<String>) {
    let types = types(schema);
    let (mut good, mut bad) =
        (Vec::new(), vec!["x".to_owned(), "%20".to_owned(), "1,2".to_owned()]);
    if types.contains(&"integer") {
        let least = schema["minimum"].as_i64().unwrap();
        bad.extend([(least - 1).to_string(), "1.5".into(), "9223372036854775808".into()]);
        good.push(least.to_string());
        let most = schema["maximum"].as_i64();
        good.push(most.unwrap_or(i64::MAX).to_string());
        bad.extend(most.map(|most| (most + 1).to_string()));
    } else if let Some(choices) = choices(schema) {
        good.extend(choices.split('|').map(str::to_owned));
    } else if types.first() == Some(&"string") {
        let (fits, does_not) = texts(name);
        good.extend(fits.iter().map(ToString::to_string));
        bad = does_not.iter().map(ToString::to_string).collect();
    } else {
        assert_eq!(types.first(), Some(&"boolean"), "{schema}");
        good.extend(["true".to_owned(), "false".to_owned()]);
        bad.extend(["1".to_owned(), "TRUE".to_owned(), String::new()]);
    }
    (good, bad)
}

/// Says that a parameter is refused.
fn refused(answer: &Answer, name: &str, is_header: bool) {
    if is_header {
        answer.problem(400, name);
    } else {
        answer.invalid(&[name]);
    }
}

#[tokio::test]
async fn every_parameter_is_taken_as_it_is_described_and_not_otherwise() {
    let api = Stack::shared().api();
    let document = document(&api).await;
    let user = api.user().await;
    let mut count = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        if path == "/keys/self/rotate" {
            continue;
        }
        for (method, operation) in operations.as_object().unwrap() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
                // Whatever it is: it is a session of the user's, or there is none.
                if name == "session_id" {
                    let path = path.replace("{session_id}", "%20");
                    let call = api.call(&method.to_uppercase(), &path).bearer(&user.token);
                    call.send().await.problem(404, "Session not found");
                    continue;
                }
                let is_header = parameter["in"] == "header";
                let call = async |value: &str| {
                    let key = api.key(&user.token, "parameter").await;
                    let (id, query) = match parameter["in"].as_str().unwrap() {
                        "path" => (value.to_owned(), String::new()),
                        "query" => (key.id.to_string(), format!("?{name}={value}")),
                        "header" => (key.id.to_string(), String::new()),
                        other => panic!("{other}"),
                    };
                    let pattern = path.clone();
                    let is_logout = pattern == "/auth/logout-all";
                    let path = path.replace("{key_id}", &id);
                    let mut call = api.call(&method.to_uppercase(), &format!("{path}{query}"));
                    if !operation["requestBody"].is_null() {
                        call = call.json(&requests::good_body(&pattern, &user));
                    }
                    if is_header {
                        call = call.header(name, value);
                    }
                    // A key that acts on itself.
                    if path.starts_with("/keys/self") && path != "/keys/self/rotate" {
                        return call.api_key(&key.key).send().await;
                    }
                    // What is good may end the session.
                    let user = if is_logout { &api.user().await } else { &user };
                    call.bearer(&user.token).send().await
                };
                count += 1;
                let (good, bad) = parameter_values(name, schema);
                for value in good {
                    let answer = call(&value).await;
                    // An id that fits may be nobody's.
                    let fits = answer.status < 300
                        || (name == "key_id" && answer.status == 404)
                        || (name == "purge" && answer.status == 409);
                    assert!(fits, "{method} {path} {name}={value}: {}", answer.text());
                }
                for value in bad {
                    refused(&call(&value).await, name, is_header);
                }
            }
        }
    }
    assert!(count >= 4, "{count} parameters");
}

/// Requests of one operation that are refused, each in another way.
async fn refusals(api: &Api, method: &str, path: &str, has_body: bool, token: &str) -> Vec<Answer> {
    let path = path.replace("{key_id}", "1");
    let call = || api.call(&method.to_uppercase(), &path);
    let mut answers = vec![
        call().send().await,
        call().bearer("nonsense").api_key("sk_").send().await,
        call().bearer(token).bearer(token).send().await,
        call().bearer(token).body("text/plain", "x".repeat(70 * 1024)).send().await,
    ];
    if has_body {
        let large = format!("{{\"x\": \"{}\"}}", "x".repeat(65 * 1024));
        for (media, body) in [
            ("text/plain", "{}"),
            ("application/json", "[]"),
            ("application/json", "{}"),
            ("application/json", "{"),
            ("application/json", &large),
        ] {
            answers.push(call().bearer(token).body(media, body.to_owned()).send().await);
        }
        let compressed = call().bearer(token).header("content-encoding", "gzip");
        answers.push(compressed.body("application/json", "{}").send().await);
    } else {
        answers.push(
            api.call(&method.to_uppercase(), &path.replace('1', "x")).bearer(token).send().await,
        );
    }
    answers
}

#[tokio::test]
async fn every_refusal_is_as_it_is_described() {
    let stack = Stack::shared();
    let api = stack.api();
    let document = document(&api).await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // What succeeds may end the session.
            let token = api.user().await.token;
            let has_body = !operation["requestBody"].is_null();
            let check = |status: u16, body: &Value| {
                let place = format!("{method} {path} {status}");
                let described = &operation["responses"][status.to_string()];
                assert!(described.is_object(), "{place} is not described: {body}");
                let schema = &described["content"]["application/problem+json"]["schema"];
                assert_eq!(fault(&document, schema, body, &place), None);
            };
            for answer in refusals(&api, method, path, has_body, &token).await {
                // A GET has no body, and one that is sent all the same is too large or nothing.
                if answer.status >= 400 && (has_body || answer.status != 413) {
                    check(answer.status, &answer.json());
                }
            }
            let path = path.replace("{key_id}", "1");
            let hostless = format!("{} {path} HTTP/1.1\r\n\r\n", method.to_uppercase());
            let answer = e2e::raw::exchange(stack.url(), hostless).unwrap();
            check(answer.status, &answer.problem(400));
        }
    }
}
