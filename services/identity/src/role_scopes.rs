//! Scopes that come with roles alone: no ceiling, of all users or of one, may hold them.

use latchkey_contract::Scopes;

/// What every scope of an administrator begins with.
const ADMIN: &str = "latchkey:admin:";
/// Every such scope.
const OF_ROLES: [&str; 4] =
    ["latchkey:admin:read", "latchkey:admin:write", "latchkey:audit:read", "latchkey:leaks:write"];

/// A scope that comes with roles alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} comes with roles alone")]
pub struct OfRoles(String);

/// Checks what is to be a ceiling.
///
/// # Errors
/// [`OfRoles`] names the first scope that would grant what comes with roles alone.
pub fn check(ceiling: &Scopes) -> Result<(), OfRoles> {
    let is_of_roles = |grant: &str| {
        grant.starts_with(ADMIN)
            || OF_ROLES.iter().any(|role| Scopes::of([grant]).is_ok_and(|it| it.cover(role)))
    };
    match ceiling.iter().find(|grant| is_of_roles(grant)) {
        Some(grant) => Err(OfRoles(grant.to_owned())),
        None => Ok(()),
    }
}
