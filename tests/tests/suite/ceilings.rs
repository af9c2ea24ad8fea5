//! What users may do and grant at most: ceilings of their own, `USER_SCOPES`, and tokens that were narrowed at login.

mod exact;
mod login;
mod rows;
mod told;
