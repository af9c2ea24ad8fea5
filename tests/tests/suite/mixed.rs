//! Two releases side by side: replicas that speak this contract and replicas that speak the one before are
//! exchanged for each other one by one, in any order, under load.

#![cfg(debug_assertions)]

mod restrictions;

use std::time::{Duration, Instant};

use e2e::nemesis::Dice;
use e2e::tap::Tap;
use e2e::traffic::Traffic;
use e2e::{Cluster, Service, database, poll};
use latchkey_contract::authority::{Authority, Invalidating, WaiterId};
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::{Acknowledge, Invalidate, Invalidation, Revision, Tag};
use latchkey_contract::wire::{self, CONTRACT, Contracts, PREVIOUS};
use sqlx::{Connection, PgConnection};
use tokio::task::block_in_place;

/// Has a process speak and read as the release before would. A release build does not know it.
const BEFORE: &str = "LATCHKEY_TEST_PREVIOUS_CONTRACT";
/// Replicas of each service.
const EACH: usize = 2;
/// For how long after the begin of a restart a request that fails is one that this has cost. What a busy machine does
/// not answer in time comes at any time.
const LEAVING: Duration = Duration::from_secs(2);
/// Bound on whatever comes back by itself.
const RECOVERY: Duration = Duration::from_mins(1);
/// What a process says of a message that it should have understood.
const MISUNDERSTOOD: [&str; 7] = [
    "request cannot be read",
    "reply cannot be read",
    "acknowledgement cannot be read",
    "invalidation cannot be read",
    "too far away",
    "a reply cannot be translated for a sender",
    "a reply of the previous release cannot be translated",
];

