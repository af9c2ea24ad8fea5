//! The edge answers other services on a bus inside the process too, with authorities that this test plays.

use latchkey_bus::{Context, RequestId, Serving};
use latchkey_contract::identity::VerifyTokens;
use latchkey_contract::keys::{RecordUses, VerifyKeys};
use latchkey_contract::lease::{Epoch, MemberResult, ReadAt, Revision};
use latchkey_contract::scope::RequiredScope;
use latchkey_contract::verify::{MinRevision, Outcome, PrincipalKind, Verified};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    ApiKey, CallError, CredentialHash, Detail, Grants, KeyDetail, KeyId, KeyPrefix, Owner,
    Principal, Refusal, Rpc, Secret, SessionId, Timestamp, UserDetail, UserId, Verdict, Verdicts,
};
use latchkey_runtime::{Clock, Entropy, Environment};

use super::*;
use crate::{Config, Deps, Started};

const TOKEN: &str = "eyJh.eyJz.c2ln";

struct Bench {
    bus: Bus,
    edge: Started,
    key: String,
}

fn key(fill: u8) -> ApiKey {
    ApiKey::generate(&KeyPrefix::default(), None, |bytes| bytes.fill(fill))
}

const READ_AT: ReadAt = ReadAt { epoch: Epoch { made: 1, timeline: 0 }, revision: Revision(0) };

/// An edge, and a key service that knows one key.
async fn bench() -> (Bench, Serving) {
    let bus = Bus::local();
    let known = key(10);
    let hash = known.hash();
    let verdict = move |asked: &CredentialHash| {
        if *asked != hash {
            return Verdict::Unknown;
        }
        let owner = Owner::User(UserId(2));
        let key = KeyDetail { id: KeyId(1), owner, name: "ci".into(), lineage: KeyId(1) };
        let grants = Arc::new(Grants::everything());
        Verdict::Valid(Principal { expires_at: Timestamp(3), detail: Detail::Key(key), grants })
    };
    let routes = Routes::new("keys", "0.0.0", "")
        .on::<VerifyKeys, _, _>(move |_, ask| {
            let verdicts = ask.hashes.iter().map(verdict).collect();
            async move { Ok(MemberResult::Member(Verdicts::new(READ_AT, verdicts))) }
        })
        .on::<RecordUses, _, _>(async |_, _| Ok(()));
    let keys = bus.serve(routes).await.unwrap();
    let config = Config::read(&Environment::default()).unwrap();
    let deps = Deps { bus: bus.clone(), clock: Clock::System, entropy: Entropy::System };
    let edge = crate::start(&config, deps).await.unwrap();
    (Bench { bus, edge, key: known.expose().to_owned() }, keys)
}

/// An identity service to which every token is a user's.
async fn identity(bus: &Bus) -> Serving {
    let routes = Routes::new("identity", "0.0.0", "").on::<VerifyTokens, _, _>(async |_, ask| {
        let user = UserDetail {
            id: UserId(7),
            username: "ada".into(),
            email: "ada@example.com".into(),
            session: SessionId([1; 16]),
            is_original: true,
            is_narrowed: false,
        };
        let grants = Arc::new(Grants::everything());
        let user =
            Principal { expires_at: Timestamp(3), detail: Detail::User(user.into()), grants };
        let verdicts = vec![Verdict::Valid(user); ask.tokens.len()];
        Ok(MemberResult::Member(Verdicts::new(READ_AT, verdicts)))
    });
    bus.serve(routes).await.unwrap()
}

impl Bench {
    async fn ask<R: Rpc>(&self, request: R) -> Result<R::Reply, CallError> {
        let context = Context::new(RequestId::new("test"), R::TIMEOUT);
        self.bus.call(&context, &request).await
    }

    async fn verify(&self, credential: &str) -> Result<Verified, CallError> {
        self.ask(Verify::of(Secret::new(credential.to_owned()))).await
    }
}

