//! How a variable is declared: once, in a table of its part. From the declaration come how it is read, what is said of
//! a wrong value, its flag, the help text and its line in the documentation.

mod long_text;

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::ConfigError;

pub use long_text::LongText;

/// One variable, whose values are of the kind `K`.
#[derive(Clone, Copy, Debug)]
pub struct Variable<K> {
    /// Its name in the environment.
    pub name: &'static str,
    /// Which values it takes.
    pub kind: K,
    /// What holds where it is not set.
    pub default: Preset,
    /// What it is for.
    pub help: &'static str,
}

/// What holds where a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This value, as one would write it.
    Value(&'static str),
    /// Something that whoever reads it works out, in words.
    Described(&'static str),
}

/// Which values a variable takes.
pub trait Kind {
    /// What a value is read into.
    type Value;
    /// Whether values are secret: never shown, without a flag, and taken from the file that `NAME_FILE` names, too.
    const IS_SECRET: bool = false;
    /// Whether an empty text is a value. Of all other kinds it is as if the variable were not set.
    const TAKES_NOTHING: bool = false;

    /// Reads a value.
    ///
    /// # Errors
    /// [`Fault`] where it is none.
    fn read(&self, text: &str) -> Result<Self::Value, Fault>;

    /// What is accepted, in words.
    fn accepted(&self) -> String;

    /// What stands for the value after the flag.
    fn placeholder(&self) -> &'static str;

    /// The values, where they are few.
    fn choices(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is none of those that are accepted; where it is no secret, it is repeated.
    Unusable,
    /// This is wrong with it, which does not repeat what may be a secret.
    Because(String),
}

/// A whole number within a range.
#[derive(Clone, Copy, Debug)]
pub struct Number<T> {
    /// The least.
    pub min: T,
    /// The greatest.
    pub max: T,
    /// What else is asked of it, after a comma; or nothing.
    pub note: &'static str,
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug)]
pub struct Switch;

/// One of a few words.
#[derive(Clone, Copy, Debug)]
pub struct OneOf(pub &'static [&'static str]);

/// Any text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// What is accepted, in words.
    pub accepted: &'static str,
}

/// What a function reads.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<T> {
    /// Reads a value.
    pub read: fn(&str) -> Result<T, Fault>,
    /// What is accepted, in words.
    pub accepted: &'static str,
    /// What stands for the value after the flag.
    pub placeholder: &'static str,
}

/// A secret: [`Kind::IS_SECRET`].
#[derive(Clone, Copy, Debug)]
pub struct Confidential<K>(pub K);

/// A kind of which an empty text is a value, too: [`Kind::TAKES_NOTHING`].
#[derive(Clone, Copy, Debug)]
pub struct OrNothing<K>(pub K);

/// A declaration, whatever its kind: what tables hold.
pub trait Setting: Sync {
    /// The variable's name.
    fn name(&self) -> &'static str;
    /// What it is for.
    fn help(&self) -> &'static str;
    /// What holds where it is not set.
    fn default(&self) -> Preset;
    /// What is accepted, in words.
    fn accepted(&self) -> String;
    /// What stands for the value after the flag.
    fn placeholder(&self) -> &'static str;
    /// The values, where they are few.
    fn choices(&self) -> &'static [&'static str];
    /// Whether its values are secret: [`Kind::IS_SECRET`].
    fn is_secret(&self) -> bool;
    /// Whether `text` is a value of it.
    ///
    /// # Errors
    /// [`ConfigError`] where it is none.
    fn check(&self, text: &str) -> Result<(), ConfigError>;

    /// The name of its flag, without the dashes; a secret has none, because everybody on a machine sees the command
    /// lines of all processes.
    fn flag(&self) -> Option<String> {
        (!self.is_secret()).then(|| self.name().to_ascii_lowercase().replace('_', "-"))
    }

    /// The variable that names a file with the value, which only a secret has.
    fn file_name(&self) -> Option<String> {
        self.is_secret().then(|| file_of(self.name()))
    }
}

/// The settings of one part, in the order in which they are shown.
#[derive(Clone)]
pub struct Table {
    /// What they are about.
    pub title: &'static str,
    /// The settings.
    pub settings: Vec<&'static dyn Setting>,
}

impl<K: Kind> Variable<K> {
    /// An error that says what is wrong with this variable's value.
    pub fn wrong(&self, fault: impl Into<String>) -> ConfigError {
        self.wrong_as(self.name, fault)
    }

    /// The same for a variable that stands for this one.
    pub(super) fn wrong_as(&self, name: &str, fault: impl Into<String>) -> ConfigError {
        let (name, fault) = (name.to_owned(), fault.into());
        ConfigError::Value { name, fault, accepted: self.kind.accepted() }
    }

