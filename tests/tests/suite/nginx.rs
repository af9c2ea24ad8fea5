//! Behind the real nginx: no refusal is turned into a 502, and the pages work under a prefix.

use e2e::nginx::Nginx;
use e2e::{Api, Stack};

#[tokio::test]
async fn refused_bodies_are_answered_and_never_a_502() {
    const ROUNDS: usize = 40;
    let nginx = Nginx::before(Stack::shared().url(), "location / { proxy_pass http://latchkey; }");
    let api = Api::new(&nginx.url());
    let refused = [
        ("POST", "/keys/create", "application/json", 401),
        ("POST", "/nothing", "application/json", 404),
        ("PUT", "/keys", "application/json", 405),
        ("POST", "/auth/login", "text/plain", 415),
        ("POST", "/auth/login", "application/json", 413),
    ];
    for round in 0..ROUNDS {
        for (method, path, media, status) in refused {
            let body = "x".repeat(17 * 1024 + round * 1024);
            let answer = api.call(method, path).body(media, body).send().await;
            assert_eq!(answer.status, status, "{path}, round {round}: {}", answer.text());
            answer.problem(status, "");
        }
    }
}

#[tokio::test]
async fn the_pages_work_under_a_prefix_that_nginx_strips() {
    let nginx = Nginx::before(
        Stack::shared().url(),
        "location /auth-service/ { proxy_pass http://latchkey/; }",
    );
    let api = Api::new(&nginx.url());
    for page in ["/docs", "/docs/", "/redoc", "/redoc/"] {
        crate::pages::stands_alone(&api, &format!("/auth-service{page}"), &[]).await;
    }
    let document = api.get("/auth-service/openapi.json").send().await.expect(200);
    // Relative to where the document is (OpenAPI 3.1, §4.8.5).
    assert_eq!(document["servers"][0]["url"], ".");
}
