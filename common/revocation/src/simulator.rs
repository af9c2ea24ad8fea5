//! The simulator: several edges and services over a bus that loses, doubles and delays, with clocks that
//! drift and step, processes that stop, crash and restart, and a database that fails over. It drives the
//! very cores of this crate, at the default bounds, and is repeated exactly by its seed.
//!
//! `LATCHKEY_SIM_SEEDS` is how many seeds are run (default 200), `LATCHKEY_SIM_FIRST` the first of them.

#![expect(clippy::print_stdout, reason = "the figures are the point")]

mod asking;
mod edge;
mod events;
mod oracle;
mod revoking;
mod run;
mod service;
mod world;

use oracle::Oracle;
use world::World;

use crate::rules::{Mutant, Rules};

/// Seeds that one run of the tests takes, where no variable says otherwise.
const SEEDS: u64 = 200;
/// Seeds that a mutant may take to be found.
const SEEDS_OF_MUTANT: u64 = 500;

fn variable(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's own variable")]
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

fn run(seed: u64, rules: Rules) -> Oracle {
    let mut world = World::new(seed, rules);
    world.run();
    world.oracle
}

#[test]
fn no_seed_accepts_after_the_return() {
    let first = variable("LATCHKEY_SIM_FIRST", 1);
    let seeds = variable("LATCHKEY_SIM_SEEDS", SEEDS);
    let mut sum = Oracle::default();
    for seed in first..first + seeds {
        let oracle = run(seed, Rules::default());
        assert_eq!(oracle.faults, Vec::<String>::new(), "seed {seed}");
        sum.add(&oracle);
    }
    assert!(sum.early > 0 && sum.late > 0 && sum.cached > 0 && sum.discarded > 0, "{sum:?}");
    assert!(sum.refused > 0 && sum.disabled > 0, "{sum:?}");
    println!("simulator: {seeds} seeds, {sum:?}");
}

#[test]
fn the_simulator_sees_what_is_broken() {
    let broken = [
        Mutant::LeaseOff,
        Mutant::StampAtReceipt,
        Mutant::IgnoreTombstone,
        Mutant::RetryReturnsAtOnce,
        Mutant::AcknowledgeWithoutTombstone,
        Mutant::ReplyByCredentialAlone,
        Mutant::FirstTagOnly,
        Mutant::AllKeepsEntries,
        Mutant::AllDoesNotCount,
        Mutant::UnknownKindIgnored,
        Mutant::JanitorDeletesAtOnce,
        Mutant::EarlyInNewEpoch,
    ];
    for mutant in broken {
        let found = (1..=SEEDS_OF_MUTANT).find_map(|seed| {
            let oracle = run(seed, Rules::broken(mutant));
            let mut stale = oracle.faults.iter();
            stale
                .find(|fault| fault.contains("after the return"))
                .map(|fault| (seed, fault.clone()))
        });
        let (seed, fault) = found.unwrap_or_else(|| panic!("{mutant:?} is not seen"));
        println!("simulator: {mutant:?} by seed {seed}: {fault}");
    }
}
