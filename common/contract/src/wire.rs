//! Bytes on the bus: the only file that names a codec.
//!
//! Bincode is positional, so its version is part of every subject (`v1.…`) and the bytes of each
//! message are pinned by tests. Two faults of bincode 2.0.1 are closed here: without a limit a
//! nine-byte message can abort the process, and trailing bytes would be ignored.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of one message at most, either way.
pub const MAX_MESSAGE: usize = 64 * 1_024;
/// Items in one batched request at most: a hundred of the longest principals fit in a message.
pub const MAX_BATCH: usize = 100;

/// Why bytes are no message, or a value does not become one.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The value takes more than [`MAX_MESSAGE`] bytes, or cannot be written.
    #[error("cannot be encoded in {MAX_MESSAGE} bytes")]
    Encode(#[source] bincode::error::EncodeError),
    /// The bytes are not such a value.
    #[error("not a message of this kind")]
    Decode(#[source] bincode::error::DecodeError),
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

/// Writes `value` as a message.
///
/// # Errors
/// [`WireError::TooLarge`] above [`MAX_MESSAGE`] bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let bytes = bincode::serde::encode_to_vec(value, CODEC).map_err(WireError::Encode)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// Reads one message, all of it.
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
