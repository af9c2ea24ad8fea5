//! One form of credential, against an authority that the test plays and a membership that it keeps itself.

use std::future::pending;
use std::time::Duration;

use latchkey_bus::{Bus, RequestId, Serving};
use latchkey_contract::identity::IdentityAuthority;
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::{Epoch, Invalidate, Invalidation, Joined, MemberId, Missed, Tag};
use latchkey_contract::lease::{Renewed, SharedTag};
use latchkey_revocation::{Ask, Bounds, Capacity, Keeper, Next};
use latchkey_runtime::Root;
use latchkey_runtime::supervisor::Running;

use super::*;
use crate::played::{
    AT, Counted, EXPIRY, HERE, OWNER, Played, TOKEN, Told, key, patient, person, program, read_at,
    until,
};

const MEMBER: MemberId = MemberId([1; 16]);

struct Bench<A: OfForm> {
    verifier: CachedVerifier<A>,
    keeper: Keeper,
    played: Arc<Played>,
    told: Told,
    _serving: [Serving; 2],
    _running: Running,
}

/// A member that has applied everything up to [`AT`], and has a lease.
async fn bench<A: OfForm>() -> Bench<A> {
    let mut bench = stranger::<A>().await;
    let now = bench.verifier.now();
    bench.join();
    bench.renew(now, Vec::new());
    bench
}

/// No member of anything.
async fn stranger<A: OfForm>() -> Bench<A> {
    let (bus, played, told) = (Bus::local(), Played::new(), Told::new().await);
    let serving = [played.serve_keys(&bus).await, played.serve_tokens(&bus).await];
    let memory = Arc::new(Memory::new(&Bounds::default(), Capacity::default()));
    let (asker, child) = BatchClient::new("ask", AskAuthority::on(bus));
    let running = Root::start(vec![child]).await.unwrap();
    let verifier = CachedVerifier::new(memory, told.address.clone(), asker, Clock::manual(0));
    let keeper = Keeper::new(&Bounds::default());
    Bench { verifier, keeper, played, told, _serving: serving, _running: running }
}

impl<A: OfForm> Bench<A> {
    fn join(&mut self) {
        let next = self.keeper.next(self.verifier.now(), || MEMBER);
        let Next::Send(Ask::Join { nonce, .. }) = next else { panic!("it joins first") };
        let joined = Joined { epoch: HERE, revision: Revision(AT) };
        self.keeper.joined(&*self.verifier.memory, nonce, joined);
    }

    fn renew(&mut self, asked: Moment, changes: Vec<Invalidation<CredentialHash>>) {
        self.keeper.reconnected();
        let next = self.keeper.next(asked, || MEMBER);
        let Next::Send(Ask::Renew { nonce, .. }) = next else { panic!("it renews") };
        let (revision, missed) = (Revision(AT), Missed::These(changes));
        let renewed = MemberResult::Member(Renewed { epoch: HERE, revision, missed });
        self.keeper.renewed(&*self.verifier.memory, nonce, renewed, self.verifier.now());
    }

    async fn decide(&self, text: &str) -> Result<&'static str, CallError> {
        self.decide_since(text, 0).await
    }

    async fn decide_since(&self, text: &str, min_revision: i64) -> Result<&'static str, CallError> {
        let text = CredentialText::of(text);
        let decided = self.verifier.decide(&patient(), text, Revision(min_revision)).await;
        decided.map(|verdict| self.answered(&verdict))
    }

    /// Answers a request that requires nothing more, as the gate does.
    fn answered(&self, verdict: &Verdict<Remembered>) -> &'static str {
        if matches!(verdict, Verdict::Valid(_)) {
            self.verifier.judged(Ok(()));
        }
        verdict.code()
    }

    /// What is known without asking.
    fn look(&self, text: &str) -> Option<Verdict<Remembered>> {
        match self.verifier.look(CredentialText::of(text), Timestamp(0)) {
            Looked::Known(verdict) => {
                self.answered(&verdict);
                Some(verdict)
            }
            Looked::Unknown(_) => None,
        }
    }

    /// The same, and whoever is unknown is asked about by the name that the look gave.
    async fn look_or_ask(&self, text: &str) -> Result<&'static str, CallError> {
        let credential = CredentialText::of(text);
        let verdict = match self.verifier.look(credential, Timestamp(0)) {
            Looked::Known(verdict) => verdict,
            Looked::Unknown(Name(name)) => {
                self.verifier.ask(&patient(), credential, name, Revision(0)).await?
            }
        };
        Ok(self.answered(&verdict))
    }

    fn under_way(&self) -> usize {
        lock(&self.verifier.questions).len()
    }
}

