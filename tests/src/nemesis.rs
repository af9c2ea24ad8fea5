//! Random faults on a whole cluster, from a seed that can be given again, under clients who end credentials
//! and go on trying them on every edge.

mod ledger;
mod load;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use crate::cluster::Builder;
use crate::{Cluster, Service, poll};
pub use ledger::{Credential, Kind, Ledger, Said, Verdict};
pub use load::{Load, attempt, end, lost, prepare};

/// Bound on any one step.
const STEP: Duration = Duration::from_mins(2);
/// How late a slow bus is. Longer than half of the lease that [`builder`] sets: some renewals come too late.
const DELAY: Duration = Duration::from_millis(150);
/// How late the bus of a slow service is: longer than its askers' patience.
const LONG_DELAY: Duration = Duration::from_millis(600);
/// How many credentials have to end between two faults.
const BETWEEN: usize = 6;

/// The lease in [`builder`]'s clusters, in milliseconds. The wait that belongs to it is 561 ms.
pub const LEASE_MS: u64 = 500;
/// Longer than the lease and the wait.
pub const LONG: Duration = Duration::from_millis(900);

/// One way to break a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 an edge.
    KillEdge,
    /// Stop an edge for longer than the lease and the wait.
    StopEdge,
    /// Cut an edge off the bus for longer than the lease and the wait.
    CutEdge,
    /// Whatever goes between an edge and the bus is late.
    SlowEdge,
    /// kill -9 a key service.
    KillKeys,
    /// kill -9 a key service in the moment in which a revoke is seen under way.
    KillKeysInRevoke,
    /// Stop a key service, with whatever lies in it.
    StopKeys,
    /// Cut a key service off the bus.
    CutKeys,
    /// Whatever goes between a key service and the bus is late.
    SlowKeys,
    /// kill -9 an identity service.
    KillIdentity,
    /// Stop an identity service, with whatever lies in it.
    StopIdentity,
    /// Cut an identity service off the bus.
    CutIdentity,
    /// Whatever goes between an identity service and the bus is late.
    SlowIdentity,
    /// kill -9 nats-server.
    KillNats,
    /// Stop nats-server for longer than the lease.
    StopNats,
    /// kill -9 Postgres, every process of it.
    KillPostgres,
}

/// Numbers that look random, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// What was done, by kind.
pub type Done = BTreeMap<Fault, usize>;

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::KillEdge,
        Self::StopEdge,
        Self::CutEdge,
        Self::SlowEdge,
        Self::KillKeys,
        Self::KillKeysInRevoke,
        Self::StopKeys,
        Self::CutKeys,
        Self::SlowKeys,
        Self::KillIdentity,
        Self::StopIdentity,
        Self::CutIdentity,
        Self::SlowIdentity,
        Self::KillNats,
        Self::StopNats,
        Self::KillPostgres,
    ];

    /// What it is done to, unless that is the bus or the database.
    fn service(self) -> Service {
        match self {
            Self::KillEdge | Self::StopEdge | Self::CutEdge | Self::SlowEdge => Service::Edge,
            Self::KillIdentity | Self::StopIdentity | Self::CutIdentity | Self::SlowIdentity => {
                Service::Identity
            }
            _ => Service::Keys,
        }
    }

    fn target(self, cluster: &Cluster, dice: &mut Dice) -> usize {
        dice.below(cluster.count(self.service()))
    }

    fn begin(self, cluster: &mut Cluster, at: usize) {
        let service = self.service();
        match self {
            Self::KillEdge | Self::KillKeys | Self::KillKeysInRevoke | Self::KillIdentity => {
                cluster.replica_mut(service, at).kill();
            }
            Self::StopEdge | Self::StopKeys | Self::StopIdentity => {
                cluster.replica(service, at).pause();
            }
            Self::CutEdge | Self::CutKeys | Self::CutIdentity => cluster.relay(service, at).cut(),
            Self::SlowEdge => cluster.relay(service, at).delay(DELAY),
            Self::SlowKeys | Self::SlowIdentity => cluster.relay(service, at).delay(LONG_DELAY),
            Self::KillNats => cluster.bus().kill(),
            Self::StopNats => cluster.bus().pause(),
            Self::KillPostgres => cluster.postgres().kill(),
        }
    }

    /// Ends it, but for processes that have to be started again.
    fn end(self, cluster: &mut Cluster, at: usize) {
        let service = self.service();
        match self {
            Self::KillEdge | Self::KillKeys | Self::KillKeysInRevoke | Self::KillIdentity => {}
            Self::StopEdge | Self::StopKeys | Self::StopIdentity => {
                cluster.replica(service, at).resume();
            }
            Self::CutEdge
            | Self::SlowEdge
            | Self::CutKeys
            | Self::SlowKeys
            | Self::CutIdentity
            | Self::SlowIdentity => cluster.relay(service, at).mend(),
            Self::KillNats => cluster.bus().restart(),
            Self::StopNats => cluster.bus().resume(),
            Self::KillPostgres => cluster.postgres().restart(),
        }
    }

    /// What it is done to: two faults at the same time are done to different things.
    fn victim(self) -> u8 {
        match self {
            Self::KillEdge | Self::StopEdge => 0,
            Self::CutEdge | Self::SlowEdge => 1,
            Self::KillKeys
            | Self::KillKeysInRevoke
            | Self::StopKeys
            | Self::CutKeys
            | Self::SlowKeys => 2,
            Self::KillIdentity | Self::StopIdentity | Self::CutIdentity | Self::SlowIdentity => 3,
            Self::KillNats | Self::StopNats => 4,
            Self::KillPostgres => 5,
        }
    }
}

