//! Bytes on the bus: the only file that names a codec.
//!
//! Bincode between our own services; JSON for whoever says so, and answered in JSON. Bincode is positional, so its version is part of every subject (`v1.…`) and the bytes of each
//! message are pinned by tests. Two faults of bincode 2.0.1 are closed here: without a limit a
//! nine-byte message can abort the process, and trailing bytes would be ignored.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Bytes of one message at most, either way.
pub const MAX_MESSAGE: usize = 64 * 1_024;
/// Items in one batched request at most: a hundred of the longest principals fit in a message.
pub const MAX_BATCH: usize = 100;

/// How a message is written. A request says which it is, and its reply is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Bincode, where nothing is said.
    #[default]
    Bincode,
    /// JSON, where the header `Content-Type` says `application/json`.
    Json,
}

/// Why bytes are no message, or a value does not become one. Nothing of the bytes is in its text:
/// they may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The value takes more than [`MAX_MESSAGE`] bytes, or cannot be written.
    #[error("cannot be encoded in {MAX_MESSAGE} bytes")]
    Encode(#[source] bincode::error::EncodeError),
    /// The bytes are not such a value.
    #[error("not a message of this kind")]
    Decode(#[source] bincode::error::DecodeError),
    /// The text is not JSON, or not such a value.
    #[error("{what} at line {line}, column {column}")]
    Json {
        /// What is wrong.
        what: &'static str,
        /// The line, from 1.
        line: usize,
        /// The character of the line, from 1; 0 where it is not known.
        column: usize,
    },
    /// There is more than one value in the bytes.
    #[error("{0} bytes behind the message")]
    Trailing(usize),
    /// More bytes than [`MAX_MESSAGE`].
    #[error("{0} bytes are above the limit of {MAX_MESSAGE}")]
    TooLarge(usize),
}

const CODEC: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_MESSAGE>,
> = bincode::config::standard().with_limit::<MAX_MESSAGE>();

impl Encoding {
    /// The value of `Content-Type` that asks for JSON.
    pub const JSON: &'static str = "application/json";

    /// The encoding that a `Content-Type` names; its parameters and its case do not matter.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        if media.trim().eq_ignore_ascii_case(Self::JSON) { Self::Json } else { Self::Bincode }
    }

    /// The value of `Content-Type` that names this encoding; bincode has none.
    #[must_use]
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Bincode => None,
            Self::Json => Some(Self::JSON),
        }
    }

    /// Writes `value` as a message in this encoding.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] above [`MAX_MESSAGE`] bytes.
    pub fn encode<T: Serialize>(self, value: &T) -> Result<Vec<u8>, WireError> {
        match self {
            Self::Bincode => encode(value),
            Self::Json => within_limit(serde_json::to_vec(value).map_err(|error| json(&error))?),
        }
    }

    /// Reads one message in this encoding, all of it.
    ///
    /// # Errors
    /// Where `bytes` are too many, are not a `T`, or go on behind it.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, WireError> {
        match self {
            Self::Bincode => decode(bytes),
            Self::Json if bytes.len() > MAX_MESSAGE => Err(WireError::TooLarge(bytes.len())),
            // It refuses what goes on behind the value, and 128 values within each other.
            Self::Json => serde_json::from_slice(bytes).map_err(|error| json(&error)),
        }
    }
}

/// The codec's own text quotes the message; this does not.
fn json(error: &serde_json::Error) -> WireError {
    let what = match error.classify() {
        Category::Eof => "JSON that ends too soon",
        Category::Syntax | Category::Io => "no JSON",
        Category::Data => "JSON, but not of this kind,",
    };
    WireError::Json { what, line: error.line(), column: error.column() }
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, WireError> {
    if bytes.len() > MAX_MESSAGE { Err(WireError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Writes `value` as a message in bincode.
///
/// # Errors
/// [`WireError::TooLarge`] above [`MAX_MESSAGE`] bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    within_limit(bincode::serde::encode_to_vec(value, CODEC).map_err(WireError::Encode)?)
}

/// Reads one message in bincode, all of it.
///
/// # Errors
/// Where `bytes` are too many, are not a `T`, or go on behind it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(bytes.len()));
    }
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, CODEC).map_err(WireError::Decode)?;
    if read != bytes.len() {
        return Err(WireError::Trailing(bytes.len() - read));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