#[tokio::test]
async fn a_credential_is_told_apart_by_its_form() {
    let (bench, _keys) = bench().await;
    let _identity = identity(&bench.bus).await;
    let service = bench.verify(&bench.key).await.unwrap().accepted().unwrap();
    assert_eq!((service.kind, service.key_id), (PrincipalKind::Service, Some(KeyId(1))));
    let user = bench.verify(TOKEN).await.unwrap().accepted().unwrap();
    assert_eq!((user.kind, user.user_id), (PrincipalKind::User, UserId(7)));
    let unknown = bench.verify(key(20).expose()).await.unwrap();
    assert_eq!(unknown, Verified { outcome: Outcome::Unknown, principal: None, denied: None });
    for text in ["", "sk_", "nonsense", "a.b", "Bearer a.b.c", &format!("{}x", bench.key)] {
        let verified = bench.verify(text).await.unwrap();
        assert_eq!(
            verified,
            Verified { outcome: Outcome::Malformed, principal: None, denied: None },
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    use Outcome::{Malformed, Unknown, Valid};

    let (bench, _keys) = bench().await;
    let _identity = identity(&bench.bus).await;
    let other = key(20).expose().to_owned();
    let texts = [&bench.key, TOKEN, "nonsense", &other, &bench.key];
    let credentials = texts.iter().cycle().take(MAX_BATCH).map(|text| Secret::new((*text).into()));
    let batch = bench.ask(VerifyBatch::of(credentials.collect())).await.unwrap();
    let outcomes: Vec<Outcome> = batch.results.iter().map(|verified| verified.outcome).collect();
    assert_eq!(outcomes, [Valid, Valid, Malformed, Unknown, Valid].repeat(MAX_BATCH / 5));
    assert_eq!(batch.results[1].principal.as_ref().unwrap().kind, PrincipalKind::User);
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_outcome() {
    let (bench, keys) = bench().await;
    assert_eq!(bench.verify(TOKEN).await, Err(CallError::Unavailable));
    let mixed = vec![Secret::new(bench.key.clone()), Secret::new(TOKEN.to_owned())];
    assert_eq!(bench.ask(VerifyBatch::of(mixed)).await, Err(CallError::Unavailable));
    bench.verify(&bench.key).await.unwrap();
    keys.drain().await;
    assert_eq!(bench.verify(&bench.key).await, Err(CallError::Unavailable));
}

#[tokio::test]
async fn a_request_that_is_not_one_is_refused_with_every_fault() {
    let (bench, _keys) = bench().await;
    let fields = |error: CallError| match error {
        CallError::Refused(Refusal::Invalid(faults)) => {
            faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let scope = || Some(RequiredScope(Vec::new()));
    let good = || Secret::new(bench.key.clone());
    let ask = Verify { required_scope: scope(), ..Verify::default() };
    assert_eq!(fields(bench.ask(ask).await.unwrap_err()), ["credential", "required_scope"]);
    let ask = Verify { required_scope: scope(), ..Verify::of(good()) };
    assert_eq!(fields(bench.ask(ask).await.unwrap_err()), ["required_scope"]);
    let least = MinRevision { keys: Some(Revision(0)), identity: Some(Revision(-1)) };
    let ask = Verify { min_revision: Some(least), ..Verify::of(good()) };
    assert_eq!(fields(bench.ask(ask).await.unwrap_err()), ["min_revision.identity"]);
    for count in [0, MAX_BATCH + 1] {
        let ask = VerifyBatch::of(vec![good(); count]);
        assert_eq!(fields(bench.ask(ask).await.unwrap_err()), ["credentials"], "{count}");
    }
}

#[tokio::test]
async fn an_edge_that_stopped_answers_nobody() {
    let (bench, _keys) = bench().await;
    bench.verify(&bench.key).await.unwrap();
    let Bench { bus, edge, key } = bench;
    edge.running.stop().await;
    let context = Context::new(RequestId::new("test"), Verify::TIMEOUT);
    let asked = bus.call(&context, &Verify::of(Secret::new(key))).await;
    assert_eq!(asked, Err(CallError::NoResponder));
}
