//! What can be read without a credential: the front page, health, and the documentation.

use e2e::{Api, Stack};
use serde_json::Value;

#[tokio::test]
async fn the_front_page_says_what_this_is_and_where_to_go() {
    let api = Stack::shared().api();
    let answer = api.get("/").send().await;
    let text = answer.expect(200).to_string();
    for part in [
        "Latchkey",
        env!("CARGO_PKG_VERSION"),
        "/docs",
        "/redoc",
        "/openapi.json",
        "/auth",
        "/keys",
        "/protected",
    ] {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "no {part} in {text}");
    }
}

#[tokio::test]
async fn health_is_told_to_anybody() {
    let api = Stack::shared().api();
    let body = api.get("/health").send().await.expect(200);
    assert_eq!(body["status"], "healthy");
    assert!(body["service"].as_str().is_some_and(|name| !name.is_empty()), "{body}");
    let answer = api.get("/health/ready").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // A credential that is no good changes nothing here.
    api.get("/health").bearer("nonsense").send().await.expect(200);
}

/// The values of `src` and `href` attributes, and of the two pages' own settings.
fn references(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in ["src=", "href=", "spec-url="] {
        for part in html.split(attribute).skip(1) {
            let quote = part.chars().next().filter(|c| matches!(c, '"' | '\''));
            let end = part.chars().skip(usize::from(quote.is_some()));
            let stop =
                |c: &char| quote.map_or(!c.is_whitespace() && *c != '>', |quote| *c != quote);
            found.push(end.take_while(stop).collect());
        }
    }
    found
}

/// Resolves `reference` against the page at `base`; fails where it leaves the server, or names a path from
/// its root: a proxy may have put the server under a prefix.
fn local_path(api: &Api, base: &str, reference: &str) -> String {
    assert!(!reference.starts_with('/') && !reference.contains("://"), "{reference}");
    let path = api.edges().iter().find_map(|edge| base.strip_prefix(edge.as_str()));
    let mut folders: Vec<&str> = path.expect("a page of ours").split('/').collect();
    folders.pop();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => drop(folders.pop()),
            name => folders.push(name),
        }
    }
    folders.join("/")
}

/// Fails unless the page at `path` and all it asks for come from this server.
pub(crate) async fn stands_alone(api: &Api, path: &str, marks: &[&str]) {
    let page = api.get(path).send().await;
    assert_eq!(page.status, 200, "{path}");
    assert!(page.header("content-type").starts_with("text/html"), "{path}");
    let html = page.text();
    for mark in marks {
        assert!(html.to_lowercase().contains(mark), "no {mark} in {html}");
    }
    let policy = page.header("content-security-policy");
    assert!(!policy.contains("http:") && !policy.contains("https:"), "{path}: {policy}");
    let references = references(&html);
    assert!(!references.is_empty(), "{html}");
    for reference in references {
        if reference.starts_with("data:") || reference.starts_with('#') {
            continue;
        }
        let asset = api.get(&local_path(api, &page.url, &reference)).send().await;
        assert_eq!(asset.status, 200, "{path} asks for {reference}");
        assert!(!asset.body.is_empty(), "{path} asks for {reference}");
    }
}

#[tokio::test]
async fn swagger_ui_needs_no_other_server() {
    for page in ["/docs", "/docs/"] {
        stands_alone(&Stack::shared().api(), page, &["swagger-ui", "<script"]).await;
    }
}

#[tokio::test]
async fn redoc_needs_no_other_server() {
    for page in ["/redoc", "/redoc/"] {
        stands_alone(&Stack::shared().api(), page, &["redoc", "<script", "openapi.json"]).await;
    }
}

async fn document() -> Value {
    let answer = Stack::shared().api().get("/openapi.json").send().await;
    assert!(answer.header("content-type").starts_with("application/json"));
    answer.expect(200)
}

#[tokio::test]
async fn the_description_names_every_route_and_every_answer() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let routes: [(&str, &str, &[u16]); 13] = [
        ("post", "/auth/signup", &[201, 400, 413, 415, 422, 429, 503]),
        ("post", "/auth/login", &[200, 400, 401, 413, 415, 422, 429, 503]),
        ("post", "/auth/logout", &[200, 401, 503]),
        ("post", "/keys/create", &[201, 401, 403, 413, 415, 422, 503]),
        ("get", "/keys", &[200, 401, 403, 422, 503]),
        ("delete", "/keys/{key_id}", &[200, 401, 403, 404, 422, 503]),
        ("get", "/audit", &[200, 401, 403, 422, 503]),
        ("get", "/protected/user", &[200, 401, 503]),
        ("get", "/protected/service", &[200, 401, 503]),
        ("get", "/protected/any", &[200, 401, 503]),
        ("get", "/", &[200]),
        ("get", "/health", &[200]),
        ("get", "/health/ready", &[200, 503]),
    ];
    for (method, path, statuses) in routes {
        let responses = &document["paths"][path][method]["responses"];
        for status in statuses {
            let response = &responses[status.to_string()];
            assert!(response.is_object(), "{method} {path} says nothing of {status}: {responses}");
            if *status >= 400 && path != "/health/ready" {
                let content = resolve(&document, response)["content"].to_string();
                assert!(
                    content.contains("application/problem+json"),
                    "{method} {path} {status}: {content}"
                );
            }
        }
    }
}

/// Follows one `$ref` inside the document.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"))
}

#[tokio::test]
async fn the_description_says_how_to_authenticate() {
    let document = document().await;
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let bearer = schemes.iter().find(|(_, scheme)| scheme["scheme"] == "bearer");
    let key = schemes.iter().find(|(_, scheme)| scheme["type"] == "apiKey");
    let (bearer, _) = bearer.expect("a bearer scheme");
    let (key, scheme) = key.expect("an API key scheme");
    assert_eq!(scheme["in"], "header");
    assert_eq!(scheme["name"].as_str().unwrap().to_lowercase(), "x-api-key");
    let security =
        |method: &str, path: &str| document["paths"][path][method]["security"].to_string();
    let cases = [
        ("get", "/keys", true, true),
        ("post", "/keys/create", true, true),
        ("delete", "/keys/{key_id}", true, true),
        ("get", "/audit", true, false),
        ("post", "/auth/logout", true, false),
        ("get", "/protected/user", true, false),
        ("get", "/protected/service", false, true),
        ("get", "/protected/any", true, true),
    ];
    for (method, path, by_token, by_key) in cases {
        let security = security(method, path);
        assert_eq!(security.contains(bearer), by_token, "{method} {path}: {security}");
        assert_eq!(security.contains(key), by_key, "{method} {path}: {security}");
    }
}

#[tokio::test]
async fn every_reference_of_the_description_leads_somewhere() {
    let document = document().await;
    let mut rest = vec![&document];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    assert!(
                        document.pointer(reference.trim_start_matches('#')).is_some(),
                        "{reference}"
                    );
                }
                rest.extend(members.values());
            }
            Value::Array(values) => rest.extend(values),
            _ => {}
        }
    }
    let bodies = ["/auth/signup", "/auth/login", "/keys/create"];
    for path in bodies {
        let body = document["paths"][path]["post"]["requestBody"].to_string();
        assert!(body.contains("application/json"), "{path}: {body}");
    }
    assert!(document.to_string().contains("\"example"), "no examples");
}
