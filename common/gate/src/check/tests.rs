//! The check against an authority that each test plays, and a memory that is filled by the rules.

use std::collections::VecDeque;
use std::sync::Mutex;

use latchkey_contract::lease::{Epoch, Invalidation, Joined, Missed, ReadAt, Renewed, Tag};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{AllowedIps, Owner, Principal, Stored, UserId};
use latchkey_revocation::{Ask, Bounds, Capacity, Keeper, Next, Reply};
use latchkey_runtime::Root;
use latchkey_runtime::supervisor::Running;

use super::*;
use crate::played::{Counted, HERE, Told, program, read_at, until};
use crate::remembered::Judged;

const HASH: CredentialHash = CredentialHash([7; 32]);
const MEMBER: MemberId = MemberId([1; 16]);

/// What an authority says to everybody, as of one snapshot: one thing after the other, and the last from then on.
type Script = Arc<Mutex<VecDeque<(ReadAt, Verdict<Remembered>)>>>;

/// Says it.
struct Says(Script);

impl Work for Says {
    type Item = (CredentialHash, Option<MemberId>);
    type Answer = Result<Answer, CallError>;
    type Error = CallError;
    const MAX_WEIGHT: usize = 1;
    const IN_FLIGHT: usize = 1;
    const MAX_WAITING: usize = 8;

    fn weight(_: &Self::Item) -> usize {
        1
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        assert!(items.iter().all(|(_, member)| member.is_none()), "it is asked as nobody");
        let mut script = self.0.lock().unwrap();
        let now = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        Ok(vec![Ok(MemberResult::Member(now.unwrap())); items.len()])
    }
}

struct Bench {
    check: Arc<Check<Says>>,
    authority: Script,
    keeper: Keeper,
    told: Told,
    _running: Running,
}

fn person() -> Remembered {
    until_then(Timestamp(i64::MAX))
}

fn until_then(expires_at: Timestamp) -> Remembered {
    Remembered::new(program(1, expires_at))
}

/// A member that has applied everything up to 4, and remembers what `verdict` says.
async fn bench(verdict: Verdict<Remembered>) -> Bench {
    let memory = Arc::new(Memory::new(&Bounds::default(), Capacity::default()));
    let authority = Arc::new(Mutex::new([(read_at(4), Verdict::Valid(person()))].into()));
    let told = Told::new().await;
    let (asker, child) = BatchClient::new("ask", Says(Arc::clone(&authority)));
    let running = Root::start(vec![child]).await.unwrap();
    let (keeper, clock) = (Keeper::new(&Bounds::default()), Clock::manual(0));
    let check = Arc::new(Check::new("key", memory, told.address.clone(), asker, clock));
    let mut bench = Bench { check, authority, keeper, told, _running: running };
    let Next::Send(Ask::Join { nonce, .. }) = bench.keeper.next(bench.now(), || MEMBER) else {
        panic!("it joins first")
    };
    let joined = Joined { epoch: HERE, revision: Revision(4) };
    bench.keeper.joined(&*bench.check.memory, nonce, joined);
    bench.renew(4, Vec::new());
    let question = bench.check.memory.ask(bench.now()).unwrap();
    let reply = Reply { read_at: read_at(4), verdict: Judged(verdict) };
    bench.check.memory.take(&question, HASH, reply, bench.now(), Timestamp(0)).unwrap();
    bench
}

impl Bench {
    fn now(&self) -> Moment {
        Moment(self.check.clock.lease_nanos())
    }

    fn renew(&mut self, revision: i64, changes: Vec<Invalidation<CredentialHash>>) {
        self.keeper.reconnected();
        let now = self.now();
        let Next::Send(Ask::Renew { nonce, .. }) = self.keeper.next(now, || MEMBER) else {
            panic!("it renews")
        };
        let (epoch, revision) = (HERE, Revision(revision));
        let renewed = Renewed { epoch, revision, missed: Missed::These(changes) };
        self.keeper.renewed(&*self.check.memory, nonce, MemberResult::Member(renewed), now);
    }

