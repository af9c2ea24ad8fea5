//! What a username, an e-mail address and a password may be, and when two of them are the same.

use latchkey_contract::{FieldError, Secret};
use precis_core::profile::Profile;
use precis_profiles::UsernameCaseMapped;
use unicase::UniCase;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

mod email;

pub use email::{EMAIL_MAX, email, folded_email};

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

/// A text as it was written, and in the forms that decide what is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// As it was written.
    pub shown: String,
    /// What releases before this one compare, whose replicas may run beside it.
    pub canonical: String,
    /// What is compared.
    pub folded: String,
}

/// The forms of a username that somebody types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    /// In PRECIS `UsernameCaseMapped` (RFC 8265 §3.3): the name by which accounts go on that were opened
    /// before names were folded.
    pub canonical: String,
    /// The same with full case folding: the name. `None` where this form has yet another one: what maps to
    /// another name when it is mapped again could impersonate it, so no such name exists.
    pub folded: Option<String>,
}

/// Checks a new username.
///
/// # Errors
/// The field's fault.
pub fn username(text: Option<&str>) -> Result<Canonical, FieldError> {
    let wrong = |message: &str| FieldError::new("username", message);
    let text = text.ok_or_else(|| wrong("is required and must be a text"))?;
    if !USERNAME_LENGTH.contains(&text.chars().count()) {
        return Err(wrong("must have 3 to 50 characters"));
    }
    let unusable = || wrong("may hold letters, digits and printable ASCII, and no spaces");
    let Username { canonical, folded } = typed_username(text).ok_or_else(unusable)?;
    let folded = folded.ok_or_else(unusable)?;
    for form in [&canonical, &folded] {
        if !USERNAME_LENGTH.contains(&form.chars().count()) {
            return Err(wrong("must have 3 to 50 characters in its canonical form"));
        }
    }
    Ok(Canonical { shown: text.to_owned(), canonical, folded })
}

/// The forms in which a username is looked up; `None` for a text that is no username.
#[must_use]
pub fn typed_username(text: &str) -> Option<Username> {
    if text.chars().count() > *USERNAME_LENGTH.end() {
        return None;
    }
    let canonical = UsernameCaseMapped::new().enforce(text).ok()?.into_owned();
    let once = folded(&canonical);
    let again = UsernameCaseMapped::new().enforce(once.as_str()).ok().map(|twice| folded(&twice));
    let folded = (again.as_deref() == Some(once.as_str())).then_some(once);
    Some(Username { canonical, folded })
}

/// A text in Unicode's full case folding, normalised before and after: ς is σ, ß is ss.
#[must_use]
pub fn folded(text: &str) -> String {
    let composed: String = text.nfc().collect();
    UniCase::unicode(composed).to_folded_case().nfc().collect()
}

/// Checks a new password's form and gives the bytes that are hashed.
///
/// # Errors
/// The field's fault.
pub fn new_password(text: Option<&Secret>, min: usize) -> Result<Secret, FieldError> {
    let wrong = |message: String| FieldError::new("password", message);
    let text = text.ok_or_else(|| wrong("is required and must be a text".to_owned()))?;
    if !(min..=PASSWORD_MAX).contains(&text.expose().chars().count()) {
        return Err(wrong(format!("must have {min} to {PASSWORD_MAX} characters")));
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
