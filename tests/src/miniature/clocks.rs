//! The processes' wall clocks: each is wrong by an amount of its own, and is set now and then. Nothing but
//! expiry may depend on them.

use std::time::{Duration, Instant};

use latchkey_runtime::Clock;
use tokio::task::AbortHandle;

use crate::nemesis::Dice;

/// What a clock shows at first, in milliseconds since 1970.
const BEGIN: i64 = 1_800_000_000_000;
/// How wrong a clock is at first, at most, in milliseconds.
const WRONG: usize = 2_000;
/// How often clocks are moved.
const TICK: Duration = Duration::from_millis(20);
/// In one of so many ticks one of them is set as well.
const SET_IN: usize = 50;
/// By how much, in milliseconds, either way: mostly by little.
const STEPS: [i64; 5] = [50, 500, 1_000, 2_000, 20 * 60 * 1_000];

/// The clocks.
pub struct Clocks {
    all: Vec<Clock>,
    dice: Dice,
    moving: Option<AbortHandle>,
}

impl Clocks {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        Self { all: Vec::new(), dice: Dice::of(seed), moving: None }
    }

    /// The clock of one more process.
    pub fn add(&mut self) -> Clock {
        let wrong = i64::try_from(self.dice.below(2 * WRONG)).expect("a small number");
        let clock = Clock::manual(BEGIN + wrong);
        self.all.push(clock.clone());
        clock
    }

    /// Sets those back that were added last, but for some, so many of them, by as many milliseconds.
    pub fn set_back(&self, but: usize, last: usize, millis: i64) {
        self.all.iter().rev().skip(but).take(last).for_each(|clock| clock.advance(-millis));
    }

    /// Has them go from now on.
    pub fn start(&mut self) {
        let (clocks, mut dice) = (self.all.clone(), self.dice.clone());
        let moving = tokio::spawn(async move {
            let mut last = Instant::now();
            loop {
                tokio::time::sleep(TICK).await;
                let passed = i64::try_from(last.elapsed().as_millis()).expect("a short time");
                last += Duration::from_millis(u64::try_from(passed).unwrap_or_default());
                for clock in &clocks {
                    clock.advance(passed);
                }
                if dice.below(SET_IN) == 0 {
                    let step = STEPS[dice.below(STEPS.len())];
                    let step = if dice.below(2) == 0 { step } else { -step };
                    clocks[dice.below(clocks.len())].advance(step);
                }
            }
        });
        self.moving = Some(moving.abort_handle());
    }

    /// Has them stand still.
    pub fn stop(&self) {
        if let Some(moving) = &self.moving {
            moving.abort();
        }
    }
}
