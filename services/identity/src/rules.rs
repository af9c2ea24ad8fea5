//! What a username, an e-mail address and a password may be, and when two of them are the same.

use email_address::{EmailAddress, Options};
use latchkey_contract::{FieldError, Secret};
use precis_core::profile::Profile;
use precis_profiles::UsernameCaseMapped;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

/// Characters of the longest e-mail address (RFC 5321 §4.5.3.1.3 with its angle brackets taken off).
pub const EMAIL_MAX: usize = 254;
/// Characters of a username.
pub const USERNAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=50;
/// Characters of the longest password.
pub const PASSWORD_MAX: usize = 128;
/// A password that is guessed within so many tries is one of the commonest, or one of them with a
/// predictable change, or its owner's name.
const COMMON_GUESSES: u64 = 10_000;
/// Characters of the longest password that can be common; above, only the owner's own names are.
const COMMON_MAX: usize = 32;
/// Words that are as good as public for any account here.
const CONTEXT_WORDS: [&str; 2] = ["latchkey", "password"];

/// A text as it was written, and in the form that decides what is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// As it was written.
    pub shown: String,
    /// What is compared.
    pub canonical: String,
}

/// Checks a username: PRECIS `UsernameCaseMapped` (RFC 8265 §3.3).
///
/// # Errors
/// The field's fault.
pub fn username(text: Option<&str>) -> Result<Canonical, FieldError> {
    let wrong = |message: &str| FieldError::new("username", message);
    let text = text.ok_or_else(|| wrong("is required and must be a text"))?;
    if !USERNAME_LENGTH.contains(&text.chars().count()) {
        return Err(wrong("must have 3 to 50 characters"));
    }
    let canonical = canonical_username(text)
        .ok_or_else(|| wrong("may hold letters, digits and printable ASCII, and no spaces"))?;
    if !USERNAME_LENGTH.contains(&canonical.chars().count()) {
        return Err(wrong("must have 3 to 50 characters in its canonical form"));
    }
    Ok(Canonical { shown: text.to_owned(), canonical })
}

/// The form in which two usernames are compared; `None` for a text that is no username.
#[must_use]
pub fn canonical_username(text: &str) -> Option<String> {
    if text.chars().count() > *USERNAME_LENGTH.end() {
        return None;
    }
    let once = UsernameCaseMapped::new().enforce(text).ok()?;
    // What maps to yet another name when it is mapped again could impersonate it: no such name exists.
    let twice = UsernameCaseMapped::new().enforce(once.as_ref()).ok()?;
    (once == twice).then(|| once.into_owned())
}

/// Checks an e-mail address.
///
/// # Errors
/// The field's fault.
pub fn email(text: Option<&str>) -> Result<Canonical, FieldError> {
    let wrong = |message: &str| FieldError::new("email", message);
    let text = text.ok_or_else(|| wrong("is required and must be a text"))?;
    if text.len() > EMAIL_MAX {
        return Err(wrong("must have at most 254 characters"));
    }
    let options = Options::default().with_required_tld().without_display_text();
    let valid = EmailAddress::parse_with_options(text, options.without_domain_literal()).is_ok();
    if !valid || text.chars().any(char::is_control) {
        return Err(wrong("must be an e-mail address such as ada@example.com"));
    }
    Ok(Canonical { shown: text.to_owned(), canonical: text.to_lowercase() })
}

/// Checks a new password's form and gives the bytes that are hashed.
///
/// # Errors
/// The field's fault.
pub fn new_password(text: Option<&Secret>, least: usize) -> Result<Secret, FieldError> {
    let wrong = |message: String| FieldError::new("password", message);
    let text = text.ok_or_else(|| wrong("is required and must be a text".to_owned()))?;
    if !(least..=PASSWORD_MAX).contains(&text.expose().chars().count()) {
        return Err(wrong(format!("must have {least} to {PASSWORD_MAX} characters")));
    }
    password(text).ok_or_else(|| wrong("may not hold control characters".to_owned()))
}

/// A password in the form that is hashed, so that it is the same from every keyboard: Unicode NFC
/// (NIST SP 800-63B-4 §3.1.1.2). `None` for what no password can be.
///
/// PRECIS `OpaqueString` would refuse every character that is newer than the library's tables,
/// recent emoji among them.
#[must_use]
pub fn password(text: &Secret) -> Option<Secret> {
    if text.expose().chars().count() > PASSWORD_MAX {
        return None;
    }
    if text.expose().chars().any(char::is_control) {
        return None;
    }
    Some(Secret::new(text.expose().nfc().collect()))
}

/// Whether a password is among the commonest, or follows from its owner's name or address.
#[must_use]
pub fn is_common(password: &Secret, username: &str, email: &str) -> bool {
    if password.expose().chars().count() > COMMON_MAX {
        let lower = Zeroizing::new(password.expose().to_lowercase());
        return [username, email].contains(&lower.as_str());
    }
    let local_part = email.split('@').next().unwrap_or_default();
    let inputs = [username, email, local_part, CONTEXT_WORDS[0], CONTEXT_WORDS[1]];
    zxcvbn(password.expose(), &inputs).guesses() < COMMON_GUESSES
}

#[cfg(test)]
mod tests;
