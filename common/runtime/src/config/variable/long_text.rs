//! A kind of variable: a text that nobody guesses.

use super::{Fault, Kind};

/// A text of so many characters or more: a secret that nobody guesses.
#[derive(Clone, Copy, Debug)]
pub struct LongText<T> {
    /// How many characters.
    pub min: usize,
    /// What else is asked of it.
    pub note: &'static str,
    /// What it is read into.
    pub make: fn(String) -> T,
}

impl<T> Kind for LongText<T> {
    type Value = T;

    fn read(&self, text: &str) -> Result<T, Fault> {
        match text.chars().count() {
            length if length < self.min => {
                Err(Fault::Because(format!("{length} characters are too few")))
            }
            _ => Ok((self.make)(text.to_owned())),
        }
    }

    fn accepted(&self) -> String {
        format!("at least {} characters, {}", self.min, self.note)
    }

    fn placeholder(&self) -> &'static str {
        "SECRET"
    }
}