#[tokio::test]
async fn what_is_remembered_is_answered_without_asking() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let bench = bench::<KeysAuthority>().await;
    let (good, unknown) = (key(10), key(20));
    bench.played.says(&good, Verdict::Valid(program(1, EXPIRY)));
    for (text, says) in [(&good, "valid"), (&unknown, "unknown")] {
        for _ in 0..2 {
            assert_eq!(bench.decide(text).await, Ok(says));
        }
    }
    assert_eq!(bench.played.asked(), [(Some(MEMBER), 1); 2]);
    let look = |text| bench.look(text).expect("it is known");
    assert_eq!(look(&good).valid().unwrap().key().unwrap().name, "ci");
    assert_eq!(look(&unknown).code(), "unknown", "a refusal is remembered, too");
    assert_eq!(look("sk_").code(), "malformed");
    assert!(bench.look(&key(30)).is_none(), "nobody has asked about this one");
    for (counter, count) in [
        ("latchkey_cache_lookups_total key hit", 4),
        ("latchkey_cache_lookups_total key miss", 2),
        ("latchkey_verifications_total key valid", 3),
        ("latchkey_verifications_total key unknown", 3),
        ("latchkey_verifications_total key malformed", 1),
    ] {
        assert_eq!(counted.counter(counter), count, "{counter}");
    }
}

#[tokio::test]
async fn who_looks_and_then_asks_is_told_what_a_decision_says_and_counts_once() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let bench = bench::<IdentityAuthority>().await;
    bench.played.says(TOKEN, Verdict::Valid(person(true)));
    let unknown = "e30.e30.e30";
    for (text, says) in [(TOKEN, "valid"), (unknown, "unknown"), ("a.b", "malformed")] {
        for _ in 0..2 {
            assert_eq!(bench.look_or_ask(text).await, Ok(says));
        }
        assert_eq!(bench.decide(text).await, Ok(says));
    }
    assert_eq!(bench.played.asked(), [(Some(MEMBER), 1); 2]);
    for (counter, count) in [
        ("latchkey_cache_lookups_total token hit", 4),
        ("latchkey_cache_lookups_total token miss", 2),
        ("latchkey_verifications_total token valid", 3),
        ("latchkey_verifications_total token unknown", 3),
        ("latchkey_verifications_total token malformed", 3),
    ] {
        assert_eq!(counted.counter(counter), count, "{counter}");
    }
}

#[tokio::test]
async fn a_text_without_the_form_of_a_credential_is_refused_without_asking() {
    let bench = bench::<KeysAuthority>().await;
    assert_eq!(bench.decide(&format!("{}x", key(10))).await, Ok("malformed"));
    assert_eq!(bench.played.asked(), []);
}

