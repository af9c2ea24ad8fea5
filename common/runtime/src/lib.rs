//! What every Latchkey process needs, and no service's business.
//!
//! | module | holds |
//! |---|---|
//! | [`process`] | start and signals |
//! | [`exit`] | how a process ends that does not end well |
//! | [`config`] | variables from the environment and `.env`, with clear errors |
//! | [`telemetry`] | logs, and the start of everything that is told about the process |
//! | [`trace`] | spans |
//! | [`metrics`] | metrics as Prometheus text |
//! | [`clock`] | time as an argument |
//! | [`entropy`] | randomness as an argument |
//! | [`lock`] | locks that outlive a panic |
//! | [`task`] | loops under the supervisor, beside its actors |
//! | [`supervisor`] | the root actor of a service, and addresses that outlive a restart |
//! | [`bounded`] | a bounded table without sweeps |
//! | [`batch`] | the actor that answers a queue with one question |
//! | [`periodic`] | what is done again and again |
//! | [`resource`] | what a service needs outside its process |
//! | [`stop`] | how a process is asked to end |
//! | [`monitor`] | the second listener: metrics and health |
//! | [`os`] | what differs between systems |

pub mod batch;
pub mod bounded;
pub mod clock;
pub mod config;
pub mod entropy;
pub mod exit;
pub mod lock;
pub mod metrics;
pub mod monitor;
pub mod periodic;
pub mod process;
pub mod resource;
pub mod stop;
pub mod supervisor;
pub mod task;
pub mod telemetry;
pub mod trace;

pub use bounded::Bounded;
pub use clock::Clock;
pub use config::{ConfigError, Environment, Setting, Table, Variable};
pub use entropy::Entropy;
pub use exit::{Exit, StartError};
pub use latchkey_os as os;
pub use monitor::{Monitor, Readiness};
pub use resource::Resource;
pub use stop::Stop;
pub use supervisor::{Address, Child, Root};
pub use task::{TaskContext, TaskError};
