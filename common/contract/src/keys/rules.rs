//! The rules of a key's fields, the same at the edge, which names every field that breaks one, and in the key service,
//! which lets none through.

use crate::refusal::FieldError;
use crate::text::is_shown_whole;

/// Characters of a key's name at most, after trimming.
pub const MAX_NAME: usize = 100;
/// Characters of a description at most.
pub const MAX_DESCRIPTION: usize = 1_000;
/// Characters of an external id at most.
pub const MAX_EXTERNAL_ID: usize = 128;
/// Characters of what lists show of a key at most.
pub const MAX_HINT: usize = 64;
/// Tags of a key at most.
pub const MAX_TAGS: usize = 20;
/// Characters of a tag at most.
pub const MAX_TAG: usize = 50;
/// Characters of a note at most.
pub const MAX_NOTE: usize = 500;
/// Days that a key may be asked to live.
pub const DAYS: std::ops::RangeInclusive<i64> = 1..=3_650;
/// Keys in one request at most, to make or to end by their ids.
pub const MAX_MADE: usize = 100;
/// See [`MAX_MADE`].
pub const MAX_ENDED: usize = 1_000;

/// A key's name without the spaces at its ends; `None` where it is missing or no text.
///
/// # Errors
/// What is wrong with `name`, and what is accepted.
pub fn name(name: Option<&str>) -> Result<String, FieldError> {
    let wrong = |message: &str| FieldError::new("name", message);
    let name = name.ok_or_else(|| wrong("is required and must be a text"))?.trim();
    match name.chars().count() {
        0 => Err(wrong("must have 1 to 100 characters besides spaces at its ends")),
        length if length > MAX_NAME => Err(wrong("must have at most 100 characters")),
        // It is shown in lists, greetings and logs: nothing may hide in it or turn it round.
        _ if !is_shown_whole(name) => {
            Err(wrong("may not hold control, bidirectional or invisible characters"))
        }
        _ => Ok(name.to_owned()),
    }
}

/// What a key is for, at length; several lines are allowed.
///
/// # Errors
/// What is wrong with `description`, and what is accepted.
pub fn description(text: &str) -> Result<(), FieldError> {
    prose("description", text, MAX_DESCRIPTION, "must have at most 1000 characters")
}

/// What is added to the reason of a change.
///
/// # Errors
/// What is wrong with `note`, and what is accepted.
pub fn note(text: &str) -> Result<(), FieldError> {
    prose("note", text, MAX_NOTE, "must have at most 500 characters")
}

/// The same of one that may be left out.
///
/// # Errors
/// As for [`note`].
pub fn note_of(text: Option<&str>) -> Result<(), FieldError> {
    text.map_or(Ok(()), note)
}

fn prose(field: &str, text: &str, max: usize, too_long: &str) -> Result<(), FieldError> {
    if text.chars().count() > max {
        return Err(FieldError::new(field, too_long));
    }
    // Line by line: an end of line is no other control character.
    let is_good = |line: &str| line.is_empty() || is_shown_whole(&line.replace('\t', " "));
    if text.lines().all(is_good) {
        return Ok(());
    }
    let message = "may not hold control, bidirectional or invisible characters besides tabs and ends of lines";
    Err(FieldError::new(field, message))
}

