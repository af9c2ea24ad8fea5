//! A route that only verifies, with values that no route has yet: any method, no pages, a requirement in the path, and
//! answers of its own.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, CONTENT_TYPE, ORIGIN, VARY};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use latchkey_bus::Bus;
use latchkey_contract::problem::{BAD_HEADER, CREDENTIAL_TWICE};
use latchkey_runtime::{Clock, Entropy, Environment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;
use crate::admission::Lane;
use crate::layers::EdgeService;
use crate::limits::LimitClass;
use crate::route::{Route, described};
use crate::server::Server;
use crate::{Config, Deps, serving};

/// What a refusal of the route says in place of its status.
const STATUS: HeaderName = HeaderName::from_static("latchkey-status");
const PAGE: &str = "http://localhost:3000";
/// The form of a key that nobody has: whoever is to judge it has to ask.
const KEY: &str = "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";

/// Documented for the list alone.
#[utoipa::path(get, path = "/authz/{requirement}", responses((status = 200, description = "Let through")))]
#[expect(clippy::unnecessary_wraps, reason = "others have something to fail at")]
fn authz(_: &Principal) -> Result<Response, Problem> {
    Ok(StatusCode::OK.into_response())
}

fn requirement(who: Requirement<'static>, uri: &Uri) -> Result<Requirement<'static>, Problem> {
    match uri.path().rsplit('/').next() {
        Some("any") => Ok(who),
        Some("user") => Ok(Requirement::USER),
        _ => Err(Problem::of(&BAD_HEADER)),
    }
}

/// As for a gateway that knows 401 and 403 alone.
fn refuse(problem: Problem) -> Response {
    let mut answer = problem.into_response();
    let status = HeaderValue::from(answer.status().as_u16());
    if answer.status() != StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(STATUS, status);
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    answer
}

const AUTHZ: VerifyRoute = VerifyRoute {
    methods: None,
    is_for_pages: false,
    max_body: 8,
    requirement,
    refuse,
    ..VerifyRoute::get(Requirement::ANYBODY, authz)
};
/// The same for pages, by GET.
const READ: VerifyRoute = VerifyRoute { methods: Some(READS), is_for_pages: true, ..AUTHZ };

fn edge(value: VerifyRoute) -> EdgeService {
    let config = Config::read(&Environment::of([])).unwrap();
    let bus = Bus::local();
    let deps = Deps { bus, clock: Clock::System, entropy: Entropy::seeded(1) };
    serving(vec![Route::verify(described!(authz), value)], &config, deps).service
}

async fn ask(edge: &EdgeService, request: Request<Body>) -> Response {
    edge.answer_lent(request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_route_may_take_any_method_and_an_origin_is_then_a_header_like_any_other() {
    let edge = edge(AUTHZ);
    for method in ["GET", "HEAD", "POST", "OPTIONS", "FANTASY"] {
        for headers in [&[][..], &[(ORIGIN.as_str(), PAGE)]] {
            let answer = ask(&edge, request(method, "/authz/any", headers)).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method}");
            assert!(!answer.headers().contains_key(VARY), "{method}: no page is answered");
        }
    }
}

#[tokio::test]
async fn a_route_for_pages_says_what_it_takes_and_to_whom() {
    let edge = edge(READ);
    let answer = ask(&edge, request("POST", "/authz/any", &[])).await;
    assert_eq!(answer.headers()[ALLOW], "GET,HEAD");
    assert_eq!(answer.headers()[STATUS], "405", "refused as the route writes it");
    let answer = ask(&edge, request("GET", "/authz/any", &[(ORIGIN.as_str(), PAGE)])).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
    let answer = ask(&edge, request("OPTIONS", "/authz/any", &[(ORIGIN.as_str(), PAGE)])).await;
    assert_eq!(answer.status(), StatusCode::OK, "a preflight is nobody's to judge");
}

#[tokio::test]
async fn what_the_request_requires_is_read_before_its_credentials() {
    let edge = edge(AUTHZ);
    let twice = [("x-api-key", KEY), ("x-api-key", KEY)];
    for (path, headers, status) in [
        ("/authz/nonsense", &twice[..], "400"),
        ("/authz/any", &twice, "400"),
        // Nobody serves the bus here.
        ("/authz/any", &twice[..1], "503"),
    ] {
        let answer = ask(&edge, request("GET", path, headers)).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(answer.headers()[STATUS], status, "{path}");
    }
    let bad = Problem::of(&BAD_HEADER);
    let gate_is_not_asked = requirement(Requirement::ANYBODY, &Uri::from_static("/authz/x"));
    assert_eq!(gate_is_not_asked.unwrap_err().code(), bad.code());
    assert_eq!(CREDENTIAL_TWICE.code, bad.code());
    // A key is no credential where a user is required.
    let answer = ask(&edge, request("GET", "/authz/user", &twice[..1])).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_body_is_bounded_by_the_route() {
    let edge = edge(AUTHZ);
    for (length, status) in [(8, StatusCode::UNAUTHORIZED), (9, StatusCode::PAYLOAD_TOO_LARGE)] {
        let mut with_body = request("POST", "/authz/any", &[]);
        *with_body.body_mut() = Body::from("x".repeat(length));
        assert_eq!(ask(&edge, with_body).await.status(), status, "{length}");
    }
}

#[tokio::test]
async fn a_panic_is_an_answer_whether_it_was_one_at_once_or_in_time() {
    fn panics(_: Problem) -> Response {
        panic!("a panic of a test")
    }
    let edge = edge(VerifyRoute { refuse: panics, ..AUTHZ });
    // Nobody has to be asked, somebody has to be, and the request goes the whole way.
    let mut with_body = request("POST", "/authz/any", &[]);
    *with_body.body_mut() = Body::from("x");
    let with_key = request("GET", "/authz/any", &[("x-api-key", KEY)]);
    for asking in [request("GET", "/authz/any", &[]), with_key, with_body] {
        let answer = ask(&edge, asking).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        let id = answer.headers()["x-request-id"].clone();
        let body = to_bytes(answer.into_body(), MAX_BODY).await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["request_id"], id.to_str().unwrap(), "{document}");
    }
}

#[tokio::test]
async fn a_panic_at_once_ends_no_connection() {
    fn panics(_: Problem) -> Response {
        panic!("a panic of a test")
    }
    let config =
        Config::read(&Environment::of([("LISTEN_ADDR".into(), "127.0.0.1:0".into())])).unwrap();
    let server = Server::bind(&config).await.unwrap();
    let address = server.address().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let edge = edge(VerifyRoute { refuse: panics, ..AUTHZ });
    let client = async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"GET /authz/any HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 500");
            let mut rest = Vec::new();
            while !rest.ends_with(b"\"}") {
                rest.push(stream.read_u8().await.unwrap());
            }
        }
        drop(stream);
        end.send(()).unwrap();
    };
    tokio::join!(client, server.serve(edge, async { drop(ended.await) }));
}

#[tokio::test]
async fn a_path_is_judged_without_the_slash_at_its_end() {
    // As written it would be the route's, with nothing in the place of the requirement.
    let answer = ask(&edge(AUTHZ), request("GET", "/authz/", &[])).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let answer = ask(&edge(AUTHZ), request("GET", "/authz/any/", &[])).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[test]
#[should_panic(expected = "only verifies: nothing counts its requests")]
fn a_route_that_only_verifies_cannot_be_limited() {
    let _ = Route::verify(described!(authz), AUTHZ).limit(LimitClass::Logins);
}

#[test]
#[should_panic(expected = "only verifies: it waits for no room")]
fn a_route_that_only_verifies_waits_for_no_room() {
    let _ = Route::verify(described!(authz), AUTHZ).lane(Lane::Lists);
}
