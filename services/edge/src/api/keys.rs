//! `/keys…`: a user's own API keys.

pub(crate) mod change;
pub mod create;
pub(crate) mod end;
pub mod list;
pub mod lookup;

mod fields;
mod json;
mod object;
mod patch;
pub(crate) mod revoke_many;
pub(crate) mod rotate;
mod wait;

pub use json::{CreateKeyBody, CreatedKeyBody, NewKeyBody, RevokedBody};
pub use object::KeyBody;