    fn says(&self, read_at: ReadAt, verdict: Verdict<Remembered>) {
        *self.authority.lock().unwrap() = [(read_at, verdict)].into();
    }

    /// Counts answers from memory, of a credential that ends then, until one has begun a check or there are enough
    /// for two; how many.
    fn answers_until_a_check(&self, expires_at: Timestamp) -> u64 {
        let said = Verdict::Valid(until_then(expires_at));
        for answers in 1..=2 * EVERY {
            self.check.answered(HASH, &said, || HASH);
            if self.check.under_way.try_enter().is_none() {
                return answers;
            }
        }
        2 * EVERY
    }

    /// Waits until no check is under way.
    async fn is_over(&self) {
        until(|| self.check.under_way.try_enter().is_some()).await;
    }

    async fn contradiction(&self, said: &Said) -> Option<&'static str> {
        self.check.contradiction(HASH, said, HASH).await
    }
}

/// What everybody was granted.
fn all() -> Arc<Grants> {
    Arc::clone(&person().grants)
}

fn valid() -> Verdict<Remembered> {
    Verdict::Valid(person())
}

fn inactive<P>() -> Verdict<P> {
    let (owner, expires_at) = (Owner::User(UserId(2)), Timestamp(i64::MAX));
    Verdict::Inactive(Some(Stored { owner, expires_at }.into()))
}

fn revoke(revision: i64) -> Vec<Invalidation<CredentialHash>> {
    let tag = Tag::Credential(HASH);
    vec![Invalidation { revision: Revision(revision), tag }]
}

#[tokio::test]
async fn what_agrees_or_has_only_expired_is_no_contradiction() {
    let bench = bench(valid()).await;
    for verdict in [Verdict::Valid(person()), Verdict::Expired(None)] {
        bench.says(read_at(4), verdict);
        assert_eq!(bench.contradiction(&Verdict::Valid(all())).await, None);
    }
}

#[tokio::test]
async fn an_accept_that_the_authority_denies_with_nothing_left_to_apply_is_one() {
    let bench = bench(valid()).await;
    for verdict in [Verdict::Revoked, Verdict::Unknown, inactive(), Verdict::Malformed] {
        bench.says(read_at(4), verdict.clone());
        assert_eq!(bench.contradiction(&Verdict::Valid(all())).await, Some(verdict.code()));
    }
}

#[tokio::test]
async fn an_accept_by_which_more_or_less_is_granted_is_one_and_a_note_is_none() {
    let bench = bench(valid()).await;
    let granting = |grants| {
        let principal = program(1, Timestamp(i64::MAX));
        Verdict::Valid(Remembered::new(Principal { grants: Arc::new(grants), ..principal }))
    };
    let allowed_ips = AllowedIps::of(["10.0.0.0/8"]).unwrap();
    for grants in [
        Grants { scopes: Scopes::of(["orders:read"]).unwrap(), ..Grants::default() },
        Grants { allowed_ips, ..Grants::everything() },
        Grants { environment: Some("live".into()), ..Grants::everything() },
    ] {
        bench.says(read_at(4), granting(grants));
        assert_eq!(bench.contradiction(&Verdict::Valid(all())).await, Some(OTHER_RIGHTS));
    }
    let noted = Grants { external_id: Some("x".into()), ..Grants::everything() };
    bench.says(read_at(4), granting(noted));
    assert_eq!(bench.contradiction(&Verdict::Valid(all())).await, None);
}

#[tokio::test]
async fn a_refusal_of_what_is_good_is_one() {
    let revoked = bench(Verdict::Revoked).await;
    assert_eq!(revoked.contradiction(&Verdict::Revoked).await, Some("valid"));
    let disabled = bench(inactive()).await;
    assert_eq!(disabled.contradiction(&inactive()).await, Some("valid"));
    let unknown = bench(Verdict::Unknown).await;
    assert_eq!(unknown.contradiction(&Verdict::Unknown).await, Some("valid"));
    unknown.says(read_at(4), Verdict::Revoked);
    assert_eq!(unknown.contradiction(&Verdict::Unknown).await, None);
}

