//! The matrix of insiders: every route of the edge's own list, tried with every kind of credential, method and body.
//! A route that is added to the list is tried here without being named.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use e2e::{Answer, Api, Call, Stack, User};
use latchkey_contract::verify::PrincipalKind;
use latchkey_edge::{Facts, router};
use latchkey_gate::{Form, Requirement};

const ALLOWED: &str = "http://localhost:3000";
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// A credential in its place: none, one that nobody accepts, or one that stands for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Wrong,
    Ended,
    Good,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Unauthenticated,
    Forbidden,
    /// Whatever else the route says of it.
    LetThrough,
}

/// Somebody who has one of each.
struct Insider {
    user: User,
    key: String,
    ended_token: String,
    ended_key: String,
}

impl Insider {
    async fn new(api: &Api) -> Self {
        let user = api.user().await;
        let key = api.key(&user.token, "insider").await.key;
        let ended = api.key(&user.token, "ended").await;
        api.revoke(&user.token, ended.id).await.expect(200);
        let ended_token = api.token(&user.username, &user.password).await;
        api.post("/auth/logout").bearer(&ended_token).send().await.expect(200);
        Self { user, key, ended_token, ended_key: ended.key }
    }

    /// A request with these credentials. What is let through may end the session, so each has its own.
    async fn call(&self, api: &Api, method: &str, path: &str, token: Shown, key: Shown) -> Call {
        let mut call = api.call(method, &at(path));
        call = match token {
            Shown::Nothing => call,
            Shown::Wrong => call.bearer("a.b.c"),
            Shown::Ended => call.bearer(&self.ended_token),
            Shown::Good => call.bearer(&api.token(&self.user.username, &self.user.password).await),
        };
        match key {
            Shown::Nothing => call,
            Shown::Wrong => call.api_key("sk_nonsense"),
            Shown::Ended => call.api_key(&self.ended_key),
            // A key may end itself.
            Shown::Good if path.starts_with("/keys/self") => {
                let token = api.token(&self.user.username, &self.user.password).await;
                call.api_key(&api.key(&token, "insider").await.key)
            }
            Shown::Good => call.api_key(&self.key),
        }
    }
}

/// A path of this pattern; what it names is nobody's.
fn at(pattern: &str) -> String {
    let nobodys = i64::MAX.to_string();
    let part = |part| if str::starts_with(part, '{') { nobodys.as_str() } else { part };
    let segments = pattern.split('/').map(part);
    segments.collect::<Vec<_>>().join("/")
}

/// The methods by which a route is asked.
fn methods(route: &Facts) -> Vec<&str> {
    match route.method.as_ref().map(Method::as_str) {
        None => METHODS.to_vec(),
        Some("GET") => vec!["GET", "HEAD"],
        Some(own) => vec![own],
    }
}

