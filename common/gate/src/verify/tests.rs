//! Whole requests, asked and remembered, beside a model of what was granted and what is required.

use std::net::{IpAddr, Ipv4Addr};

use latchkey_bus::{Bus, Serving};
use latchkey_contract::scope::Scopes;
use latchkey_contract::verify::{Outcome, Verify, VerifyBatch};
use latchkey_contract::{AllowedIps, ApiKey, Grants, KeyPrefix, Principal};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Root};

use super::*;
use crate::Deps;
use crate::config::MemoryConfig;
use crate::played::{EXPIRY, Played, key, patient, person, program, until};

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// So many of these at most.
    fn some<T: Copy>(&mut self, most: usize, of: &[T]) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| self.one(of)).collect()
    }
}

const SCOPES: [&str; 7] = ["a", "b", "a:x", "a:y", "a.z", "latchkey:verify", "latchkeys"];
const GRANTS: [&str; 9] =
    ["*", "a", "b", "a:*", "a:x", "a.*", "latchkey:*", "latchkey:verify", "latchkeys"];
const ENVIRONMENTS: [Option<&str>; 3] = [None, Some("live"), Some("test")];

/// A key's text, another for each place.
fn another_key(place: u8) -> String {
    let key = ApiKey::generate(&KeyPrefix::default(), None, |bytes| {
        bytes.fill(1);
        bytes[..2].copy_from_slice(&[place % 60, place / 60]);
    });
    key.expose().to_owned()
}

/// A gate that holds its leases, and the authorities that it asks.
struct Bench {
    gate: Gate,
    keys: std::sync::Arc<Played>,
    tokens: std::sync::Arc<Played>,
    _serving: [Serving; 2],
    _running: Running,
}

async fn bench(is_remembering: bool) -> Bench {
    let (bus, keys, tokens) = (Bus::local(), Played::new(), Played::new());
    let serving = [keys.serve_keys(&bus).await, tokens.serve_tokens(&bus).await];
    let config = MemoryConfig::new(60_000, 1_000, 1 << 20).unwrap();
    let config = MemoryConfig { enabled: is_remembering, ..config };
    let deps = Deps { name: "edge", bus, clock: Clock::manual(1_000), entropy: Entropy::seeded(1) };
    let (gate, children) = Gate::new(&config, &deps);
    let running = Root::start(children).await.unwrap();
    if is_remembering {
        for played in [&keys, &tokens] {
            until(|| played.script(|it| !it.renewed.is_empty())).await;
        }
    }
    Bench { gate, keys, tokens, _serving: serving, _running: running }
}

/// A credential, and what it was granted, written down apart from [`Grants`].
#[derive(Clone, Debug)]
struct Granted {
    text: String,
    kind: PrincipalKind,
    scopes: Vec<&'static str>,
    environment: Option<&'static str>,
    /// The networks, as the first of four numbers.
    networks: Vec<u8>,
}

/// What is required, as it is sent.
#[derive(Clone, Debug)]
struct Required {
    scope: Option<Vec<Vec<&'static str>>>,
    kind: Option<PrincipalKind>,
    environment: Option<&'static str>,
    client: Option<u8>,
}

impl Granted {
    fn any(numbers: &mut Numbers, place: u8) -> Self {
        let (text, kind) = if place.is_multiple_of(3) {
            (format!("eyJh.eyJz.{place}"), PrincipalKind::User)
        } else {
            (another_key(place), PrincipalKind::Service)
        };
        let scopes = numbers.some(4, &GRANTS);
        if kind == PrincipalKind::User {
            return Self { text, kind, scopes, environment: None, networks: Vec::new() };
        }
        let (environment, networks) = (numbers.one(&ENVIRONMENTS), numbers.some(2, &[10, 11]));
        Self { text, kind, scopes, environment, networks }
    }

    fn principal(&self) -> Principal {
        let networks: Vec<_> =
            self.networks.iter().map(|first| format!("{first}.0.0.0/8")).collect();
        let grants = Grants {
            scopes: Scopes::of(self.scopes.iter().copied()).unwrap(),
            environment: self.environment.map(Into::into),
            allowed_ips: AllowedIps::of(networks.iter().map(String::as_str)).unwrap(),
            ..Grants::default()
        };
        let principal = match self.kind {
            PrincipalKind::User => person(true),
            PrincipalKind::Service => program(1, EXPIRY),
        };
        Principal { grants: grants.into(), ..principal }
    }

    /// By the sentences of the contract: `*` is all but what is reserved, `p*` what begins with `p`.
    fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|grant| match *grant {
            "*" => !scope.starts_with("latchkey:"),
            "a:*" => scope.starts_with("a:"),
            "a.*" => scope.starts_with("a."),
            "latchkey:*" => scope.starts_with("latchkey:"),
            whole => whole == scope,
        })
    }

    fn outcome(&self, required: &Required) -> Outcome {
        let from = |client: u8| self.networks.contains(&client);
        let all = |texts: &Vec<&str>| texts.iter().all(|scope| self.may(scope));
        if required.kind.is_some_and(|kind| kind != self.kind) {
            Outcome::WrongKind
        } else if required.environment.is_some() && required.environment != self.environment {
            Outcome::WrongEnvironment
        } else if !self.networks.is_empty() && !required.client.is_some_and(from) {
            Outcome::IpDenied
        } else if required.scope.as_ref().is_some_and(|any| !any.iter().any(all)) {
            Outcome::InsufficientScope
        } else {
            Outcome::Valid
        }
    }
}