#[tokio::test]
async fn a_revoke_on_its_way_is_none_and_one_that_a_renewal_left_out_is() {
    for (changes, is_against) in [(revoke(5), false), (Vec::new(), true)] {
        let mut bench = bench(valid()).await;
        // The revoke is on disk; the member has heard nothing of it.
        bench.says(read_at(5), Verdict::Revoked);
        let check = Arc::clone(&bench.check);
        let said = Verdict::Valid(all());
        let checking = check.contradiction(HASH, &said, HASH);
        let renewal = async {
            // It has been asked by then, and looks again after this.
            sleep(PAUSE / 2).await;
            bench.renew(5, changes);
        };
        let (against, ()) = tokio::join!(checking, renewal);
        assert_eq!(against.is_some(), is_against);
    }
}

#[tokio::test]
async fn another_history_is_none() {
    let mut bench = bench(valid()).await;
    let epoch = Epoch { made: 2, timeline: 1 };
    bench.says(ReadAt { epoch, revision: Revision(9) }, Verdict::Unknown);
    assert_eq!(bench.contradiction(&Verdict::Valid(all())).await, None);
    let told = bench.told.so_far().await;
    assert!(matches!(told[..], [Message::OtherEpoch(told)] if told == epoch));
}

#[tokio::test]
async fn one_of_so_many_answers_is_checked_and_one_at_a_time() {
    let mut bench = bench(valid()).await;
    let late = Timestamp(i64::MAX);
    assert_eq!(bench.answers_until_a_check(late), EVERY);
    // The next would be due while the first has not begun to run.
    let said = Verdict::Valid(person());
    for _ in 0..EVERY {
        bench.check.answered(HASH, &said, || HASH);
    }
    bench.is_over().await;
    assert_eq!(bench.answers_until_a_check(late), EVERY);
    bench.is_over().await;
    assert!(bench.told.so_far().await.is_empty(), "memory is right");
}

#[tokio::test]
async fn what_ends_by_itself_soon_is_not_checked() {
    const FIVE_MINUTES: i64 = 300_000;
    for (expires_at, answers) in [(FIVE_MINUTES - 1, 2 * EVERY), (FIVE_MINUTES, EVERY)] {
        let bench = bench(valid()).await;
        assert_eq!(bench.answers_until_a_check(Timestamp(expires_at)), answers);
        bench.is_over().await;
    }
}

#[tokio::test]
async fn two_contradictions_one_after_the_other_are_an_alarm_and_everything_is_doubted() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let mut bench = bench(valid()).await;
    let (denied, good) = ((read_at(4), Verdict::Revoked), (read_at(4), valid()));
    for (script, is_alarm) in [
        (vec![denied.clone(), good.clone()], false),
        (vec![good.clone(), denied.clone()], false),
        (vec![denied.clone(), denied, good], true),
    ] {
        *bench.authority.lock().unwrap() = script.into();
        bench.check.run(HASH, Verdict::Valid(all()), HASH).await;
        let told = bench.told.so_far().await;
        assert_eq!(matches!(told[..], [Message::Doubted(MEMBER)]), is_alarm);
        assert_eq!(told.is_empty(), !is_alarm);
        let alarms = counted.counter("latchkey_cache_disagreements_total key");
        assert_eq!(alarms, u64::from(is_alarm));
    }
    // Two questions, then one, then two.
    assert_eq!(counted.counter("latchkey_cache_checks_total key"), 5);
}

#[test]
fn only_a_denial_of_what_was_accepted_and_an_acceptance_of_what_was_denied_contradict() {
    let expired = || Said::Expired(None);
    let said = [Verdict::Valid(all()), expired(), inactive(), Verdict::Unknown, Verdict::Revoked];
    // By an authority that says that it is good, that it has expired, and that it was revoked.
    let against = [[false, false, true], [false; 3], [true, false, false]];
    let against = [against[0], against[1], against[2], against[2], against[2]];
    for (said, against) in said.iter().zip(against) {
        let answers = [Verdict::Valid(all()), expired(), Verdict::Revoked];
        assert_eq!(answers.map(|answer| contradicts(said, &answer).is_some()), against, "{said:?}");
    }
}