#[tokio::test]
async fn an_answer_without_a_lease_is_asked_for_again() {
    let mut bench = stranger::<KeysAuthority>().await;
    bench.join();
    let (text, long_ago) = (key(10), 3_000 * Moment::MILLISECOND);
    let asked = Moment(bench.verifier.now().0 - long_ago);
    let question = bench.verifier.memory.ask(asked).unwrap();
    let hash = CredentialHash::of(&text);
    let valid = Judged(Verdict::Valid(Remembered::new(program(1, EXPIRY))));
    let reply = Reply { read_at: read_at(AT), verdict: valid };
    bench.verifier.memory.take(&question, hash, reply, asked, Timestamp(0)).unwrap();
    // It has been revoked since, and nobody has told this member.
    bench.played.says(&text, Verdict::Revoked);
    assert_eq!(bench.decide(&text).await, Ok("revoked"));
    assert_eq!(bench.played.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_is_never_older_than_what_is_asked_for() {
    let unsaid = Err(CallError::Unavailable);
    let revisions = [(3, Ok("unknown"), 1), (4, Ok("unknown"), 1), (5, unsaid, MAX_QUESTIONS)];
    for (min_revision, says, questions) in revisions {
        let bench = bench::<KeysAuthority>().await;
        assert_eq!(bench.decide_since(&key(10), min_revision).await, says, "{min_revision}");
        assert_eq!(bench.played.asked(), vec![(Some(MEMBER), 1); questions], "{min_revision}");
    }
    let bench = bench::<KeysAuthority>().await;
    bench.decide(&key(10)).await.unwrap();
    bench.played.is_at(5);
    bench.played.says(&key(10), Verdict::Revoked);
    assert_eq!(bench.decide_since(&key(10), 4).await, Ok("unknown"), "from memory");
    assert_eq!(bench.decide_since(&key(10), 5).await, Ok("revoked"));
}

#[tokio::test]
async fn nor_is_one_that_nobody_remembers() {
    for (min_revision, says) in
        [(3, Ok("unknown")), (4, Ok("unknown")), (5, Err(CallError::Unavailable))]
    {
        let bench = stranger::<KeysAuthority>().await;
        assert_eq!(bench.decide_since(&key(10), min_revision).await, says, "{min_revision}");
        assert_eq!(bench.played.asked(), [(None, 1)], "{min_revision}");
    }
}

#[tokio::test]
async fn who_is_no_member_any_more_tells_its_keeper_and_asks_as_nobody() {
    let mut bench = bench::<KeysAuthority>().await;
    bench.played.script(|it| it.knows_members = false);
    bench.played.says(&key(10), Verdict::Valid(program(1, EXPIRY)));
    assert_eq!(bench.decide(&key(10)).await, Ok("valid"));
    assert_eq!(bench.played.asked(), [(Some(MEMBER), 1), (None, 1)]);
    let told = bench.told.so_far().await;
    assert!(matches!(told[..], [Message::Expelled(MEMBER)]), "{}", told.len());
    bench.played.script(|it| it.knows_nobody = false);
    assert_eq!(bench.decide(&key(20)).await, Err(CallError::Unreadable));
}

#[tokio::test]
async fn an_answer_of_another_history_is_not_taken_and_the_keeper_is_told() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let mut bench = bench::<KeysAuthority>().await;
    let other = Epoch { made: 2, timeline: 1 };
    bench.played.script(|it| it.read_at.epoch = other);
    bench.played.says(&key(10), Verdict::Valid(program(1, EXPIRY)));
    assert_eq!(bench.decide(&key(10)).await, Err(CallError::Unavailable));
    let told = bench.told.so_far().await;
    assert_eq!(told.len(), MAX_QUESTIONS);
    assert!(told.iter().all(|it| matches!(it, Message::OtherEpoch(epoch) if *epoch == other)));
    assert_eq!(counted.counter("latchkey_cache_fills_refused_total key"), 4);
    assert_eq!(counted.counter("latchkey_verifications_total key no_verdict"), 1);
}

#[tokio::test]
async fn a_token_that_no_change_would_name_is_answered_and_not_remembered() {
    let bench = bench::<IdentityAuthority>().await;
    bench.played.says(TOKEN, Verdict::Valid(person(false)));
    for asked in 1..=2 {
        assert_eq!(bench.decide(TOKEN).await, Ok("valid"));
        // As a member, and then by itself: an answer that others wait for may be older than a request.
        assert_eq!(bench.played.asked(), [(Some(MEMBER), 1), (None, 1)].repeat(asked));
    }
    assert!(bench.look(TOKEN).is_none());
    bench.played.says(TOKEN, Verdict::Valid(person(true)));
    for _ in 0..2 {
        assert_eq!(bench.decide(TOKEN).await, Ok("valid"));
    }
    assert_eq!(bench.played.asked().len(), 5);
}

#[tokio::test]
async fn what_has_expired_by_the_clock_here_is_refused_at_once() {
    let bench = bench::<KeysAuthority>().await;
    bench.verifier.clock.advance(EXPIRY.0);
    bench.played.says(&key(10), Verdict::Valid(program(1, EXPIRY)));
    assert_eq!(bench.decide(&key(10)).await, Ok("expired"));
    assert_eq!(bench.played.asked().len(), 1);
    bench.verifier.clock.advance(-1);
    assert_eq!(bench.decide(&key(10)).await, Ok("valid"));
}

#[tokio::test]
async fn a_reply_that_a_change_has_overtaken_is_asked_for_again() {
    for tag in [Tag::Credential(CredentialHash::of(&key(10))), Tag::Shared(SharedTag::Owner(OWNER))]
    {
        let mut bench = bench::<KeysAuthority>().await;
        let played = Arc::clone(&bench.played);
        played.says(&key(10), Verdict::Valid(program(1, EXPIRY)));
        played.hold();
        let text = key(10);
        let mut deciding = Box::pin(async {
            let text = CredentialText::of(&text);
            bench.verifier.decide(&patient(), text, Revision::default()).await
        });
        assert!((&mut deciding).now_or_never().is_none());
        until(|| played.asked().len() == 1).await;
        played.says(&key(10), Verdict::Revoked);
        played.is_at(5);
        // The reply was read before this.
        let change = Invalidation { revision: Revision(5), tag };
        let applied =
            bench.keeper.invalidate(&*bench.verifier.memory, &Invalidate { epoch: HERE, change });
        assert!(applied.is_some());
        played.answer(2);
        assert_eq!(deciding.await.unwrap().code(), "revoked", "{tag:?}");
        assert_eq!(played.asked().len(), 2);
    }
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_a_question() {
    let bench = bench::<KeysAuthority>().await;
    bench.played.says(&key(10), Verdict::Valid(program(1, EXPIRY)));
    bench.played.hold();
    let (text, other) = (key(10), key(20));
    let answering = async {
        until(|| bench.under_way() == 2).await;
        bench.played.answer(2);
    };
    let (one, two, three, ()) =
        tokio::join!(bench.decide(&text), bench.decide(&text), bench.decide(&other), answering);
    assert_eq!((one, two, three), (Ok("valid"), Ok("valid"), Ok("unknown")));
    let questions: usize = bench.played.asked().iter().map(|(_, questions)| questions).sum();
    assert_eq!((questions, bench.under_way()), (2, 0));
}

#[tokio::test]
async fn a_question_is_over_when_the_last_who_waited_gives_up() {
    let bench = bench::<KeysAuthority>().await;
    bench.played.hold();
    let text = key(10);
    let (mut one, mut two) = (Box::pin(bench.decide(&text)), Box::pin(bench.decide(&text)));
    assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
    assert_eq!(bench.under_way(), 1);
    drop(one);
    assert_eq!(bench.under_way(), 1, "somebody waits");
    drop(two);
    assert_eq!(bench.under_way(), 0);
    let hurried = Context::new(RequestId::new("hurried"), Duration::ZERO);
    let decided = bench.verifier.decide(&hurried, CredentialText::of(&text), Revision(0)).await;
    assert_eq!(decided.unwrap_err(), CallError::Timeout);
    assert_eq!(bench.under_way(), 0);
}

fn asking(asking: impl Future<Output = Result<Response, CallError>> + Send + 'static) -> InFlight {
    let boxed: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(asking);
    boxed.shared()
}

#[tokio::test]
async fn nobody_takes_another_s_question_off_the_table_and_nobody_joins_one_that_is_over() {
    let (hash, questions) = (CredentialHash([7; 32]), Questions::default());
    let guard = |in_flight: &InFlight| WaiterGuard {
        in_flight: in_flight.clone(),
        hash,
        questions: Arc::clone(&questions),
    };
    let over = asking(async { Err(CallError::Fault) });
    over.clone().await.map(drop).unwrap_err();
    let later = asking(pending());
    lock(&questions).insert(hash, later.clone());
    drop(guard(&over));
    assert!(lock(&questions).get(&hash).is_some_and(|at| at.ptr_eq(&later)));
    lock(&questions).insert(hash, over.clone());
    // Somebody else has not looked at the answer yet: whoever comes now may not believe it.
    drop(guard(&over));
    assert!(lock(&questions).is_empty());
}
