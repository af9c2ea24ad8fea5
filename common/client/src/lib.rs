//! For services beside Latchkey: whom does this credential stand for?
//!
//! [`Verifier`] asks over NATS, each time ([`Verifier::connect`]) or only for what it does not remember
//! ([`Verifier::remembering`]). [`RequireCredential`] guards routes with it: a request gets through only
//! with a credential that was found valid, and enough for the route, and its handler finds the [`Principal`] in the request's
//! extensions. Whatever goes wrong, nobody gets through for it.
//!
//! ```no_run
#![doc = include_str!("../../../docs/examples/greet.rs")]
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let password = std::fs::read_to_string("/run/secrets/verifier")?;
//!     let options = latchkey_client::Options {
//!         url: "tls://bus.internal:4222".into(),
//!         password: Some(latchkey_client::Secret::new(password.trim_end().to_owned())),
//!         ca_file: Some("/etc/ssl/internal.pem".into()),
//!     };
//!     let verifier = Verifier::connect(options).await?;
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app(verifier)).await?)
//! }
//! ```
//!
//! `docs/bus.md` has the contract in words, for every other language.

mod connect;
mod credential;
mod guard;
mod memory;
mod problem;
mod required;
mod verifier;

pub use connect::{ConnectError, Options};
pub use guard::{Guard, RequireCredential};
pub use latchkey_contract::lease::Revision;
pub use latchkey_contract::scope::Scopes;
pub use latchkey_contract::verify::{
    Denied, MinRevision, Outcome, OwnerKind, PrincipalKind, Verified, VerifiedOwner,
    VerifiedPrincipal as Principal,
};
pub use latchkey_contract::{CallError, Metadata, Secret};
pub use memory::Memory;
pub use required::Required;
pub use verifier::Verifier;