/// Whose key it is in the owner's own system.
///
/// # Errors
/// What is wrong with `external_id`, and what is accepted.
pub fn external_id(text: &str) -> Result<(), FieldError> {
    let is_good = (1..=MAX_EXTERNAL_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    let message = "must have 1 to 128 visible ASCII characters without spaces";
    if is_good { Ok(()) } else { Err(FieldError::new("external_id", message)) }
}

/// What lists show of a key: visible ASCII characters, and the one sign for what is left out.
///
/// # Errors
/// What is wrong with `hint`, and what is accepted.
pub fn hint(text: &str) -> Result<(), FieldError> {
    let is_good = (1..=MAX_HINT).contains(&text.chars().count())
        && text.chars().all(|c| c.is_ascii_graphic() || c == '…');
    let message = "must have 1 to 64 visible ASCII characters, among which … may stand";
    if is_good { Ok(()) } else { Err(FieldError::new("hint", message)) }
}

/// How many days a key is to live, where it may live `max` of them.
///
/// # Errors
/// What is wrong with `expires_in_days`, and what is accepted; `None` stands for no whole number at all.
pub fn days(days: Option<i64>, max: i64) -> Result<i64, FieldError> {
    let is_good = |days: &i64| (*DAYS.start()..=max).contains(days);
    days.filter(is_good).ok_or_else(|| {
        FieldError::new("expires_in_days", format!("must be a whole number from 1 to {max}"))
    })
}

/// A key's tags: each once, in order.
///
/// # Errors
/// What is wrong with `tags`, and what is accepted.
pub fn tags(mut tags: Vec<String>) -> Result<Vec<String>, FieldError> {
    if !tags.iter().all(|tag| is_tag(tag)) {
        let message =
            "must hold texts of 1 to 50 characters a-z 0-9 . _ : / -, the first a letter or digit";
        return Err(FieldError::new("tags", message));
    }
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TAGS {
        return Err(FieldError::new("tags", "must hold at most 20 tags"));
    }
    Ok(tags)
}

/// `[a-z0-9][a-z0-9._:/-]{0,49}`
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_next = |byte: u8| is_first(byte) || b"._:/-".contains(&byte);
    text.len() <= MAX_TAG && text.bytes().next().is_some_and(is_first) && text.bytes().all(is_next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_in_characters_and_hide_nothing() {
        assert_eq!(name(Some("  ci ")).unwrap(), "ci");
        assert!(name(Some(&"ä".repeat(MAX_NAME))).is_ok());
        for wrong in [None, Some(""), Some("  "), Some("a\u{202e}b"), Some("a\nb")] {
            assert_eq!(name(wrong).unwrap_err().field, "name", "{wrong:?}");
        }
        assert!(name(Some(&"ä".repeat(MAX_NAME + 1))).is_err());
        assert!(description("").is_ok() && description("two\nlines\tand a tab\r\n").is_ok());
        assert!(description(&"ä".repeat(MAX_DESCRIPTION)).is_ok());
        assert!(description(&"ä".repeat(MAX_DESCRIPTION + 1)).is_err());
        for wrong in ["\0", "a\u{202e}b", "\u{1b}[1m"] {
            assert_eq!(description(wrong).unwrap_err().field, "description");
            assert_eq!(note(wrong).unwrap_err().field, "note");
        }
        assert!(note(&"x".repeat(MAX_NOTE)).is_ok() && note(&"x".repeat(MAX_NOTE + 1)).is_err());
    }

    #[test]
    fn days_are_as_many_as_a_key_may_live() {
        for good in [1, 30] {
            assert_eq!(days(Some(good), 30), Ok(good));
        }
        for wrong in [None, Some(0), Some(-1), Some(31), Some(i64::MAX)] {
            assert_eq!(days(wrong, 30).unwrap_err().field, "expires_in_days");
        }
    }

    #[test]
    fn ids_and_tags_have_few_characters() {
        for good in ["a", "!~", &"x".repeat(MAX_EXTERNAL_ID)] {
            assert!(external_id(good).is_ok(), "{good}");
        }
        for wrong in ["", " ", "a b", "ä", "\u{7f}", &"x".repeat(MAX_EXTERNAL_ID + 1)] {
            assert!(external_id(wrong).is_err(), "{wrong}");
        }
        for good in ["sk_EXFE…q7Zk", "sk_sandbox_EXFE…q7Zk", &"x".repeat(MAX_HINT)] {
            assert!(hint(good).is_ok(), "{good}");
        }
        for wrong in ["", "\0", "sk_EXFE q7Zk", "ä", "\u{202e}", &"x".repeat(MAX_HINT + 1)] {
            assert_eq!(hint(wrong).unwrap_err().field, "hint", "{wrong}");
        }
        for good in ["a", "0", "team:core", "a.b_c:d/e-f", &"x".repeat(MAX_TAG)] {
            assert!(is_tag(good), "{good}");
        }
        for wrong in ["", "A", "-a", "a b", "ä", "a\n", &"x".repeat(MAX_TAG + 1)] {
            assert!(!is_tag(wrong), "{wrong}");
        }
        let list = |texts: &[&str]| tags(texts.iter().map(ToString::to_string).collect());
        assert_eq!(list(&["b", "a", "b"]).unwrap(), ["a", "b"]);
        let many: Vec<String> = (0..=MAX_TAGS).map(|number| number.to_string()).collect();
        assert!(tags(many[1..].to_vec()).is_ok());
        assert_eq!(tags(many).unwrap_err().field, "tags");
    }
}
