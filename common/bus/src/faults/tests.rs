//! Messages fare as the plan says, and a bus without a plan is as it was.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use latchkey_contract::keys::Ready;
use latchkey_contract::{Failure, Rpc};

use super::*;
use crate::{Bus, BusError, Routes};

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
const AT_ONCE: Duration = Duration::ZERO;

/// The same for every message.
struct Plan {
    request: Vec<Delivery>,
    publication: Vec<Duration>,
    seen: Mutex<Vec<(u32, Vec<u32>)>>,
}

impl Faults for Plan {
    fn request(&self, sent: &Sent<'_>) -> Vec<Delivery> {
        self.seen.lock().unwrap().push((sent.from, sent.to.to_vec()));
        self.request.clone()
    }

    fn publication(&self, _: &str, _: u32, _: u32) -> Vec<Duration> {
        self.publication.clone()
    }
}

fn plan(request: &[Delivery], publication: &[Duration]) -> Arc<Plan> {
    let (request, publication) = (request.to_vec(), publication.to_vec());
    Arc::new(Plan { request, publication, seen: Mutex::default() })
}

fn to(replica: usize, late: Duration, answer: Option<Duration>) -> Delivery {
    Delivery { to: replica, late, answer }
}

/// Counts what it is asked, and refuses from the second time on.
fn routes(asked: &Arc<AtomicU32>) -> Routes {
    let asked = Arc::clone(asked);
    Routes::new("test", "0.0.0", "").on::<Ready, _, _>(move |_, Ready| {
        let before = asked.fetch_add(1, Ordering::SeqCst);
        async move { if before == 0 { Ok(()) } else { Err(Failure::Overloaded) } }
    })
}

fn context(timeout: Duration) -> Context {
    Context::new(RequestId::new("test"), timeout)
}

async fn asked_so_often(asked: &AtomicU32, times: u32) {
    let reached = async {
        while asked.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, reached).await.unwrap();
}

#[tokio::test]
async fn replicas_stand_side_by_side_and_the_plan_says_which_is_asked() {
    let plan = plan(&[to(1, AT_ONCE, Some(AT_ONCE))], &[]);
    let bus = Bus::with_faults(plan.clone());
    let asked = [Arc::default(), Arc::default()];
    let _first = bus.of_process(1).serve(routes(&asked[0])).await.unwrap();
    let second = bus.of_process(2).serve(routes(&asked[1])).await.unwrap();
    let caller = bus.of_process(7);
    assert_eq!(caller.call(&context(SOON), &Ready).await, Ok(()));
    let counts: Vec<u32> = asked.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    assert_eq!(
        (counts, plan.seen.lock().unwrap().as_slice()),
        (vec![0, 1], &[(7, vec![1, 2])][..])
    );
    second.drain().await;
    assert!(caller.call(&context(AT_ONCE), &Ready).await.is_err());
    assert_eq!(plan.seen.lock().unwrap().last(), Some(&(7, vec![1])));
}

#[tokio::test]
async fn a_request_may_be_worked_on_twice_and_answered_once() {
    let late = Duration::from_millis(20);
    let bus =
        Bus::with_faults(plan(&[to(0, late, Some(AT_ONCE)), to(0, AT_ONCE, Some(AT_ONCE))], &[]));
    let asked = Arc::default();
    let _serving = bus.serve(routes(&asked)).await.unwrap();
    assert_eq!(bus.call(&context(SOON), &Ready).await, Ok(()));
    asked_so_often(&asked, 2).await;
}

#[tokio::test]
async fn what_is_lost_either_way_is_waited_for_until_the_deadline_and_may_be_worked_on_after_it() {
    // Much later than the caller gives up, on any machine.
    let late = Duration::from_secs(5);
    for (deliveries, times) in
        [(vec![], 0), (vec![to(0, AT_ONCE, None)], 1), (vec![to(0, late, Some(AT_ONCE))], 1)]
    {
        let bus = Bus::with_faults(plan(&deliveries, &[]));
        let asked = Arc::default();
        let _serving = bus.serve(routes(&asked)).await.unwrap();
        let short = context(late / 100);
        let answer = bus.call(&short, &Ready).await;
        assert_eq!(answer, Err(CallError::Timeout), "{deliveries:?}");
        asked_so_often(&asked, times).await;
    }
}

#[tokio::test]
async fn a_publication_is_heard_as_often_as_the_plan_says() {
    let late = Duration::from_millis(5);
    for copies in [vec![], vec![AT_ONCE], vec![late, AT_ONCE, late]] {
        let bus = Bus::with_faults(plan(&[], &copies));
        let heard = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&heard);
        let hear: MessageHandler = Arc::new(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let _subscription = bus.subscribe("a.*", hear, Box::new(|| ())).await.unwrap();
        bus.publish("a.b", Bytes::new()).await.unwrap();
        asked_so_often(&heard, u32::try_from(copies.len()).unwrap()).await;
    }
}

#[tokio::test]
async fn without_faults_a_subject_is_served_once() {
    let bus = Bus::local();
    let asked = Arc::default();
    let _serving = bus.serve(routes(&asked)).await.unwrap();
    let second = bus.of_process(1).serve(routes(&asked)).await;
    assert!(matches!(second, Err(BusError::SubjectTaken(subject)) if subject == Ready::SUBJECT));
    assert_eq!(bus.call(&context(SOON), &Ready).await, Ok(()));
}
