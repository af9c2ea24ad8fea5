//! Variables from the environment and from a `.env` file: the only file that reads the environment.
//!
//! A variable that is set to nothing counts as not set. The environment wins over `.env`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use percent_encoding::percent_decode_str;

/// One variable, as help texts and documents show it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds where it is not set, in words.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// What is accepted.
    pub accepted: &'static str,
}

/// The variables this process was started with.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
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
        accepted: &'static str,
    },
    /// The `.env` file is not in the form of one.
    #[error(".env: {0}; accepted are lines of NAME=VALUE")]
    File(String),
}

impl Environment {
    /// The process's environment over the `.env` file in the working directory, if there is one.
    ///
    /// # Errors
    /// [`ConfigError::File`] where `.env` cannot be read.
    pub fn load() -> Result<Self, ConfigError> {
        let mut values = read_file(Path::new(".env"))?;
        #[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
        let process = std::env::vars_os();
        values.extend(process.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        }));
        Ok(Self { values })
    }

    /// An environment of exactly these variables.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().collect() }
    }

    /// The value of `variable`, if it is set to something.
    #[must_use]
    pub fn text(&self, variable: &Variable) -> Option<&str> {
        self.values.get(variable.name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of `variable`, or what the file holds that `NAME_FILE` names (for secrets that a
    /// container gets as files), without the newline at its end.
    ///
    /// # Errors
    /// [`ConfigError`] where both are set, or the file cannot be read.
    pub fn secret(&self, variable: &Variable) -> Result<Option<String>, ConfigError> {
        let name = format!("{}_FILE", variable.name);
        let file = self.values.get(&name).filter(|value| !value.is_empty());
        match (self.text(variable), file) {
            (Some(_), Some(_)) => Err(variable.wrong("set both itself and as a file")),
            (Some(value), None) => Ok(Some(value.to_owned())),
            (None, None) => Ok(None),
            (None, Some(path)) => match fs::read_to_string(path) {
                Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
                // What was meant for the variable itself may stand here: it is not repeated.
                Err(error) => Err(ConfigError::Value {
                    name,
                    fault: format!("the file that it names cannot be read: {error}"),
                    accepted: "the path of a readable file",
                }),
            },
        }
    }

    /// The value of `variable` read by `read`, or `default` where it is not set.
    ///
    /// # Errors
    /// [`ConfigError::Value`] where `read` finds nothing in it.
    pub fn parse<T>(
        &self,
        variable: &Variable,
        default: T,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        match self.text(variable) {
            None => Ok(default),
            Some(text) => {
                read(text).ok_or_else(|| variable.wrong(format!("{text:?} cannot be used")))
            }
        }
    }

    /// A whole number from `least` to `most`, or `default`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for anything else.
    pub fn number<T>(
        &self,
        variable: &Variable,
        default: T,
        min: T,
        max: T,
    ) -> Result<T, ConfigError>
    where
        T: std::str::FromStr + PartialOrd,
    {
        let accepted = min..=max;
        self.parse(variable, default, |text| {
            text.parse().ok().filter(|number| accepted.contains(number))
        })
    }

    /// `on` or `off`, or `default`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for anything else.
    pub fn switch(&self, variable: &Variable, default: bool) -> Result<bool, ConfigError> {
        self.parse(variable, default, |text| match text {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        })
    }
}

impl Variable {
    /// An error that says what is wrong with this variable's value.
    pub fn wrong(&self, fault: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            name: self.name.to_owned(),
            fault: fault.into(),
            accepted: self.accepted,
        }
    }

    /// The variables as a list for a help text.
    #[must_use]
    pub fn help(variables: &[&Variable]) -> String {
        let mut text = String::from("Variables (environment, or a .env file here):\n");
        for variable in variables {
            let Self { name, help, accepted, default } = variable;
            let entry = format!("  {name}\n      {help}: {accepted} [default: {default}]\n");
            text.push_str(&entry);
        }
        text
    }
}

/// Values may be secrets: only names are shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    // The library's own message holds the faulty line, which may be a secret.
    let fault = |error: dotenvy::Error| match error {
        dotenvy::Error::LineParse(_, _) => ConfigError::File("a line cannot be read".to_owned()),
        other => ConfigError::File(other.to_string()),
    };
    dotenvy::from_path_iter(path).map_err(fault)?.map(|line| line.map_err(fault)).collect()
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
mod tests {
    use super::*;

    const PORT: Variable =
        Variable { name: "PORT", default: "80", help: "where", accepted: "1 to 9" };

    fn with(value: &str) -> Environment {
        Environment::of([("PORT".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_bad_number_names_the_variable_the_fault_and_what_is_accepted() {
        for bad in ["0", "10", "x", "1.5", "-1", " 1"] {
            let error = with(bad).number(&PORT, 5, 1, 9).unwrap_err().to_string();
            assert_eq!(error, format!("PORT: {bad:?} cannot be used; accepted: 1 to 9"));
        }
        assert_eq!(with("9").number(&PORT, 5, 1, 9), Ok(9));
    }

    #[test]
    fn nothing_counts_as_not_set() {
        assert_eq!(with("").number(&PORT, 5, 1, 9), Ok(5));
        assert_eq!(Environment::default().secret(&PORT), Ok(None));
    }

    #[test]
    fn debug_output_shows_names_only() {
        assert_eq!(format!("{:?}", with("hunter2")), r#"{"PORT"}"#);
    }
}
