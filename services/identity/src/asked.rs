//! What a login or a refresh asks for.

use latchkey_contract::scope::ScopeError;
use latchkey_contract::{FieldError, Scopes};

/// Asks for a refresh token and for no right (OIDC Core §11).
const OFFLINE: &str = "offline_access";

/// The scopes that are asked for: `None` for everything that there is to be had.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn asked_for(scope: Option<&str>) -> Result<Option<Scopes>, FieldError> {
    let Some(text) = scope else { return Ok(None) };
    let wrong = |error: ScopeError| FieldError::new("scope", error.to_string());
    // An empty text, and one with a space too many, has an empty scope in it, which is none.
    let asked = text.split(' ').filter(|scope| *scope != OFFLINE);
    let asked = Scopes::of(asked).map_err(wrong)?;
    Ok(Some(asked).filter(|asked| !asked.is_empty()))
}
