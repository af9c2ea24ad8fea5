//! The resources of the public API, a file or folder each: their JSON, their handlers, and what the API's
//! description says of them. A handler is a screenful at most: take a credential, ask a service, answer. A route that
//! only verifies has a value in its place (`protected`).

pub mod audit;
pub mod auth;
pub mod discovery;
pub mod docs;
pub mod health;
pub mod keys;
pub mod oauth;
pub mod protected;

mod json;