/// Whoever shows these: the first that is looked at and accepted counts.
fn expected(who: Option<Requirement<'_>>, token: Shown, key: Shown) -> Outcome {
    let Some(requirement) = who else { return Outcome::LetThrough };
    let accepted = requirement.forms().iter().find_map(|form| match form {
        Form::Token => (token == Shown::Good).then_some(PrincipalKind::User),
        Form::Key => (key == Shown::Good).then_some(PrincipalKind::Service),
    });
    match (accepted, requirement.kind()) {
        (None, _) => Outcome::Unauthenticated,
        (Some(is), Some(needed)) if is != needed => Outcome::Forbidden,
        // The insider's key holds no scope by which keys are managed.
        (Some(PrincipalKind::Service), _) if requirement.manages().is_some() => Outcome::Forbidden,
        _ => Outcome::LetThrough,
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match answer.status {
        401 => Outcome::Unauthenticated,
        403 => Outcome::Forbidden,
        status => {
            assert!(status < 500, "{status}: {}", answer.text());
            Outcome::LetThrough
        }
    }
}

fn stack() -> Stack {
    Stack::with(|config| {
        config.cheap_passwords();
    })
}

#[tokio::test]
async fn every_route_lets_through_whom_the_list_names_and_nobody_else() {
    let stack = stack();
    let api = stack.api();
    let insider = Insider::new(&api).await;
    let all = [Shown::Nothing, Shown::Wrong, Shown::Ended, Shown::Good];
    for route in router::facts() {
        for (token, key) in all.iter().flat_map(|token| all.map(|key| (*token, key))) {
            for method in methods(&route) {
                let call = insider.call(&api, method, &route.path, token, key).await;
                let answer = call.send().await;
                let place = format!("{method} {} with {token:?} and {key:?}", route.path);
                assert_eq!(outcome(&answer), expected(route.who, token, key), "{place}");
                let Some(requirement) = route.who.filter(|_| answer.status == 401) else {
                    continue;
                };
                let challenges = answer.headers.get_all("www-authenticate").iter();
                let challenges: Vec<_> =
                    challenges.map(|value| value.to_str().unwrap().to_owned()).collect();
                let is_for = |scheme| challenges.iter().any(|it: &String| it.starts_with(scheme));
                let takes = |form| requirement.forms().contains(&form);
                let users_only = requirement.kind() == Some(PrincipalKind::User);
                assert_eq!(is_for("Bearer"), takes(Form::Token), "{place}: {challenges:?}");
                let by_key = takes(Form::Key) && !users_only;
                assert_eq!(is_for("ApiKey"), by_key, "{place}: {challenges:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_credential_in_the_place_of_the_other_lets_nobody_through() {
    let stack = stack();
    let api = stack.api();
    let insider = Insider::new(&api).await;
    for route in router::facts() {
        let Some(requirement) = route.who else { continue };
        let (method, path) = (methods(&route)[0], at(&route.path));
        let token = api.token(&insider.user.username, &insider.user.password).await;
        let key = api.key(&token, "in the other place").await.key;
        let as_token = api.call(method, &path).bearer(&key).send().await;
        let is_of_keys = requirement.kind() == Some(PrincipalKind::Service);
        if requirement.manages().is_some() && is_of_keys {
            as_token.problem(403, "latchkey:keys:");
        } else if path.starts_with("/keys/self") {
            // A key that acts on itself may be sent as either: another one than the insider's is ended by it.
            assert!(as_token.status < 300, "{path}: {}", as_token.text());
        } else if requirement.manages().is_some() {
            // There a key may be sent as a Bearer token, and counts as the key that it is.
            as_token.problem(403, "Only user accounts");
        } else {
            as_token.unauthenticated();
        }
        api.call(method, &path).api_key(&insider.user.token).send().await.unauthenticated();
    }
    api.as_user(&insider.user.token).await.expect(200);
}

#[tokio::test]
async fn every_path_takes_the_methods_of_the_list_and_a_page_of_another_origin_may_use_each() {
    let api = Stack::shared().api();
    let list = router::facts();
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for route in &list {
        by_path.entry(&route.path).or_default().extend(methods(route));
    }
    for (path, taken) in by_path {
        for method in METHODS.into_iter().filter(|method| !taken.contains(method)) {
            let answer = api.call(method, &at(path)).send().await;
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            let allowed: BTreeSet<&str> = answer.header("allow").split(',').collect();
            assert_eq!(allowed, taken, "{method} {path}");
        }
        let preflight = api.call("OPTIONS", &at(path)).header("origin", ALLOWED);
        let preflight = preflight.header("access-control-request-method", "GET").send().await;
        let usable: BTreeSet<&str> =
            preflight.header("access-control-allow-methods").split(',').collect();
        let all = list.iter().filter_map(|route| route.method.as_ref());
        let all: BTreeSet<&str> = all.map(Method::as_str).collect();
        assert_eq!(usable, all, "{path}");
    }
}

#[tokio::test]
async fn a_body_of_as_many_bytes_as_the_list_says_is_read_and_a_longer_one_is_not() {
    let stack = stack();
    let api = stack.api();
    let insider = Insider::new(&api).await;
    let mut count = 0;
    for route in router::facts() {
        let Some(max) = route.max_body else { continue };
        count += 1;
        for (length, is_taken) in [(max, true), (max + 1, false)] {
            let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(length - r#"{"x":""}"#.len()));
            assert_eq!(body.len(), length);
            let token = if route.who.is_some() { Shown::Good } else { Shown::Nothing };
            let (method, path) = (methods(&route)[0], &route.path);
            let key = if path.starts_with("/keys/self") { token } else { Shown::Nothing };
            let call = insider.call(&api, method, path, token, key).await;
            let is_form = path.starts_with("/oauth/");
            let media =
                if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
            let answer = call.body(media, body).send().await;
            if is_taken {
                assert_ne!(answer.status, 413, "{path} {length}: {}", answer.text());
            } else {
                answer.problem(413, &max.to_string());
            }
        }
    }
    assert!(count > 0, "no route takes a body");
}

#[tokio::test]
async fn the_description_says_of_each_route_what_the_list_says() {
    let document = Stack::shared().api().get("/openapi.json").send().await.expect(200);
    let described = |route: &Facts| {
        let method = methods(route)[0].to_lowercase();
        document["paths"][&route.path].get(&method).cloned()
    };
    let mut count = 0;
    for route in router::facts() {
        // Pages for people are left out.
        let Some(operation) = described(&route) else { continue };
        count += 1;
        let (path, answers) = (&route.path, &operation["responses"]);
        assert_eq!(operation["security"].is_array(), route.who.is_some(), "{path}");
        // A login is refused without anybody's credential.
        let by_body = ["/auth/login", "/auth/refresh"].contains(&path.as_str());
        let is_refused = route.who.is_some() || by_body;
        assert_eq!(answers["401"].is_object(), is_refused, "{path}");
        assert_eq!(answers["429"].is_object(), route.limit.is_some(), "{path}");
        assert_eq!(answers["413"].is_object(), route.max_body.is_some(), "{path}");
        assert_eq!(operation["requestBody"].is_object(), route.max_body.is_some(), "{path}");
    }
    let operations = document["paths"].as_object().unwrap().values();
    let all: usize = operations.map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(count, all, "what is described is in the list");
}
