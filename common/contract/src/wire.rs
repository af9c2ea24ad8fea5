//! Bytes on the bus: the only file that names a codec.
//!
//! Bincode between our own services; JSON for whoever says so, and answered in JSON. Bincode is positional,
//! so a message in it begins with the number of the contract it was written by ([`CONTRACT`]), and the bytes of
//! each message are pinned by tests. A process reads its own number and the one before ([`previous`]), so that
//! replicas can be exchanged one by one. Two faults of bincode 2.0.1 are closed here: without a limit a
//! nine-byte message can abort the process, and trailing bytes would be ignored.
//!
//! [`previous`]: crate::previous

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{Message, Untranslatable};
pub use json::{from_json, to_json};

mod json;

/// The number of the contract that this release writes: raised with any change of the golden bytes. 1 is the
/// messages as they stood before there was a number in front of them.
pub const CONTRACT: u16 = 3;
/// The number before it, which this release reads and can write.
pub const PREVIOUS: u16 = CONTRACT - 1;

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

/// The contract numbers that a process reads; it writes the newest of them wherever it is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contracts {
    oldest: u16,
    newest: u16,
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
    #[error("{what}, at line {line}, column {column}")]
    Json {
        /// The field that is wrong; empty where it is the message as a whole.
        field: String,
        /// What is wrong, or what is expected.
        what: String,
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
    /// The bytes are too few to begin with a contract number.
    #[error("no contract number")]
    NoContract,
    /// The message is of a release that is too far away.
    #[error("of contract number {found}, where {reads} are read")]
    Contract {
        /// The message's.
        found: u16,
        /// Those that are read here.
        reads: Contracts,
    },
    /// The message cannot be said in the form that the other side reads.
    #[error("cannot be said in the form of contract number {PREVIOUS}: {0}")]
    Untranslatable(#[from] Untranslatable),
}

/// What the values of one message may take at most while it is read, as bincode counts: a number of one byte counts
/// as the eight that it may be. So whatever is written within [`MAX_MESSAGE`] can be read, and a length that lies
/// makes room for no more than this.
const MAX_READ: usize = size_of::<u64>() * MAX_MESSAGE;

const CODEC: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_READ>,
> = bincode::config::standard().with_limit::<MAX_READ>();

impl Contracts {
    /// What this release reads.
    pub const OWN: Self = Self { oldest: PREVIOUS, newest: CONTRACT };

    /// What a release reads whose own number is `newest`; the first numbered one reads no other.
    #[must_use]
    pub const fn of(newest: u16) -> Self {
        let oldest = if newest > 1 { newest - 1 } else { 1 };
        Self { oldest, newest }
    }

    /// The number that it writes where it can.
    #[must_use]
    pub fn newest(self) -> u16 {
        self.newest
    }

    /// The lowest number that it reads.
    #[must_use]
    pub fn oldest(self) -> u16 {
        self.oldest
    }

    /// Whether it reads messages of this number.
    #[must_use]
    pub fn reads(self, contract: u16) -> bool {
        (self.oldest..=self.newest).contains(&contract)
    }

    /// The greatest number that both read.
    #[must_use]
    pub fn greatest_common(self, other: Self) -> Option<u16> {
        let greatest = self.newest.min(other.newest);
        (self.reads(greatest) && other.reads(greatest)).then_some(greatest)
    }
}

/// As it stands in a header: `1-2`, or one number.
impl fmt::Display for Contracts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            return self.newest.fmt(f);
        }
        write!(f, "{}-{}", self.oldest, self.newest)
    }
}

impl FromStr for Contracts {
    type Err = std::num::ParseIntError;

    /// Two numbers in the wrong order read as a range that holds none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (oldest, newest) = text.split_once('-').unwrap_or((text, text));
        Ok(Self { oldest: oldest.parse()?, newest: newest.parse()? })
    }
}

impl WireError {
    /// The field that is wrong; empty where it is the message as a whole, or not known.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Json { field, .. } => field,
            _ => "",
        }
    }
}

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

    /// Writes `value` as a message in this encoding, in bincode by this contract.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] above [`MAX_MESSAGE`] bytes; as [`encode`].
    pub fn encode<T: Message>(self, value: &T, contract: u16) -> Result<Vec<u8>, WireError> {
        match self {
            Self::Bincode => encode(value, contract),
            Self::Json => to_json(value),
        }
    }

    /// Reads one message in this encoding, all of it, and says by which contract it was written; JSON has
    /// names in place of a number.
    ///
    /// # Errors
    /// Where `bytes` are too many, are not a `T`, or go on behind it; as [`decode`].
    pub fn decode<T: Message>(self, bytes: &[u8], reads: Contracts) -> Result<(u16, T), WireError> {
        match self {
            Self::Bincode => decode(bytes, reads),
            Self::Json => Ok((reads.newest, from_json(bytes)?)),
        }
    }
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, WireError> {
    if bytes.len() > MAX_MESSAGE { Err(WireError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Writes `value` as a message in bincode, by this contract.
///
/// # Errors
/// [`WireError::TooLarge`] above [`MAX_MESSAGE`] bytes; [`WireError::Untranslatable`] where it cannot be said
/// by that contract; [`WireError::Contract`] where this release does not know that contract.
pub fn encode<T: Message>(value: &T, contract: u16) -> Result<Vec<u8>, WireError> {
    match contract {
        CONTRACT => write(contract, value),
        PREVIOUS => write(contract, &value.clone().into_previous()?),
        found => Err(WireError::Contract { found, reads: Contracts::OWN }),
    }
}

/// Reads one message in bincode, all of it, and says by which contract it was written.
///
/// # Errors
/// Where `bytes` are too many, are of a contract that is none of `reads`, are not a `T`, go on behind it, or
/// say something by the contract before that has no meaning now.
pub fn decode<T: Message>(bytes: &[u8], reads: Contracts) -> Result<(u16, T), WireError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(bytes.len()));
    }
    let (number, body) = bytes.split_first_chunk().ok_or(WireError::NoContract)?;
    match u16::from_le_bytes(*number) {
        CONTRACT if reads.reads(CONTRACT) => Ok((CONTRACT, read(body)?)),
        PREVIOUS if reads.reads(PREVIOUS) => Ok((PREVIOUS, T::from_previous(read(body)?)?)),
        found => Err(WireError::Contract { found, reads }),
    }
}

fn write<T: Serialize>(contract: u16, value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::from(contract.to_le_bytes());
    bincode::serde::encode_into_std_write(value, &mut bytes, CODEC).map_err(WireError::Encode)?;
    within_limit(bytes)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    let (value, read) =
        bincode::serde::decode_from_slice(body, CODEC).map_err(WireError::Decode)?;
    if read != body.len() {
        return Err(WireError::Trailing(body.len() - read));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
