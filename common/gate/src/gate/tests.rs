//! The gate as a whole: its actors, and both authorities on a bus inside the process.

use std::time::Duration;

use latchkey_bus::{Bus, RequestId, Serving};
use latchkey_contract::scope::RequiredScope;
use latchkey_contract::verify::{Outcome, PrincipalKind, Verify, VerifyBatch};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Failure, KeyId, Refusal, Secret};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Entropy, Root};

use super::*;
use crate::played::{AT, Counted, EXPIRY, Played, TOKEN, key, patient, person, program, until};

/// What the wall clock shows.
const NOW: i64 = 1_000;

struct Bench {
    gate: Gate,
    keys: Arc<Played>,
    tokens: Arc<Played>,
    serving: [Serving; 2],
    running: Running,
}

async fn bench(config: &MemoryConfig) -> Bench {
    let (bus, keys, tokens) = (Bus::local(), Played::new(), Played::new());
    keys.says(&key(10), Verdict::Valid(program(1, EXPIRY)));
    tokens.says(TOKEN, Verdict::Valid(person(true)));
    let serving = [keys.serve_keys(&bus).await, tokens.serve_tokens(&bus).await];
    let clock = Clock::manual(NOW);
    let deps = Deps { name: "edge", bus, clock, entropy: Entropy::seeded(1) };
    let (gate, children) = Gate::new(config, &deps);
    let running = Root::start(children).await.unwrap();
    Bench { gate, keys, tokens, serving, running }
}

fn remembering() -> MemoryConfig {
    MemoryConfig::new(60_000, 1_000, 1 << 20).unwrap()
}

/// A gate whose leases are held.
async fn member() -> Bench {
    let bench = bench(&remembering()).await;
    for played in [&bench.keys, &bench.tokens] {
        until(|| played.script(|it| !it.renewed.is_empty())).await;
    }
    bench
}

impl Bench {
    async fn decide(
        &self,
        text: &str,
        min_revision: MinRevision,
    ) -> Result<&'static str, CallError> {
        let decided = self.gate.decide(&patient(), CredentialText::of(text), min_revision).await;
        decided.map(|verdict| {
            let code = verdict.code();
            self.let_through(text, verdict.valid().as_ref());
            code
        })
    }

    fn remembered(&self, text: &str) -> Option<Remembered> {
        let found = match self.gate.look(CredentialText::of(text)) {
            Looked::Known(verdict) => verdict.valid(),
            Looked::Unknown(_) => None,
        };
        self.let_through(text, found.as_ref());
        found
    }

    /// Answers a request that requires nothing more.
    fn let_through(&self, text: &str, principal: Option<&Remembered>) {
        let form = CredentialText::of(text).form;
        let judge = |it| self.gate.judge(form, Requirement::ANYBODY, it, || None);
        assert_eq!(principal.map(judge).transpose(), Ok(principal.map(|_| ())));
    }

    fn questions(&self) -> usize {
        self.keys.asked().len() + self.tokens.asked().len()
    }
}

#[tokio::test]
async fn each_form_is_asked_of_its_authority_and_then_remembered() {
    let bench = member().await;
    let any = MinRevision::default();
    for text in [key(10).as_str(), TOKEN] {
        assert!(bench.remembered(text).is_none());
        assert_eq!(bench.decide(text, any).await, Ok("valid"));
        assert_eq!(bench.decide(text, any).await, Ok("valid"));
    }
    assert_eq!((bench.keys.asked().len(), bench.tokens.asked().len()), (1, 1));
    assert_eq!(bench.remembered(&key(10)).unwrap().key().unwrap().id, KeyId(1));
    assert_eq!(bench.remembered(TOKEN).unwrap().user().unwrap().username, "ada");
    assert_eq!(bench.questions(), 2);
}

#[tokio::test]
async fn without_a_memory_everything_is_asked_each_time_and_nobody_joins() {
    let bench = bench(&MemoryConfig { enabled: false, ..remembering() }).await;
    for asked in 1..=2 {
        assert_eq!(bench.decide(&key(10), MinRevision::default()).await, Ok("valid"));
        assert_eq!(bench.keys.asked(), vec![(None, 1); asked]);
    }
    assert!(bench.remembered(&key(10)).is_none());
    assert!(bench.keys.script(|it| it.joined.is_empty()));
}

#[tokio::test]
async fn a_revision_counts_for_the_authority_that_it_is_of() {
    let bench = member().await;
    let (now, later) = (Some(Revision(AT)), Some(Revision(AT + 1)));
    let keys = MinRevision { keys: later, identity: now };
    assert_eq!(bench.decide(TOKEN, keys).await, Ok("valid"));
    assert_eq!(bench.decide(&key(10), keys).await, Err(CallError::Unavailable));
    let tokens = MinRevision { keys: now, identity: later };
    assert_eq!(bench.decide(TOKEN, tokens).await, Err(CallError::Unavailable));
    assert_eq!(bench.decide(&key(10), tokens).await, Ok("valid"));
}

#[tokio::test]
async fn at_its_end_it_reports_the_uses_of_keys_and_leaves_both_authorities() {
    let bench = member().await;
    let any = MinRevision::default();
    for text in [key(10).as_str(), TOKEN, key(20).as_str()] {
        bench.decide(text, any).await.unwrap();
        bench.remembered(text);
    }
    let Bench { running, keys, tokens, serving: _serving, .. } = bench;
    running.stop().await;
    assert_eq!(keys.script(|it| it.uses.clone()), [(KeyId(1), Timestamp(NOW))]);
    for played in [keys, tokens] {
        let joined: Vec<_> = played.script(|it| it.joined.iter().map(|(id, _)| *id).collect());
        assert_eq!((joined.len(), played.script(|it| it.left.clone())), (1, joined));
    }
}