    pub(super) fn read(&self, text: &str) -> Result<K::Value, ConfigError> {
        self.kind.read(text).map_err(|fault| match fault {
            Fault::Because(fault) => self.wrong(fault),
            Fault::Unusable if K::IS_SECRET => self.wrong("the value cannot be used"),
            Fault::Unusable => self.wrong(format!("{text:?} cannot be used")),
        })
    }
}

impl<K: Kind + Sync> Setting for Variable<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn default(&self) -> Preset {
        self.default
    }

    fn accepted(&self) -> String {
        self.kind.accepted()
    }

    fn placeholder(&self) -> &'static str {
        self.kind.placeholder()
    }

    fn choices(&self) -> &'static [&'static str] {
        self.kind.choices()
    }

    fn is_secret(&self) -> bool {
        K::IS_SECRET
    }

    fn check(&self, text: &str) -> Result<(), ConfigError> {
        self.read(text).map(drop)
    }
}

impl Preset {
    /// It in words.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Described(text) => text,
        }
    }
}

impl Table {
    /// A part's settings.
    #[must_use]
    pub fn new(title: &'static str, settings: &[&'static dyn Setting]) -> Self {
        Self { title, settings: settings.to_vec() }
    }

    /// Several parts' tables as those of one process: each title once, with each setting once.
    #[must_use]
    pub fn joined(tables: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for Self { title, settings } in tables {
            let place = all.iter().position(|table| table.title == title);
            let place = place.unwrap_or_else(|| {
                all.push(Self::new(title, &[]));
                all.len() - 1
            });
            let Some(table) = all.get_mut(place) else { continue };
            for setting in settings {
                if !table.settings.iter().any(|known| known.name() == setting.name()) {
                    table.settings.push(setting);
                }
            }
        }
        all
    }
}

/// The name of the variable that names a file with a secret.
pub(super) fn file_of(name: &str) -> String {
    format!("{name}_FILE")
}

impl<T> Kind for Number<T>
where
    T: FromStr + PartialOrd + Display,
{
    type Value = T;

    fn read(&self, text: &str) -> Result<T, Fault> {
        let number = text.parse().ok().filter(|number| (&self.min..=&self.max).contains(&number));
        number.ok_or(Fault::Unusable)
    }

    fn accepted(&self) -> String {
        let Self { min, max, note } = self;
        let comma = if note.is_empty() { "" } else { ", " };
        format!("a whole number from {min} to {max}{comma}{note}")
    }

    fn placeholder(&self) -> &'static str {
        "NUMBER"
    }
}

impl Kind for Switch {
    type Value = bool;

    fn read(&self, text: &str) -> Result<bool, Fault> {
        match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(Fault::Unusable),
        }
    }

    fn accepted(&self) -> String {
        "on or off".to_owned()
    }

    fn placeholder(&self) -> &'static str {
        "on|off"
    }

    fn choices(&self) -> &'static [&'static str] {
        &["on", "off"]
    }
}

impl Kind for OneOf {
    type Value = &'static str;

    fn read(&self, text: &str) -> Result<&'static str, Fault> {
        self.0.iter().copied().find(|word| *word == text).ok_or(Fault::Unusable)
    }

    fn accepted(&self) -> String {
        self.0.join(", ")
    }

    fn placeholder(&self) -> &'static str {
        "WORD"
    }

    fn choices(&self) -> &'static [&'static str] {
        self.0
    }
}

impl Kind for Text {
    type Value = String;

    fn read(&self, text: &str) -> Result<String, Fault> {
        Ok(text.to_owned())
    }

    fn accepted(&self) -> String {
        self.accepted.to_owned()
    }

    fn placeholder(&self) -> &'static str {
        "TEXT"
    }
}

impl<T> Kind for Parsed<T> {
    type Value = T;

    fn read(&self, text: &str) -> Result<T, Fault> {
        (self.read)(text)
    }

    fn accepted(&self) -> String {
        self.accepted.to_owned()
    }

    fn placeholder(&self) -> &'static str {
        self.placeholder
    }
}

impl<K: Kind> Kind for Confidential<K> {
    type Value = K::Value;
    const IS_SECRET: bool = true;

    fn read(&self, text: &str) -> Result<K::Value, Fault> {
        self.0.read(text)
    }

    fn accepted(&self) -> String {
        self.0.accepted()
    }

    fn placeholder(&self) -> &'static str {
        self.0.placeholder()
    }
}

impl<K: Kind> Kind for OrNothing<K> {
    type Value = K::Value;
    const IS_SECRET: bool = K::IS_SECRET;
    const TAKES_NOTHING: bool = true;

    fn read(&self, text: &str) -> Result<K::Value, Fault> {
        self.0.read(text)
    }

    fn accepted(&self) -> String {
        self.0.accepted()
    }

    fn placeholder(&self) -> &'static str {
        self.0.placeholder()
    }
}
