//! What every Latchkey process needs, and no service's business.
//!
//! | module | holds |
//! |---|---|
//! | [`process`] | start, exit codes, signals |
//! | [`config`] | variables from the environment and `.env`, with clear errors |
//! | [`telemetry`] | logs, and the start of everything that is told about the process |
//! | [`trace`] | spans |
//! | [`metrics`] | metrics as Prometheus text |
//! | [`clock`] | time as an argument |
//! | [`entropy`] | randomness as an argument |
//! | [`supervisor`] | the root actor of a service, and addresses that outlive a restart |
//! | [`batch`] | the actor that answers a queue with one question |
//! | [`periodic`] | the actor that does a chore again and again |
//! | [`monitor`] | the second listener: metrics and health |

pub mod batch;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod metrics;
pub mod monitor;
pub mod periodic;
pub mod process;
pub mod supervisor;
pub mod telemetry;
pub mod trace;

pub use clock::Clock;
pub use config::{ConfigError, Environment, Variable};
pub use entropy::Entropy;
pub use monitor::{Monitor, Readiness};
pub use process::{Exit, StartError};
pub use supervisor::{Address, Child, Root};
