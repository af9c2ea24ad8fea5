//! What anybody may know of signing keys, and libraries that check tokens by it.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use e2e::process::mortal;
use e2e::{Stack, python};
use serde_json::{Value, json};

const ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "RS256"];
const SET: &str = "/.well-known/jwks.json";
const ISSUER: &str = "https://id.example.com";

fn signing(algorithm: &str) -> Stack {
    Stack::with(|config| {
        config.cheap_passwords().set("JWT_ALGORITHM", algorithm).set("JWT_ISSUER", ISSUER);
    })
}

/// Runs a program of the tests with lines on its standard input; what it says of each.
fn said(program: &str, arguments: &[&str], environment: &[(&str, &str)], lines: &[&str]) -> String {
    let mut command = mortal("timeout");
    // Where the machine has no Go, `make setup` installs one.
    let path = std::env::var("PATH").unwrap_or_default();
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/venv/bin");
    command.env("PATH", format!("{path}:{}", installed.display())).env("GOTOOLCHAIN", "local");
    command.arg("120").arg(program).args(arguments).envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start it");
    let mut input = child.stdin.take().expect("piped");
    for line in lines {
        writeln!(input, "{line}").expect("it reads its lines");
    }
    drop(input);
    let output = child.wait_with_output().expect("wait for it");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    assert!(output.status.success(), "{program}: {}", text(output.stderr));
    text(output.stdout)
}

#[tokio::test]
async fn libraries_of_other_languages_check_tokens_by_the_published_keys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let tools = root.join("target/tools");
    assert!(tools.join("node_modules/jose").is_dir(), "no jose: run make setup");
    let (tools, foreign) = (tools.display().to_string(), root.join("tests/foreign"));
    for algorithm in ALGORITHMS {
        let stack = signing(algorithm);
        let api = stack.api();
        let user = api.user().await;
        let (good, foreign) = (user.token.clone(), &foreign);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        let url = format!("{}{SET}", api.edges()[0]);
        let environment = [
            ("JWKS_URL", url.as_str()),
            ("ISSUER", ISSUER),
            ("ALGORITHM", algorithm),
            ("TOOLS", &tools),
        ];
        let lines = [good.as_str(), forged.as_str(), good.as_str()];
        let sub = e2e::forge::Token::read(&good).claims["sub"].as_str().unwrap().to_owned();
        let python = python::run("tests/foreign/jwks.py", &environment, &lines);
        assert_eq!(python.code, Some(0), "{}", python.stderr);
        let path = |name: &str| foreign.join(name).display().to_string();
        let node = said("node", &[&path("jwks.mjs")], &environment, &lines);
        let go = said("go", &["run", &path("jwks.go")], &environment, &lines);
        for (library, said) in [("PyJWT", &python.stdout), ("jose", &node), ("Go", &go)] {
            let said: Vec<_> = said.lines().collect();
            assert_eq!(said.len(), 3, "{library} {algorithm}: {said:?}");
            assert_eq!(
                [said[0], said[2]],
                [format!("sub {sub}"), format!("sub {sub}")],
                "{library} {algorithm}"
            );
            assert!(said[1].starts_with("refused"), "{library} {algorithm}: {said:?}");
        }
    }
}

#[tokio::test]
async fn the_set_holds_public_halves_alone_and_may_be_kept_for_a_while() {
    let stack = signing("ES256");
    let api = stack.api();
    let answer = api.get(SET).header("origin", "https://anywhere.example").send().await;
    let set = answer.expect(200);
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let mut members: Vec<_> = keys[0].as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!((&keys[0]["alg"], &keys[0]["use"]), (&json!("ES256"), &json!("sig")));
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("content-type"), "application/json");
    let tag = answer.header("etag").to_owned();
    let same = api.get(SET).header("if-none-match", &tag).send().await;
    assert_eq!((same.status, same.text().as_str()), (304, ""));
    assert_eq!(same.header("etag"), tag);
    api.get(SET).header("if-none-match", "\"other\"").send().await.expect(200);
}

#[tokio::test]
async fn metadata_are_there_where_the_issuer_is_the_address() {
    let with = |variables: &[(&str, &str)]| {
        Stack::with(|config| {
            config.cheap_passwords();
            for (name, value) in variables {
                config.set(name, value);
            }
        })
    };
    let stack = with(&[]);
    let paths = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
    assert_eq!(stack.api().get(SET).send().await.expect(200), json!({"keys": []}));
    let missing = async |stack: &Stack| {
        for path in paths {
            let problem =
                stack.api().get(path).send().await.problem(404, "PUBLIC_URL has to be set");
            assert_eq!(problem["type"], "urn:problem-type:latchkey:not-enabled");
        }
    };
    missing(&stack).await;
    for half in [&[("PUBLIC_URL", ISSUER)], &[("JWT_ISSUER", ISSUER)]] {
        missing(&with(half)).await;
    }
    let stack = with(&[("PUBLIC_URL", ISSUER), ("JWT_ISSUER", ISSUER)]);
    let document = |path: &'static str| {
        let api = stack.api();
        async move { api.get(path).send().await.expect(200) }
    };
    let (first, second) = (document(paths[0]).await, document(paths[1]).await);
    assert_eq!(first, second);
    assert_eq!(first["issuer"], ISSUER);
    assert_eq!(first["jwks_uri"], format!("{ISSUER}{SET}"));
    assert_eq!(first["response_types_supported"], json!([]));
    let routes: Vec<_> =
        latchkey_edge::router::facts().into_iter().map(|route| route.path).collect();
    for (member, value) in first.as_object().unwrap() {
        let Some(path) = value.as_str().and_then(|url| url.strip_prefix(ISSUER)) else { continue };
        let is_there = path.is_empty() || routes.iter().any(|route| route == path);
        assert!(is_there, "{member} names {value}");
    }
    let is_named = |member: &str| first.get(member).is_some_and(Value::is_string);
    assert_eq!(is_named("token_endpoint"), routes.iter().any(|route| route == "/oauth/token"));
}