#[tokio::test]
async fn a_use_is_counted_where_it_was_answered_from_memory_too() {
    let bench = member().await;
    bench.decide(&key(10), MinRevision::default()).await.unwrap();
    let before = bench.gate.usage.take();
    bench.gate.clock.advance(5);
    bench.remembered(&key(10)).unwrap();
    let after = bench.gate.usage.take();
    assert_eq!(before, [(KeyId(1), Timestamp(NOW))]);
    assert_eq!(after, [(KeyId(1), Timestamp(NOW + 5))]);
    bench.remembered(TOKEN);
    assert_eq!(bench.gate.usage.take(), []);
}

#[tokio::test]
async fn a_request_that_is_not_let_through_counts_as_that_and_is_no_use_of_a_key() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let bench = member().await;
    let good = || Verify::of(Secret::new(key(10)));
    let scope = |name: &str| Some(RequiredScope(vec![name.to_owned()]));
    for turn in 1..=2 {
        // Asked at first, and then remembered.
        for (request, outcome) in [
            (
                Verify { required_scope: scope("latchkey:verify"), ..good() },
                Outcome::InsufficientScope,
            ),
            (Verify { kind: Some(PrincipalKind::User), ..good() }, Outcome::WrongKind),
            (Verify { environment: Some("other".to_owned()), ..good() }, Outcome::WrongEnvironment),
        ] {
            let said = bench.gate.verify(&patient(), request).await.unwrap();
            assert_eq!((said.outcome, said.principal), (outcome, None));
            let name = format!("latchkey_verifications_total key {}", outcome.code());
            assert_eq!(counted.counter(&name), turn, "{name}");
        }
        assert_eq!(bench.gate.usage.take(), []);
    }
    let enough = Verify { required_scope: scope("orders:read"), ..good() };
    assert_eq!(bench.gate.verify(&patient(), enough).await.unwrap().outcome, Outcome::Valid);
    assert_eq!(counted.counter("latchkey_verifications_total key valid"), 1);
    assert_eq!(bench.gate.usage.take(), [(KeyId(1), Timestamp(NOW))]);
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_is_refused_and_any_other_answered_in_its_order() {
    let bench = member().await;
    let refused = |failure: Failure| match failure {
        Failure::Refused(Refusal::Invalid(faults)) => {
            faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let secret = |text: &str| Secret::new(text.to_owned());
    let good = || Verify::of(secret(&key(10)));
    let said = bench.gate.verify(&patient(), good()).await.unwrap();
    assert_eq!((said.outcome, said.principal.unwrap().key_id), (Outcome::Valid, Some(KeyId(1))));
    let scope = Some(RequiredScope(vec![String::new()]));
    let scoped = Verify { required_scope: scope.clone(), ..good() };
    let failure = bench.gate.verify(&patient(), scoped.clone()).await.unwrap_err();
    assert_eq!(refused(failure), ["required_scope"]);
    let failure = bench.gate.verify(&patient(), Verify { credential: None, ..scoped }).await;
    assert_eq!(refused(failure.unwrap_err()), ["credential", "required_scope"]);
    for (wrong, fields) in [
        (Verify { required_scope: Some(RequiredScope(Vec::new())), ..good() }, ["required_scope"]),
        (
            Verify { required_scope: Some(RequiredScope(vec!["*".into()])), ..good() },
            ["required_scope"],
        ),
        (
            Verify { required_scope: Some(RequiredScope(vec!["a".into(); 17])), ..good() },
            ["required_scope"],
        ),
        (Verify { environment: Some(String::new()), ..good() }, ["environment"]),
        (Verify { ip: Some(String::new()), ..good() }, ["ip"]),
        (Verify { ip: Some("203.0.113.7:80".into()), ..good() }, ["ip"]),
    ] {
        let failure = bench.gate.verify(&patient(), wrong).await.unwrap_err();
        assert_eq!(refused(failure), fields);
    }

    let batch = VerifyBatch::of(vec![secret("nonsense"), secret(TOKEN), secret(&key(20))]);
    let said = bench.gate.verify_batch(&patient(), batch.clone()).await.unwrap();
    let outcomes: Vec<_> = said.results.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Malformed, Outcome::Valid, Outcome::Unknown]);
    let min_revision = Some(MinRevision { keys: Some(Revision(-1)), identity: None });
    let failure = VerifyBatch { required_scope: scope, min_revision, ..batch };
    let failure = bench.gate.verify_batch(&patient(), failure).await.unwrap_err();
    assert_eq!(refused(failure), ["required_scope", "min_revision.keys"]);
    for count in [0, MAX_BATCH + 1] {
        let batch = VerifyBatch::of(vec![secret(TOKEN); count]);
        let failure = bench.gate.verify_batch(&patient(), batch).await.unwrap_err();
        assert_eq!(refused(failure), ["credentials"], "{count}");
    }
    let most = VerifyBatch::of(vec![secret(TOKEN); MAX_BATCH]);
    assert_eq!(bench.gate.verify_batch(&patient(), most).await.unwrap().results.len(), MAX_BATCH);
}

#[tokio::test]
async fn where_nobody_can_say_there_is_no_outcome() {
    let bench = member().await;
    bench.keys.hold();
    let hurried = Context::new(RequestId::new("hurried"), Duration::ZERO);
    let ask = || Verify::of(Secret::new(key(20)));
    let failure = bench.gate.verify(&hurried, ask()).await.unwrap_err();
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
}
