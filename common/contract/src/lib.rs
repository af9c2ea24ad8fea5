//! What Latchkey's services say to each other, and nothing else: no I/O, no clock, no database.
//!
//! Every service and every client of the bus depends on this crate; it depends on none of them.
//!
//! | module | holds |
//! |---|---|
//! | [`message`] | what travels, and that it has a form by the contract before |
//! | [`rpc`] | what a request is, and how a call can fail |
//! | [`identity`] | the requests that the identity service answers |
//! | [`keys`] | the requests that the key service answers |
//! | [`audit`] | what either service answers about its audit log |
//! | [`authority`] | what an edge asks of an authority besides verdicts |
//! | [`lease`] | membership, leases and invalidations |
//! | [`caller`] | who acts, and from where |
//! | [`verify`] | what every other service may ask, in any language |
//! | [`principal`] | whom a credential stands for |
//! | [`verdict`] | what an authority says of a credential |
//! | [`refusal`] | every expected "no" of a service |
//! | [`problem`] | the one table of problems: code, status, title, detail |
//! | [`grants`] | what a credential may do, and from where |
//! | [`scope`] | named rights: granted, required, covered |
//! | [`credential`] | the API key format: make, parse, hash |
//! | [`secret`] | text that is never printed |
//! | [`idempotency`] | a client's `Idempotency-Key` |
//! | [`ids`] | identifiers and times |
//! | [`previous`] | the messages as the release before has them |
//! | [`text`] | what a person can see of a name |
//! | [`wire`] | bytes on the bus: the only file that names a codec |

pub mod audit;
pub mod authority;
pub mod caller;
pub mod credential;
pub mod grants;
pub mod idempotency;
pub mod identity;
pub mod ids;
pub mod keys;
pub mod lease;
pub mod message;
pub mod previous;
pub mod principal;
pub mod problem;
pub mod refusal;
pub mod rpc;
pub mod scope;
pub mod secret;
pub mod signing;
pub mod text;
pub mod verdict;
pub mod verify;
pub mod wire;

pub use caller::{Actor, Caller, Forbidden, Sender};
pub use credential::{
    ApiKey, CredentialHash, KeyEnvironment, KeyPrefix, MalformedKey, RefreshToken,
};
pub use grants::{AllowedIps, Grants, Metadata};
pub use idempotency::{Idempotency, IdempotencyKey, IdempotentRoute, RequestDigest};
pub use ids::{KeyId, Mark, RequestId, SessionId, Timestamp, UserId};
pub use principal::{Detail, KeyDetail, Owner, Principal, UserDetail};
pub use refusal::{FieldError, Refusal};
pub use rpc::{CallError, Failure, Retry, Rpc, Unavailable};
pub use scope::Scopes;
pub use secret::Secret;
pub use verdict::{Stored, Verdict, Verdicts};
