//! CORS: an allow-list, compared as a whole, and nothing for anybody else.

use e2e::{Answer, Stack};

const ALLOWED: [&str; 2] = ["http://localhost:3000", "http://localhost:8000"];
const OTHERS: [&str; 10] = [
    "null",
    "http://evil.example",
    "http://localhost:3000.evil.example",
    "http://evil.localhost:3000",
    "https://localhost:3000",
    "http://localhost:30000",
    "http://localhost",
    "http://LOCALHOST:3000.example",
    "http://localhost:3000/",
    "*",
];

fn varies_by_origin(answer: &Answer) -> bool {
    let values = answer.headers.get_all("vary").iter();
    values
        .flat_map(|value| value.to_str().unwrap().split(','))
        .any(|part| part.trim().eq_ignore_ascii_case("origin"))
}

#[tokio::test]
async fn an_allowed_origin_may_read_the_answer() {
    let api = Stack::shared().api();
    let user = api.user().await;
    for origin in ALLOWED {
        for path in ["/health", "/keys", "/nothing", "/protected/service"] {
            let answer = api.get(path).bearer(&user.token).header("origin", origin).send().await;
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}");
            assert!(varies_by_origin(&answer), "{path}");
        }
    }
}

#[tokio::test]
async fn no_other_origin_may() {
    let api = Stack::shared().api();
    for origin in OTHERS {
        let answer = api.get("/health").header("origin", origin).send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{origin}");
        assert!(varies_by_origin(&answer), "{origin}");
    }
}

#[tokio::test]
async fn an_allowed_origin_may_use_every_method_and_credential() {
    let api = Stack::shared().api();
    for (path, method) in [("/auth/login", "POST"), ("/keys", "GET"), ("/keys/1", "DELETE")] {
        let answer = api
            .call("OPTIONS", path)
            .header("origin", ALLOWED[0])
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,x-api-key")
            .send()
            .await;
        assert!([200, 204].contains(&answer.status), "{path}: {}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), ALLOWED[0], "{path}");
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.contains(method), "{path}: {methods}");
        let headers = answer.header("access-control-allow-headers").to_lowercase();
        for header in ["authorization", "content-type", "x-api-key"] {
            assert!(headers.contains(header), "{path}: {headers}");
        }
    }
}

#[tokio::test]
async fn the_preflight_of_another_origin_is_given_nothing() {
    let api = Stack::shared().api();
    for origin in OTHERS {
        let call = api.call("OPTIONS", "/auth/login").header("origin", origin);
        let answer = call.header("access-control-request-method", "POST").send().await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        assert!(answer.status < 500, "{origin}");
    }
}

#[tokio::test]
async fn the_list_can_be_configured() {
    let stack = Stack::with(|config| {
        config.set("CORS_ORIGINS", "https://app.example.com, http://127.0.0.1:5173");
    });
    let api = stack.api();
    for origin in ["https://app.example.com", "http://127.0.0.1:5173"] {
        let answer = api.get("/health").header("origin", origin).send().await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
    }
    let answer = api.get("/health").header("origin", ALLOWED[0]).send().await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

/// As an operator may write it, and as a browser does (RFC 6454 §6.2).
#[tokio::test]
async fn what_means_the_same_origin_is_the_same() {
    let written = [
        ("https://App.Example.com", "https://app.example.com"),
        ("HTTPS://one.example", "https://one.example"),
        ("https://two.example:443", "https://two.example"),
        ("http://three.example:80/", "http://three.example"),
        ("https://four.example:0443", "https://four.example"),
        ("http://five.example:443", "http://five.example:443"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("https://six.example:", "https://six.example"),
        (" https://seven.example/ ", "https://seven.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("http://my_host:8080", "http://my_host:8080"),
    ];
    let stack = Stack::with(|config| {
        let list: Vec<_> = written.iter().map(|(written, _)| *written).collect();
        config.cheap_passwords().set("CORS_ORIGINS", &list.join(","));
    });
    for (written, origin) in written {
        let answer = stack.api().get("/health").header("origin", origin).send().await;
        assert_eq!(answer.header("access-control-allow-origin"), origin, "{written}");
    }
}
