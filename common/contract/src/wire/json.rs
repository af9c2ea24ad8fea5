//! JSON, for whoever says so. What is wrong with a message is told by its field and by what was expected
//! there, never by what stood there: it may be a secret.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::{MAX_MESSAGE, WireError, within_limit};

/// How the codec's texts begin that name a value or a field of the message and then what was expected.
const TEXTS: [&str; 5] =
    ["invalid type: ", "invalid value: ", "invalid length ", UNKNOWN_FIELD, "unknown variant "];
/// How its text begins where a field is not known; then the path's last part is the message's own.
const UNKNOWN_FIELD: &str = "unknown field ";

/// Writes `value` in JSON.
///
/// # Errors
/// [`WireError::TooLarge`] above [`MAX_MESSAGE`] bytes.
pub fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    within_limit(serde_json::to_vec(value).map_err(|error| fault(String::new(), &error))?)
}

/// Reads one value in JSON, all of it.
///
/// # Errors
/// Where `bytes` are too many, are not a `T`, or go on behind it.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(bytes.len()));
    }
    // It refuses 128 values within each other.
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut from)
        .map_err(|error| fault(field(error.path(), error.inner()), error.inner()))?;
    from.end().map_err(|error| fault(String::new(), &error))?;
    Ok(value)
}

fn fault(field: String, error: &serde_json::Error) -> WireError {
    let what = match error.classify() {
        Category::Eof => "JSON that ends too soon".to_owned(),
        Category::Syntax | Category::Io => "no JSON".to_owned(),
        Category::Data => expected(&error.to_string()),
    };
    WireError::Json { field, what, line: error.line(), column: error.column() }
}

/// The field in which a value is wrong, as `a.b[0]`; empty where it is the message as a whole. Every name in
/// it is one of ours.
fn field(path: &Path, error: &serde_json::Error) -> String {
    if error.classify() != Category::Data {
        return String::new();
    }
    let foreign = usize::from(error.to_string().starts_with(UNKNOWN_FIELD));
    let known = path.iter().count().saturating_sub(foreign);
    let mut field = String::new();
    for segment in path.iter().take(known) {
        let part = match segment {
            Segment::Seq { index } => format!("[{index}]"),
            Segment::Map { key } if field.is_empty() => key.clone(),
            Segment::Map { key } => format!(".{key}"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        field.push_str(&part);
    }
    field
}

/// What the codec expected, in our words. The part of its text before that quotes the message.
fn expected(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("duplicate field ") {
        let name = rest.split_once(" at line ").map_or(rest, |(name, _)| name);
        return format!("has the field {name} twice");
    }
    let tail = text.rsplit_once(", expected ").map(|(_, tail)| tail);
    let tail = tail.filter(|_| TEXTS.iter().any(|begin| text.starts_with(begin)));
    let Some(tail) = tail.filter(|_| !text.contains("there are no ")) else {
        return "must be a message of this kind".to_owned();
    };
    let tail = tail.rsplit_once(" at line ").map_or(tail, |(tail, _)| tail);
    match tail {
        "a string" | "a borrowed string" | "str" | "string" => "must be a text".to_owned(),
        "a boolean" => "must be true or false".to_owned(),
        "a sequence" => "must be a list".to_owned(),
        "i64" | "u64" | "u32" | "i32" => format!("must be a whole number ({tail})"),
        _ if tail.starts_with("struct ") => "must be an object".to_owned(),
        _ if text.starts_with(UNKNOWN_FIELD) => {
            format!("has an unknown field, where only {tail} may be")
        }
        _ => format!("must be {tail}"),
    }
}
