//! The environments of an installation's keys: a list of names, of which the first stands in no key's text.

use std::fmt;

use latchkey_contract::credential::{KeyEnvironment, KeyPrefix};

/// Environments at most.
const MAX: usize = 8;
/// Prefixes of another company's keys.
const FOREIGN_PREFIXES: [&str; 3] = ["sk", "rk", "pk"];
/// What stands behind them in that company's keys.
const FOREIGN_ENVIRONMENTS: [&str; 4] = ["live", "test", "prod", "org"];

/// One to eight names, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environments {
    first: KeyEnvironment,
    others: Box<[KeyEnvironment]>,
}

/// Why a text names no environments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEnvironments {
    /// One of them is none.
    #[error("{0:?} is no name of an environment")]
    NoName(String),
    /// One is named twice.
    #[error("{0} is named twice")]
    Twice(KeyEnvironment),
    /// There are more than 8 names.
    #[error("more than 8 are named")]
    TooMany,
}

impl Environments {
    /// The names that `text` holds, with a comma between two; blanks around them are nothing.
    ///
    /// # Errors
    /// [`MalformedEnvironments`] says which rule they break.
    pub fn parse(text: &str) -> Result<Self, MalformedEnvironments> {
        let mut names = text.split(',').map(|name| {
            let name = name.trim();
            let no_name = |_malformed| MalformedEnvironments::NoName(name.to_owned());
            KeyEnvironment::parse(name).map_err(no_name)
        });
        // A split text has at least one part.
        let none = || Err(MalformedEnvironments::NoName(String::new()));
        let first = names.next().unwrap_or_else(none)?;
        let mut others = Vec::new();
        for name in names {
            let name = name?;
            if name == first || others.contains(&name) {
                return Err(MalformedEnvironments::Twice(name));
            }
            others.push(name);
            if others.len() >= MAX {
                return Err(MalformedEnvironments::TooMany);
            }
        }
        Ok(Self { first, others: others.into() })
    }

    /// The environment of a key whose maker does not say.
    #[must_use]
    pub const fn first(&self) -> &KeyEnvironment {
        &self.first
    }

    /// The one of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&KeyEnvironment> {
        [&self.first].into_iter().chain(&self.others).find(|known| known.as_str() == name)
    }

    /// What stands in the texts of this environment's keys: nothing for the first.
    #[must_use]
    pub fn infix<'a>(&self, environment: &'a KeyEnvironment) -> Option<&'a KeyEnvironment> {
        (*environment != self.first).then_some(environment)
    }

    /// An environment whose keys, under `prefix`, scanners of secrets take for another company's: they would be
    /// reported to it.
    #[must_use]
    pub fn mistaken(&self, prefix: &KeyPrefix) -> Option<&KeyEnvironment> {
        if !FOREIGN_PREFIXES.contains(&prefix.as_str()) {
            return None;
        }
        self.others.iter().find(|name| FOREIGN_ENVIRONMENTS.contains(&name.as_str()))
    }
}

/// Their names, as a list for people.
impl fmt::Display for Environments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.others.iter().try_for_each(|name| write!(f, ", {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environments(text: &str) -> Environments {
        Environments::parse(text).unwrap()
    }

    #[test]
    fn the_first_stands_in_no_text() {
        let two = environments("live, sandbox");
        assert_eq!(two.first().as_str(), "live");
        assert_eq!(two.find("live").map(|found| two.infix(found)), Some(None));
        let sandbox = two.find("sandbox").unwrap();
        assert_eq!(two.infix(sandbox), Some(sandbox));
        assert_eq!(two.find("other"), None);
        assert_eq!(environments("eu").find("eu"), Some(environments("eu").first()));
    }

    #[test]
    fn one_to_eight_different_names_are_accepted() {
        assert!(Environments::parse("e1,e2,e3,e4,e5,e6,e7,e8").is_ok());
        let too_many = Environments::parse("e1,e2,e3,e4,e5,e6,e7,e8,e9");
        assert_eq!(too_many, Err(MalformedEnvironments::TooMany));
        for twice in ["live,live", "live,eu,eu", "live,eu,live"] {
            let fault = Environments::parse(twice);
            assert!(matches!(fault, Err(MalformedEnvironments::Twice(_))), "{twice}");
        }
        for none in ["", ",", "live,", ",live", "Live", "l", "live sandbox", "a_b", "1234567890123"]
        {
            let fault = Environments::parse(none);
            assert!(matches!(fault, Err(MalformedEnvironments::NoName(_))), "{none}");
        }
    }

    #[test]
    fn names_under_which_another_companys_keys_are_known_are_seen() {
        for prefix in ["sk", "rk", "pk"] {
            let prefix = KeyPrefix::parse(prefix).unwrap();
            for name in ["live", "test", "prod", "org"] {
                let behind = environments(&format!("main,sandbox,{name}"));
                assert_eq!(behind.mistaken(&prefix).map(KeyEnvironment::as_str), Some(name));
                // It is in no key's text.
                assert_eq!(environments(&format!("{name},sandbox")).mistaken(&prefix), None);
            }
        }
        let own = KeyPrefix::parse("acme").unwrap();
        assert_eq!(environments("main,live,test,prod,org").mistaken(&own), None);
    }
}
