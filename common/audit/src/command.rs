//! What an operator asks of the audit log: whether it is what was sealed, and what is in it. The commands read, and take
//! no lock: the service may run meanwhile.

use std::str::FromStr;

use clap::Subcommand;
use latchkey_runtime::{Exit, StartError, process};
use latchkey_store::{Db, StoreError, values};

use crate::AuditSql;
use crate::anchor::Anchor;
use crate::chain::{ChainKeys, Link};
use crate::record::Record;
use crate::sealer::BATCH;
use crate::verify::{Verified, verify};

/// What can be asked.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that every event is what was sealed, and whether those of anchors are there: exit code 0, or 1 and the first
    /// place that is not
    Verify {
        /// Begin with the event of an anchor of the log, which has to be there; once for each service
        #[arg(long, value_name = "SERVICE:SEQ:HASH")]
        from: Vec<NamedAnchor>,
    },
    /// Print every sealed event, a line of JSON each, in the order of their places
    Export {
        /// Begin behind this place; once for each service
        #[arg(long, value_name = "SERVICE:SEQ")]
        after: Vec<NamedPlace>,
    },
}

/// The events of one service.
#[derive(Clone, Debug)]
pub struct Log {
    /// Where they are.
    pub db: Db,
    /// Whose they are.
    pub sql: &'static AuditSql,
    /// What they are sealed with.
    pub keys: ChainKeys,
}

/// A service's anchor.
#[derive(Clone, Debug)]
pub struct NamedAnchor {
    service: String,
    anchor: Anchor,
}

/// A service's place.
#[derive(Clone, Debug)]
pub struct NamedPlace {
    service: String,
    seq: i64,
}

/// A text that names no place.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Malformed {
    /// It is no anchor.
    #[error("not an anchor: keys:1042:HASH with the 64 digits of its line in the log")]
    Anchor,
    /// It is no place.
    #[error("not a place: keys:1042")]
    Place,
}

impl FromStr for NamedAnchor {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (place, hash) = text.rsplit_once(':').ok_or(Malformed::Anchor)?;
        let NamedPlace { service, seq } = place.parse().map_err(|_place| Malformed::Anchor)?;
        let hash = hex::decode(hash).ok().and_then(|hash| Link::try_from(hash).ok());
        let hash = hash.filter(|_| seq > 0).ok_or(Malformed::Anchor)?;
        Ok(Self { service, anchor: Anchor { seq, hash } })
    }
}

impl FromStr for NamedPlace {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (service, seq) = text.split_once(':').ok_or(Malformed::Place)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or(Malformed::Place)?;
        Ok(Self { service: service.to_owned(), seq })
    }
}

impl AuditCommand {
    /// Does what it says on these logs.
    ///
    /// # Errors
    /// [`StartError`] where a log is not what was sealed, cannot be read, or is none of these.
    pub async fn carry_out(self, logs: &[Log]) -> Result<(), StartError> {
        match self {
            Self::Verify { from } => {
                check(logs, from.iter().map(|from| from.service.as_str()))?;
                check_all(logs, &from).await
            }
            Self::Export { after } => {
                check(logs, after.iter().map(|after| after.service.as_str()))?;
                for log in logs {
                    let own = after.iter().find(|after| after.service == log.sql.service);
                    let written = log.export(own.map_or(0, |after| after.seq)).await;
                    written.map_err(|error| unread(&error))?;
                }
                Ok(())
            }
        }
    }
}

impl Log {
    /// Prints what is sealed behind a place; whoever reads may go away before the end.
    async fn export(&self, mut after: i64) -> Result<(), StoreError> {
        loop {
            let events: Vec<Record> = self.db.fetch(self.sql.page, values![after, BATCH]).await?;
            let Some(last) = events.last() else { return Ok(()) };
            after = last.seq.unwrap_or(after);
            let lines: String = events
                .iter()
                .flat_map(|event| [event.line(self.sql.service), "\n".to_owned()])
                .collect();
            if !process::print_text(&lines) {
                return Ok(());
            }
        }
    }
}

/// Refuses the names of services whose events are not there, and a name twice.
fn check<'a>(logs: &[Log], named: impl Iterator<Item = &'a str>) -> Result<(), StartError> {
    let mut seen = Vec::new();
    for name in named {
        let fault = if !logs.iter().any(|log| log.sql.service == name) {
            "has no events here"
        } else if seen.contains(&name) {
            "is named twice"
        } else {
            seen.push(name);
            continue;
        };
        return Err(StartError::new(Exit::Config, format!("the service {name:?} {fault}")));
    }
    Ok(())
}

/// Checks every log, also where one is broken, and says of each how far it is.
async fn check_all(logs: &[Log], from: &[NamedAnchor]) -> Result<(), StartError> {
    let (mut said, mut is_whole) = (Vec::new(), true);
    for Log { db, sql, keys } in logs {
        let from = from.iter().find(|from| from.service == sql.service).map(|from| from.anchor);
        let verified = verify(db, sql, keys, from).await.map_err(|error| unread(&error))?;
        is_whole &= matches!(verified, Verified::Whole { .. });
        said.push(format!("{} {}", sql.service, shown(verified)));
    }
    let verdict = if is_whole { "ok" } else { "broken" };
    process::print_line(&format!("{verdict}: {}", said.join(", ")));
    if is_whole {
        return Ok(());
    }
    let message = "the audit log is not what was sealed. Where AUDIT_KEY was changed, AUDIT_KEY_PREVIOUS is the former one";
    Err(StartError::new(Exit::Unfit, message))
}

fn shown(verified: Verified) -> String {
    match verified {
        Verified::Whole { from, to } if from > to => "none".to_owned(),
        Verified::Whole { from, to } => format!("{from}..{to}"),
        Verified::Broken { seq } => format!("at {seq}"),
        Verified::Pruned { through } => {
            format!("begins behind {through}, where the anchor's event was pruned")
        }
    }
}

fn unread(error: &StoreError) -> StartError {
    let exit = if error.is_away() { Exit::Unavailable } else { Exit::Data };
    StartError::new(exit, format!("the audit log cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_and_a_place_are_named_as_the_log_shows_them() {
        let link = "0f".repeat(32);
        let from: NamedAnchor = format!("keys:1042:{link}").parse().unwrap();
        assert_eq!((from.service.as_str(), from.anchor.seq), ("keys", 1042));
        assert_eq!(from.anchor.hash, [0x0f; 32]);
        let after: NamedPlace = "identity:0".parse().unwrap();
        assert_eq!((after.service.as_str(), after.seq), ("identity", 0));
        for text in ["", "keys", "keys:1042", "keys:0:{}", "keys:-1:{}", "keys:1:{}f", "1042:{}"] {
            let text = text.replace("{}", &link);
            assert!(text.parse::<NamedAnchor>().is_err(), "{text}");
        }
        for text in ["", "keys", "keys:", "keys:-1", "keys:1:2", "keys:x"] {
            assert!(text.parse::<NamedPlace>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_found_is_said_in_a_few_words() {
        assert_eq!(shown(Verified::Whole { from: 1, to: 8123 }), "1..8123");
        assert_eq!(shown(Verified::Whole { from: 1, to: 0 }), "none");
        assert_eq!(shown(Verified::Broken { seq: 13 }), "at 13");
    }
}
