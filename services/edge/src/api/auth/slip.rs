//! What a refused login says of the form of what was sent: a name or password that was pasted with a space
//! or something invisible is nobody's. The form alone decides, so that nothing is told of who exists.

use latchkey_contract::Secret;
use latchkey_contract::identity::LogIn;
use latchkey_contract::text::is_invisible;

const AT_AN_END: &str = "the username begins or ends with a space, and no username does";
const INSIDE: &str = "the username holds a space or an invisible character, and no username does";
const IN_PASSWORD: &str =
    "the password holds a control character such as a line break, and no password does";

/// Why this login can be nobody's, if its form says so.
pub(super) fn of(request: &LogIn) -> Option<&'static str> {
    let username = request.username.as_deref().unwrap_or_default();
    let password = request.password.as_ref().map(Secret::expose).unwrap_or_default();
    // A byte-order mark or zero-width space at an end is a space to whoever pasted it.
    let blank = |c: char| c.is_whitespace() || is_invisible(c);
    // Between letters a joiner may be a part of a name, as in Persian.
    let hidden = |c: char| blank(c) && !matches!(c, '\u{200c}' | '\u{200d}');
    if username.starts_with(blank) || username.ends_with(blank) {
        Some(AT_AN_END)
    } else if username.contains(hidden) {
        Some(INSIDE)
    } else if password.contains(char::is_control) {
        Some(IN_PASSWORD)
    } else {
        None
    }
}