impl Required {
    fn any(numbers: &mut Numbers) -> Self {
        let scope = (numbers.below(4) > 0).then(|| {
            let texts = 1 + numbers.below(3);
            (0..texts)
                .map(|_| [vec![numbers.one(&SCOPES)], numbers.some(2, &SCOPES)].concat())
                .collect()
        });
        let kinds = [None, None, None, Some(PrincipalKind::User), Some(PrincipalKind::Service)];
        let kind = numbers.one(&kinds);
        let environment = if numbers.below(3) > 0 { None } else { numbers.one(&ENVIRONMENTS) };
        let client = numbers.one(&[None, Some(10), Some(10), Some(11), Some(12)]);
        Self { scope, kind, environment, client }
    }

    fn scope(&self) -> Option<RequiredScope> {
        let texts = |any: &Vec<Vec<&str>>| any.iter().map(|all| all.join(" ")).collect();
        self.scope.as_ref().map(|any| RequiredScope(texts(any)))
    }

    fn environment(&self) -> Option<String> {
        self.environment.map(str::to_owned)
    }

    fn ip(&self) -> Option<String> {
        self.client.map(|first| IpAddr::V4(Ipv4Addr::new(first, 2, 3, 4)).to_string())
    }

    fn of_one(&self, text: &str) -> Verify {
        Verify {
            required_scope: self.scope(),
            kind: self.kind,
            environment: self.environment(),
            ip: self.ip(),
            ..Verify::of(Secret::new(text.to_owned()))
        }
    }

    fn of_all(&self, all: &[Granted]) -> VerifyBatch {
        let texts = all.iter().map(|one| Secret::new(one.text.clone())).collect();
        VerifyBatch {
            required_scope: self.scope(),
            kind: self.kind,
            environment: self.environment(),
            ip: self.ip(),
            ..VerifyBatch::of(texts)
        }
    }
}

fn serve(benches: &[&Bench], all: &[Granted]) {
    for one in all {
        for bench in benches {
            let of = if one.kind == PrincipalKind::User { &bench.tokens } else { &bench.keys };
            of.says(&one.text, Verdict::Valid(one.principal()));
        }
    }
}

fn holds(said: &Verified, one: &Granted, required: &Required) {
    let expected = one.outcome(required);
    assert_eq!(said.outcome, expected, "{one:?} {required:?}");
    assert_eq!(said.principal.is_some(), expected == Outcome::Valid, "{one:?} {required:?}");
    assert_eq!(said.denied.is_some(), expected != Outcome::Valid, "{one:?} {required:?}");
}

#[tokio::test]
async fn whatever_was_granted_and_is_required_remembered_and_asked_answers_are_the_models() {
    const CREDENTIALS: u8 = 200;
    const ALONE: usize = 90_000;
    const ASKED: usize = 4_000;
    const BATCHES: usize = 60;
    let mut numbers = Numbers(20_251_205);
    let all: Vec<_> = (0..CREDENTIALS).map(|place| Granted::any(&mut numbers, place)).collect();
    let (remembering, asking) = (bench(true).await, bench(false).await);
    serve(&[&remembering, &asking], &all);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..ALONE {
        let (one, required) = (&all[numbers.below(all.len())], Required::any(&mut numbers));
        let said = remembering.gate.verify(&patient(), required.of_one(&one.text)).await.unwrap();
        holds(&said, one, &required);
        *seen.entry(said.outcome.code()).or_insert(0) += 1;
    }
    // Each was asked about once, by whichever requirement came first.
    let questions = |bench: &Bench| bench.keys.asked().len() + bench.tokens.asked().len();
    assert_eq!(questions(&remembering), usize::from(CREDENTIALS));
    for _ in 0..ASKED {
        let (one, required) = (&all[numbers.below(all.len())], Required::any(&mut numbers));
        let said = asking.gate.verify(&patient(), required.of_one(&one.text)).await.unwrap();
        holds(&said, one, &required);
    }
    assert_eq!(questions(&asking), ASKED);
    for _ in 0..BATCHES {
        let (from, required) = (numbers.below(all.len() - MAX_BATCH), Required::any(&mut numbers));
        let some = &all[from..from + MAX_BATCH];
        let batch = remembering.gate.verify_batch(&patient(), required.of_all(some)).await.unwrap();
        assert_eq!(batch.results.len(), MAX_BATCH);
        batch.results.iter().zip(some).for_each(|(said, one)| holds(said, one, &required));
    }
    assert!(seen.len() == 5 && seen.values().all(|count| *count > 1_000), "{seen:?}");
}

#[tokio::test]
async fn what_is_not_good_is_told_as_before_whatever_is_required() {
    let bench = bench(true).await;
    bench.keys.says(&key(1), Verdict::Revoked);
    let nobody = Required {
        scope: Some(vec![vec!["b"]]),
        kind: Some(PrincipalKind::User),
        environment: Some("live"),
        client: None,
    };
    for (text, outcome) in [
        (key(1).as_str(), Outcome::Revoked),
        (key(2).as_str(), Outcome::Unknown),
        ("nonsense", Outcome::Malformed),
    ] {
        for _ in 0..2 {
            let said = bench.gate.verify(&patient(), nobody.of_one(text)).await.unwrap();
            assert_eq!(said, Verified { outcome, principal: None, denied: None });
        }
    }
}
