//! What each route does, at most a screenful each: take a credential, ask a service, answer.

pub mod auth;
pub mod docs;
pub mod health;
pub mod keys;
pub mod protected;

mod slip;
