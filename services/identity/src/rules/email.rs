//! What an e-mail address may be, in any script (RFC 6531), and when two of them are the same.

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use latchkey_contract::FieldError;
use latchkey_contract::text::is_shown_whole;

use super::{Canonical, folded};

/// Characters of the longest address, and bytes of the longest one as the domain name system has it
/// (RFC 5321 §4.5.3.1.3 with its angle brackets taken off).
pub const EMAIL_MAX: usize = 254;
/// Bytes of the longest part before the `@` (RFC 5321 §4.5.3.1.1).
const LOCAL_MAX: usize = 64;
/// What may stand in a part before the `@` besides letters and digits (RFC 5322 §3.2.3).
const ATEXT: &str = "!#$%&'*+-/=?^_`{|}~";

/// Checks an e-mail address.
///
/// # Errors
/// The field's fault.
pub fn email(text: Option<&str>) -> Result<Canonical, FieldError> {
    let wrong = |message: &str| FieldError::new("email", message);
    let text = text.ok_or_else(|| wrong("is required and must be a text"))?;
    if text.chars().count() > EMAIL_MAX {
        return Err(wrong("must have at most 254 characters"));
    }
    let folded = folded_email(text)
        .ok_or_else(|| wrong("must be an e-mail address such as ada@example.com"))?;
    Ok(Canonical { shown: text.to_owned(), canonical: text.to_lowercase(), folded })
}

/// The form in which two addresses are compared: what stands before the `@` without case and normalised, the
/// domain as the domain name system has it. `None` for what is no address.
#[must_use]
pub fn folded_email(text: &str) -> Option<String> {
    let (local, domain) = text.rsplit_once('@')?;
    let is_local = (1..=LOCAL_MAX).contains(&local.len())
        && is_shown_whole(local)
        && (is_dot_atom(local) || is_quoted(local));
    if !is_local {
        return None;
    }
    let address = format!("{}@{}", folded(local), domain_name(domain)?);
    (address.len() <= EMAIL_MAX).then_some(address)
}

/// Atoms between dots.
fn is_dot_atom(local: &str) -> bool {
    let may_stand = |c: char| match c {
        c if c.is_ascii() => c.is_ascii_alphanumeric() || ATEXT.contains(c),
        // RFC 6531 §3.3 takes any character beyond ASCII, marks that combine among them.
        c => !c.is_whitespace(),
    };
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(may_stand))
}

/// A text between quotation marks, in which a backslash takes the next character as it is.
fn is_quoted(local: &str) -> bool {
    let inside = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inside) = inside.filter(|inside| !inside.is_empty()) else { return false };
    let mut rest = inside.chars();
    while let Some(c) = rest.next() {
        let stands = match c {
            '"' => false,
            '\\' => rest.next().is_some_and(|next| next.is_ascii_graphic()),
            ' ' => true,
            c => c.is_ascii_graphic() || (!c.is_ascii() && !c.is_whitespace()),
        };
        if !stands {
            return false;
        }
    }
    true
}

/// A domain of two labels or more in its A-label form (IDNA2008 by UTS 46, without its transitional mappings),
/// in small letters.
fn domain_name(domain: &str) -> Option<String> {
    let name = Uts46::new().to_ascii(
        domain.as_bytes(),
        AsciiDenyList::STD3,
        Hyphens::CheckFirstLast,
        DnsLength::Verify,
    );
    name.ok().filter(|name| name.contains('.')).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests;