/// Exchanges every replica for one of the other release, each after the other, and gives what they had logged, and
/// when each restart began.
async fn exchange(
    cluster: &mut Cluster,
    traffic: &Traffic,
    before: bool,
    dice: &mut Dice,
) -> (Vec<String>, Vec<Instant>) {
    let mut order: Vec<(Service, usize)> = Service::ALL
        .into_iter()
        .flat_map(|service| (0..EACH).map(move |number| (service, number)))
        .collect();
    dice.shuffle(&mut order);
    let (mut logs, mut begins) = (Vec::new(), Vec::new());
    for (service, number) in order {
        let replica = cluster.replica_mut(service, number);
        logs.extend(replica.logs());
        replica.set(BEFORE, if before { "on" } else { "off" });
        begins.push(Instant::now());
        block_in_place(|| replica.restart());
        traffic.round().await;
    }
    (logs, begins)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_two_releases_are_exchanged_under_load_and_answer_as_one() {
    let seed = u64::from(std::process::id());
    let mut dice = Dice::of(seed);
    let mut builder = Cluster::builder().own_postgres().set(BEFORE, "on").cheap_passwords();
    for service in Service::ALL {
        builder = builder.replicas(service, EACH);
    }
    let mut cluster = block_in_place(|| builder.start());
    let traffic = Traffic::start(cluster.edges());
    traffic.full_service(RECOVERY).await;

    let begin = Instant::now();
    let (mut logs, mut begins) = exchange(&mut cluster, &traffic, false, &mut dice).await;
    let (further, later) = exchange(&mut cluster, &traffic, true, &mut dice).await;
    logs.extend(further);
    begins.extend(later);
    traffic.full_service(RECOVERY).await;
    let report = traffic.finish(begin).await;

    logs.extend(cluster.logs());
    let is_misunderstood = |line: &&String| MISUNDERSTOOD.iter().any(|text| line.contains(text));
    let misunderstood: Vec<_> = logs.iter().filter(is_misunderstood).collect();
    assert!(misunderstood.is_empty(), "seed {seed}: {misunderstood:#?}");
    let met = logs.iter().filter(|line| line.contains("answered by another release")).count();
    assert!(met > 0, "seed {seed}: nobody met another release");
    assert!(report.wrong.is_empty() && report.lost.is_empty(), "seed {seed}: {report:#?}");
    assert!(report.acknowledged > 0 && report.broken == 0, "seed {seed}: {report:#?}");
    // What a restart may cost: a request that reaches a service in the moment it leaves the bus.
    let unavailable = report.unavailable_after(&begins, LEAVING);
    assert!(unavailable <= 2 * begins.len(), "seed {seed}: {report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_told_of_a_kind_of_change_it_does_not_know_forgets_everything_and_confirms()
{
    let cluster = block_in_place(|| Cluster::builder().unhurried().start());
    // Where nobody is a member yet, nobody is told.
    cluster.remembers(0).await;
    // Nothing else is to change meanwhile.
    database::until_told(cluster.database(Service::Keys)).await;
    let (api, url) = (cluster.api(0), cluster.bus_url());
    let user = api.user().await;
    let stays = api.key(&user.token, "stays").await;
    let ends = api.key(&user.token, "ends").await;
    let later = api.key(&user.token, "ends later").await;
    let mut published = Tap::on(&url, KeysAuthority::INVALIDATIONS).await;
    api.revoke(&user.token, ends.id).await.expect(200);
    let (_, last): (_, Invalidating) =
        wire::decode(&published.next().await.payload, Contracts::OWN).unwrap();
    let Invalidate { epoch, change: Invalidation { revision: Revision(last), .. } } =
        last.invalidate;
    api.as_service(&stays.key).await.expect(200);

    // As a newer key service would publish its next change.
    let (waiter, revision) = (WaiterId([9; 8]), Revision(last + 1));
    let change = Invalidation { revision, tag: Tag::All };
    let message = Invalidating { invalidate: Invalidate { epoch, change }, waiter };
    let mut bytes = wire::encode(&message, CONTRACT).unwrap();
    let kind = bytes.len() - size_of::<WaiterId>() - 2;
    assert_eq!(bytes[kind..kind + 2], [2, 0], "everything, which has no name");
    bytes[kind] = 99;
    let mut confirmed = Tap::on(&url, &waiter.subject::<KeysAuthority>("*")).await;
    let client = async_nats::connect(&url).await.unwrap();
    client.publish(KeysAuthority::INVALIDATIONS, bytes.into()).await.unwrap();
    let (_, acknowledge): (_, Acknowledge) =
        wire::decode(&confirmed.next().await.payload, Contracts::OWN).unwrap();
    assert_eq!((acknowledge.epoch, acknowledge.revision), (epoch, revision));

    // What was read before that change counts no more, and there is nothing newer yet.
    assert_eq!(api.as_service(&stays.key).await.status, 503);
    api.revoke(&user.token, later.id).await.expect(200);
    api.as_service(&stays.key).await.expect(200);
    api.as_service(&later.key).await.unauthenticated();
}

/// The contract number of each of the key service's members, in either state.
async fn contracts(cluster: &Cluster) -> Vec<i64> {
    let connected = PgConnection::connect(cluster.database(Service::Keys)).await;
    let query = sqlx::query_scalar("SELECT contract FROM keys_members ORDER BY contract");
    query.fetch_all(&mut connected.expect("the database is there")).await.expect("numbers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_in_the_lowest_contract_number_among_the_members() {
    let builder = Cluster::builder().unhurried().replicas(Service::Edge, 2);
    let mut cluster = block_in_place(|| builder.start());
    let (api, [new, old]) = (cluster.api(0), [CONTRACT, PREVIOUS]);
    let user = api.user().await;
    for (before, among, told) in [("on", [old, new], old), ("off", [new, new], new)] {
        let edge = cluster.replica_mut(Service::Edge, 1);
        edge.set(BEFORE, before);
        block_in_place(|| edge.restart());
        poll::until_async("both have joined, and nobody else is waited for", RECOVERY, || async {
            (contracts(&cluster).await == among.map(i64::from)).then_some(())
        })
        .await;
        for edge in 0..2 {
            cluster.remembers(edge).await;
        }
        let mut invalidations = Tap::on(&cluster.bus_url(), KeysAuthority::INVALIDATIONS).await;
        let key = api.key(&user.token, "ends").await;
        let body = api.revoke(&user.token, key.id).await.expect(200);
        assert_eq!(body["receipt"]["edges_confirmed"], 2, "both have read it: {body}");
        let message = invalidations.next().await;
        assert_eq!(message.payload[..2], told.to_le_bytes(), "{before}: {body}");
    }
}
