//! The model checker: the cores of this crate, driven through every order of events within a bound.
//!
//! Time goes in ticks and every clock shows the same; drifting clocks are the simulator's. A message may
//! be delivered late, twice or never. `LATCHKEY_MODEL_STATES` (as `make model` sets it) is how many states
//! each scenario may take; with it the large ones are explored too.

#![expect(clippy::print_stdout, reason = "the figures and the schedules are the point")]

mod deliver;
mod explore;
mod fingerprint;
mod memory;
mod revoking;
mod scenario;
mod step;
pub(crate) mod world;

use explore::{Explored, Order, explore};
use scenario::{LARGE, Model, SCENARIOS, Scenario};

use crate::rules::{Mutant, Rules};

/// States of one scenario at most, where no variable says otherwise.
const MOST_STATES: usize = 100_000;
/// States that a mutant may take to be found.
const MOST_STATES_OF_MUTANT: usize = 1_000_000;

/// Each mutant, and the scenario in which the model finds it out.
const MUTANTS: &[(Mutant, &str)] = &[
    (Mutant::ShortWait, "one edge, one revoke"),
    (Mutant::StampAtReceipt, "one edge, one revoke"),
    (Mutant::IgnoreTombstone, "one edge, one revoke"),
    (Mutant::MembersBeforeCommit, "a join"),
    (Mutant::RetryReturnsAtOnce, "crash and retry"),
    (Mutant::DeleteSilentAtOnce, "retirement"),
    (Mutant::PositionsFromSequence, "another key"),
    (Mutant::InvalidateMovesPosition, "one after another"),
    (Mutant::AcknowledgeWithoutTombstone, "one edge, one revoke"),
    (Mutant::EvictionKeepsFloor, "one tombstone"),
    (Mutant::NoBoundOnAge, "one edge, one revoke"),
    (Mutant::RenewFromStandby, "one edge, one revoke"),
    (Mutant::GrantToStranger, "retirement"),
    (Mutant::GrantToRetired, "retirement"),
    (Mutant::AcknowledgeBeforeApplying, "one edge, one revoke"),
    (Mutant::RenewInTwoStatements, "one edge, one revoke"),
    (Mutant::IdReused, "restart"),
    (Mutant::WaiterWithoutChecks, "one edge, one revoke"),
    (Mutant::JanitorDeletesAtOnce, "retirement"),
    // Our own, besides those of the protocol's description.
    (Mutant::EntryBeforeLease, "a reader that stops"),
    (Mutant::EarlyInNewEpoch, "failover"),
    (Mutant::ReplyByCredentialAlone, "an owner"),
    (Mutant::DropKeepsFloor, "records deleted"),
    (Mutant::LeaseOff, "one edge, one revoke"),
    // Of tags; those that break the order of single steps are `memory`'s to find.
    (Mutant::FirstTagOnly, "two tags"),
    (Mutant::TagEvictionKeepsFloor, "owners, one tombstone"),
    (Mutant::AllKeepsEntries, "everything"),
    (Mutant::AllDoesNotCount, "everything"),
    (Mutant::UnknownKindIgnored, "a kind that is not known"),
];

fn run(scenario: Scenario, rules: Rules, order: Order, max: usize) -> Explored {
    let model = Model { scenario, rules };
    explore(&model, order, max)
}

#[test]
fn no_schedule_within_the_bounds_accepts_after_the_return() {
    #[expect(clippy::disallowed_methods, reason = "a test's own variable")]
    let variable = std::env::var("LATCHKEY_MODEL_STATES").ok();
    let max = variable.as_deref().map_or(MOST_STATES, |max| max.parse().expect("a number"));
    let large = if variable.is_some() { LARGE } else { &[] };
    let (mut states, mut transitions, mut complete) = (0, 0, 0);
    for scenario in SCENARIOS.iter().chain(large) {
        let seen = run(*scenario, Rules::default(), Order::Depth, max);
        print_figures(scenario, &seen);
        assert_eq!(seen.violation, None, "{}", scenario.name);
        states += seen.states;
        transitions += seen.transitions;
        complete += usize::from(seen.complete);
    }
    let all = SCENARIOS.len() + large.len();
    println!("model: {states} states, {transitions} transitions, no violation");
    println!("model: {complete} of {all} scenarios explored to the end");
}

#[test]
fn every_mutant_is_caught() {
    let mut missed = Vec::new();
    for (mutant, scenario) in MUTANTS {
        let rules = Rules::broken(*mutant);
        let seen = run(Scenario::named(scenario), rules, Order::Breadth, MOST_STATES_OF_MUTANT);
        match seen.violation {
            Some((violation, way)) => {
                let states = seen.states;
                println!(
                    "mutant {mutant:?}: {violation:?} in \"{scenario}\" after {states} states"
                );
                println!("  {way:?}");
            }
            None => missed.push((mutant, scenario)),
        }
    }
    assert!(missed.is_empty(), "the model does not see {missed:?}");
    println!("mutants: {} of {} caught", MUTANTS.len(), MUTANTS.len());
}

fn print_figures(scenario: &Scenario, seen: &Explored) {
    let Explored { states, transitions, complete, .. } = seen;
    let extent = if *complete { "all" } else { "the first" };
    println!("model: {}: {extent} {states} states, {transitions} transitions", scenario.name);
}