impl Dice {
    /// The numbers of a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() >> 33).expect("31 bits") % bound
    }

    /// Puts `items` into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// A cluster to be broken: processes behind relays, two key services, cheap passwords and a short lease.
pub fn builder(edges: usize) -> Builder {
    Cluster::builder()
        .relayed()
        .replicas(Service::Edge, edges)
        .replicas(Service::Keys, 2)
        .set("LEASE_MS", &LEASE_MS.to_string())
        .cheap_passwords()
}

/// Breaks the cluster again and again, with one fault or two at the same time, until each of `faults` was
/// done and `enough` says so.
pub async fn torment(
    cluster: &mut Cluster,
    load: &Load,
    faults: &[Fault],
    dice: &mut Dice,
    enough: impl Fn() -> bool,
) -> Done {
    let mut done = Done::new();
    let mut waiting = faults.to_vec();
    dice.shuffle(&mut waiting);
    while !(load.is_spent() || enough() && waiting.is_empty()) {
        let first = waiting.pop().unwrap_or_else(|| faults[dice.below(faults.len())]);
        let other = faults[dice.below(faults.len())];
        let mut now = vec![first];
        if dice.below(3) == 0 && other.victim() != first.victim() {
            now.push(other);
        }
        if waiting.is_empty() {
            load.allow_all();
        } else {
            load.allow_more();
        }
        strike(cluster, load, &now, dice).await;
        for fault in now {
            *done.entry(fault).or_default() += 1;
        }
        load.progress(BETWEEN, STEP).await;
    }
    done
}

/// Does these at the same time, for longer than the lease and the wait.
async fn strike(cluster: &mut Cluster, load: &Load, faults: &[Fault], dice: &mut Dice) {
    let mut struck = Vec::new();
    for &fault in faults {
        let at = fault.target(cluster, dice);
        if fault == Fault::KillKeysInRevoke {
            load.under_way(STEP).await;
        }
        block_in_place(|| fault.begin(cluster, at));
        struck.push((fault, at));
    }
    let more = u64::try_from(dice.below(700)).expect("a small number");
    hold(LONG + Duration::from_millis(more)).await;
    block_in_place(|| {
        for (fault, at) in struck {
            fault.end(cluster, at);
        }
        cluster.launch();
    });
}

/// Lets time pass: how long a fault lasts.
pub async fn hold(time: Duration) {
    let begin = Instant::now();
    let over = async || (begin.elapsed() >= time).then_some(());
    poll::until_async("a fault is over", time * 10, over).await;
}
