//! What Latchkey's services say to each other, and nothing else: no I/O, no clock, no database.
//!
//! Every service and every client of the bus depends on this crate; it depends on none of them.
//!
//! | module | holds |
//! |---|---|
//! | [`rpc`] | what a request is, and how a call can fail |
//! | [`identity`] | the requests that the identity service answers |
//! | [`keys`] | the requests that the key service answers |
//! | [`authority`] | what an edge asks of an authority besides verdicts |
//! | [`lease`] | membership, leases and invalidations |
//! | [`verify`] | what every other service may ask, in any language |
//! | [`lease`] | membership, leases and invalidations |
//! | [`verdict`] | what an authority says of a credential |
//! | [`refusal`] | every expected "no", with a stable code |
//! | [`credential`] | the API key format: make, parse, hash |
//! | [`secret`] | text that is never printed |
//! | [`ids`] | identifiers and times |
//! | [`wire`] | bytes on the bus: the only file that names a codec |

pub mod authority;
pub mod credential;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod lease;
pub mod refusal;
pub mod rpc;
pub mod secret;
pub mod verdict;
pub mod verify;
pub mod wire;

pub use credential::{ApiKey, CredentialHash, MalformedKey};
pub use ids::{KeyId, SessionId, Timestamp, UserId};
pub use refusal::{FieldError, Refusal};
pub use rpc::{CallError, Failure, Retry, Rpc};
pub use secret::Secret;
pub use verdict::{KeyPrincipal, UserPrincipal, Verdict, Verdicts};
