//! What a process knows of a chain that it seals: how far it was. So it notices when what was sealed is not there any
//! more, and does not seal it anew as if it had just happened.

use latchkey_store::{Db, StoreError, values};

use crate::AuditSql;
use crate::anchor::Anchor;
use crate::chain::{ChainKeys, FIRST, Which};
use crate::pruned;
use crate::record::Record;

/// Events that are looked at beside one that is late.
const BESIDE: i64 = 1_000;
/// Late events of a batch beside which it is looked.
const LATE: usize = 100;

/// Why nothing is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The event at this place was sealed, and is not there any more, or has another link.
    Lost {
        /// The place.
        seq: i64,
    },
    /// The last event does not have a link that this process' keys make.
    Unknown {
        /// Its place.
        seq: i64,
    },
}

/// How far a chain is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    /// The last event that is sealed.
    pub(crate) last: Option<Anchor>,
    /// The key that it was sealed with; `None` where that was not looked at yet.
    pub(crate) made: Option<Which>,
    /// The greatest id of those that are sealed; `None` where that was not looked at yet.
    pub(crate) newest: Option<i64>,
}

/// A chain, and how it is read.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) db: Db,
    pub(crate) sql: &'static AuditSql,
    pub(crate) keys: ChainKeys,
}

impl Chain {
    /// How far the chain is that was at `before`; or that it does not go on from there. Its last link is looked at where
    /// `with_link`.
    pub(crate) async fn end(
        &self,
        before: End,
        last: Option<Anchor>,
        with_link: bool,
    ) -> Result<Result<End, Halt>, StoreError> {
        if let Some(was) = before.last
            && !self.is_kept(was, last).await?
        {
            return Ok(Err(Halt::Lost { seq: was.seq }));
        }
        let mut end = if before.last == last { before } else { End { last, ..End::default() } };
        if with_link && end.made.is_none() {
            end.made = match last {
                None => Some(Which::Current),
                Some(last) => match self.made(last).await? {
                    Some(made) => Some(made),
                    None => return Ok(Err(Halt::Unknown { seq: last.seq })),
                },
            };
        }
        Ok(Ok(end))
    }

    async fn is_kept(&self, was: Anchor, last: Option<Anchor>) -> Result<bool, StoreError> {
        match last {
            None => Ok(false),
            Some(last) if last.seq <= was.seq => Ok(last == was),
            Some(_) => match self.page(was.seq - 1, 1).await?.first() {
                Some(event) if event.seq == Some(was.seq) => Ok(event.link() == Some(was.hash)),
                _ => Ok(self.cut().await?.is_some_and(|cut| cut.seq >= was.seq)),
            },
        }
    }

    /// Under which of the keys the last link leads to its event.
    async fn made(&self, last: Anchor) -> Result<Option<Which>, StoreError> {
        let events = self.page(last.seq - 2, 2).await?;
        let at = |seq: i64| events.iter().find(|event| event.seq == Some(seq));
        let Some(event) = at(last.seq) else { return Ok(None) };
        let before = match at(last.seq - 1) {
            Some(before) => before.link(),
            None if last.seq == 1 => Some(FIRST),
            None => {
                let cut = self.cut().await?.filter(|cut| cut.seq == last.seq - 1);
                cut.map(|cut| cut.hash)
            }
        };
        let canonical = event.canonical(self.sql.service, last.seq);
        Ok(before.and_then(|before| self.keys.made(last.hash, &before, &canonical)))
    }

    /// The first place beside `events`, in the order of their ids, that was given and is nobody's any more: one of them
    /// may have had it. They have ids that are smaller than `newest`, where they are late.
    pub(crate) async fn gap(
        &self,
        events: &[Record],
        newest: i64,
    ) -> Result<Option<i64>, StoreError> {
        for late in events.iter().take_while(|event| event.id < newest).take(LATE) {
            let behind: Vec<(i64,)> =
                self.db.fetch(self.sql.gaps, values![late.id, BESIDE]).await?;
            if behind.is_empty() {
                continue;
            }
            let first: Option<(i64,)> = self.db.fetch_first(self.sql.first, values![]).await?;
            let is_first = |seq: i64| seq == 1 || Some((seq,)) == first;
            if let Some((seq,)) = behind.into_iter().find(|(seq,)| !is_first(*seq)) {
                return Ok(Some(seq - 1));
            }
        }
        Ok(None)
    }

    /// The greatest id of those that are sealed.
    pub(crate) async fn newest(&self) -> Result<i64, StoreError> {
        let newest: Option<(i64,)> = self.db.fetch_first(self.sql.newest, values![]).await?;
        Ok(newest.map_or(i64::MIN, |(id,)| id))
    }

    pub(crate) async fn cut(&self) -> Result<Option<Anchor>, StoreError> {
        pruned::cut(&self.db, self.sql, &self.keys).await
    }

    async fn page(&self, behind: i64, max: i64) -> Result<Vec<Record>, StoreError> {
        self.db.fetch(self.sql.page, values![behind, max]).await
    }
}
