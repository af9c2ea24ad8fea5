//! Variables: declared in tables ([`Variable`]), read from an [`Environment`]. This is the only file that reads the
//! process' own.
//!
//! A flag beats the process' environment, which beats the `.env` file; what is set to nothing counts as not set
//! there, so that the next of them counts, but for variables of which nothing is a value ([`OrNothing`]).

mod dotenv;
mod variable;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use dotenv::Values;
use percent_encoding::percent_decode_str;
use variable::file_of;

pub use variable::{
    Confidential, Fault, Kind, LongText, Number, OneOf, OrNothing, Parsed, Preset, Setting, Switch,
    Table, Text, Variable,
};

/// What a process was started with.
#[derive(Clone, Default)]
pub struct Environment {
    /// Each name's value, or why it cannot be taken.
    values: Values,
    /// Names that a flag, or without one the process' environment, sets to nothing.
    emptied: BTreeSet<String>,
}

/// A variable whose value cannot be used. Displays as one line that names the variable, the fault
/// and what is accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value is wrong.
    #[error("{name}: {fault}; accepted: {accepted}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong with its value.
        fault: String,
        /// What is accepted.
        accepted: String,
    },
    /// The `.env` file cannot be read.
    #[error(".env: the file in the working directory cannot be read: {0}")]
    File(String),
}

impl Environment {
    /// The `flags` of the command line, each with the name of its variable, over the process' environment, over the
    /// `.env` file in the working directory, if there is one.
    ///
    /// # Errors
    /// [`ConfigError::File`] where `.env` cannot be read.
    pub fn load(flags: Vec<(String, String)>) -> Result<Self, ConfigError> {
        let read = dotenv::read(Path::new(".env"));
        let mut values = read.map_err(|error| ConfigError::File(error.to_string()))?;
        #[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
        let process = std::env::vars_os();
        let process = process.filter_map(|(name, value)| {
            let value = value.into_string().map_err(|_bytes| "the value is not UTF-8".to_owned());
            Some((name.into_string().ok()?, value))
        });
        let flags = flags.into_iter().map(|(name, value)| (name, Ok(value)));
        let mut emptied = BTreeSet::new();
        for (name, value) in process.chain(flags) {
            // What is set to nothing is not set: the next one counts.
            if value.as_ref().is_ok_and(String::is_empty) {
                emptied.insert(name);
            } else {
                emptied.remove(&name);
                values.insert(name, value);
            }
        }
        Ok(Self { values, emptied })
    }

    /// An environment of exactly these variables.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name, Ok(value))).collect();
        Self { values, emptied: BTreeSet::new() }
    }

    /// The value of `variable`, or what its table says where it is not set.
    ///
    /// # Errors
    /// [`ConfigError`] where it cannot be used, or is not set and the table has no value.
    pub fn read<K: Kind>(&self, variable: &Variable<K>) -> Result<K::Value, ConfigError> {
        match (self.find(variable)?, variable.default) {
            (Some(value), _) => Ok(value),
            (None, Preset::Value(text)) => variable.read(text),
            (None, Preset::Described(_)) => Err(variable.wrong("not set")),
        }
    }

    /// The value of `variable`, if it is set. A secret may stand in the file that `NAME_FILE` names, without the newline
    /// at its end.
    ///
    /// # Errors
    /// [`ConfigError`] where it cannot be used.
    pub fn find<K: Kind>(&self, variable: &Variable<K>) -> Result<Option<K::Value>, ConfigError> {
        let own = self.given(variable, variable.name)?;
        let name = file_of(variable.name);
        let file = if K::IS_SECRET { self.given(variable, &name)? } else { None };
        match (own, file) {
            (Some(_), Some(_)) => Err(variable.wrong("set both itself and as a file")),
            (Some(text), None) => variable.read(text).map(Some),
            (None, Some(path)) => variable.read(&secret_in(path, name)?).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// What is given as `name`, if that is something.
    fn given<K: Kind>(
        &self,
        variable: &Variable<K>,
        name: &str,
    ) -> Result<Option<&str>, ConfigError> {
        if K::TAKES_NOTHING && self.emptied.contains(name) {
            return Ok(Some(""));
        }
        match self.values.get(name) {
            Some(Ok(text)) => {
                Ok(Some(text.as_str()).filter(|text| K::TAKES_NOTHING || !text.is_empty()))
            }
            Some(Err(fault)) => Err(variable.wrong_as(name, fault)),
            None => Ok(None),
        }
    }
}

/// What the file `path` holds, which the variable `name` names.
fn secret_in(path: &str, name: String) -> Result<String, ConfigError> {
    let text = dotenv::bounded(Path::new(path)).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_bytes| std::io::Error::other("it is not UTF-8"))
    });
    let fault = match text {
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => "the file that it names is empty".to_owned(),
            text => return Ok(text.to_owned()),
        },
        // What was meant for the variable itself may stand here: it is not repeated.
        Err(error) => format!("the file that it names cannot be read: {error}"),
    };
    Err(ConfigError::Value { name, fault, accepted: "the path of a readable file".to_owned() })
}

/// Values may be secrets: only names are shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A text without its percent-encoding (RFC 3986 §2.1); `None` where that is not one, or gives no UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<String> {
    let is_code = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    let is_encoded = text.split('%').skip(1).all(is_code);
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    is_encoded.then(|| decoded.into_owned())
}

#[cfg(test)]
mod tests;
