//! The rows behind an authority's answers.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::lease::{Epoch, Invalidation, MemberId, Revision};
use latchkey_contract::{CredentialHash, Timestamp};
use latchkey_revocation::MemberState;
use latchkey_revocation::authority::{Changes, MAX_MISSED, Snapshot};
use latchkey_revocation::janitor::Row;
use latchkey_store::{Db, StoreError, Value, values};
use sqlx::FromRow;

use crate::changes::{NO_REVISION, RevisionRow, revision};
use crate::record;
use crate::statements::{Sql, Statements};

/// What each row of a verification's statement holds besides the service's own columns.
#[derive(Clone, Debug, FromRow)]
pub struct SnapshotRow {
    kind: i64,
    at_revision: i64,
    at_epoch: i64,
    at_timeline: i64,
    member: Option<Vec<u8>>,
    bus_user: Option<String>,
    state: Option<String>,
}

/// What a member's row is found by: whoever gives its id as another user of the bus finds none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberKey {
    /// The id that it joined under.
    pub id: MemberId,
    /// The user of the bus that it joined as. Empty, and then nobody's, where that is not known.
    pub user: Arc<str>,
}

/// A member that revokes wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub key: MemberKey,
    /// The contract number that it joined in, and reads.
    pub contract: u16,
}

impl MemberKey {
    /// What the row of an asker is found by, whose id is `id` as it says.
    #[must_use]
    pub fn of(context: &Context, id: MemberId) -> Self {
        Self { id, user: context.asker.clone().unwrap_or_default() }
    }
}

/// One snapshot's revision and members.
#[derive(Clone, Debug, Default)]
pub struct Read {
    revision: Revision,
    epoch: Epoch,
    members: Vec<(MemberKey, MemberState)>,
    facts: Vec<Vec<u8>>,
}

impl Read {
    /// Takes the rows that are not the service's own; whether `row` was one.
    pub fn take(&mut self, row: &SnapshotRow) -> bool {
        match row.kind {
            0 => {
                self.revision = Revision(row.at_revision);
                self.epoch = Epoch { made: row.at_epoch, timeline: row.at_timeline };
                true
            }
            1 => {
                let key = key_of(row.member.as_deref(), row.bus_user.as_deref());
                self.members.extend(key.zip(row.state.as_deref().and_then(state_of)));
                true
            }
            3 => {
                self.facts.extend(row.member.clone());
                true
            }
            _ => false,
        }
    }

    /// What every verdict depends on besides its credential's row, as the statement named it.
    #[must_use]
    pub fn facts(&self) -> &[Vec<u8>] {
        &self.facts
    }

    /// The history that it is of.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The snapshot as `asker` sees it; whoever asks as nobody is answered all the same.
    #[must_use]
    pub fn for_asker(&self, asker: Option<&MemberKey>) -> Snapshot {
        let state = |asker| {
            self.members.iter().find(|(member, _)| member == asker).map(|(_, state)| *state)
        };
        let membership = asker.map_or(Some(MemberState::Member), state);
        Snapshot { membership, epoch: self.epoch, revision: self.revision }
    }
}

#[derive(FromRow)]
struct RenewRow {
    kind: i64,
    #[sqlx(rename = "position")]
    revision: i64,
    epoch: i64,
    timeline: i64,
    pruned: i64,
    state: Option<String>,
    credential: Option<Vec<u8>>,
    owner_id: Option<i64>,
}

#[derive(FromRow)]
struct MembersRow {
    epoch: i64,
    timeline: i64,
    id: Option<Vec<u8>>,
    bus_user: Option<String>,
    contract: Option<i64>,
}

#[derive(FromRow)]
struct MemberRow {
    id: Vec<u8>,
    state: String,
    renewed_at: i64,
}

/// One authority's tables.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where they are.
    pub db: Db,
    /// Their statements.
    pub sql: &'static Sql,
}

impl Store {
    fn sql(&self) -> &'static Statements {
        self.sql.of(self.db.engine())
    }

    async fn write(&self, sql: &'static str, values: &[Value<'_>]) -> Result<(), StoreError> {
        self.db.execute(sql, values).await.map(drop)
    }

    /// Makes the revision row, if there is none. `epoch` is random.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn begin(&self, epoch: i64) -> Result<(), StoreError> {
        self.write(self.sql().begin, values![epoch]).await
    }

    /// What a start does to the tables.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn prepare(&self, epoch: i64) -> Result<(), StoreError> {
        self.begin(epoch).await?;
        if matches!(self.db, Db::Sqlite(_)) {
            // One process has the file at a time, and its members are in it: all of these are gone.
            self.clear_members().await?;
            // For the same reason nobody relies on answers from another history.
            self.watched(self.revision().await?.epoch()).await?;
        }
        Ok(())
    }

    /// The present revision.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn revision(&self) -> Result<RevisionRow, StoreError> {
        self.db.fetch_first(self.sql().revision, &[]).await?.ok_or(NO_REVISION)
    }

    /// Adds a member, which speaks `contract`, and reads the revision, in one transaction; `None` where its id
    /// is taken.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn join(
        &self,
        key: &MemberKey,
        contract: u16,
        now: Timestamp,
    ) -> Result<Option<RevisionRow>, StoreError> {
        let mut tx = self.db.begin("join").await?;
        let values = values![&key.id.0, &*key.user, i64::from(contract), now.0];
        if tx.execute(self.sql().join, values).await? == 0 {
            return Ok(None);
        }
        let revision = revision(&mut tx, self.sql).await?;
        tx.commit().await?;
        Ok(Some(revision))
    }

    /// Deletes a member that has left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn leave(&self, key: &MemberKey) -> Result<(), StoreError> {
        self.write(self.sql().leave, values![&key.id.0, &*key.user]).await
    }

    /// Notes that a member lives, unless that was noted since `lately`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn touch(
        &self,
        id: MemberId,
        now: Timestamp,
        lately: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(self.sql().touch, values![&id.0, now.0, lately.0]).await
    }

    /// What a renewal by a member since a revision needs, from one snapshot.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn renew(
        &self,
        key: &MemberKey,
        since: Revision,
    ) -> Result<(Snapshot, Changes<CredentialHash>), StoreError> {
        let max = i64::try_from(MAX_MISSED).unwrap_or(i64::MAX).saturating_add(1);
        let rows: Vec<RenewRow> =
            self.db.fetch(self.sql().renew, values![&key.id.0, since.0, max, &*key.user]).await?;
        let mut snapshot =
            Snapshot { membership: None, epoch: Epoch::default(), revision: Revision::default() };
        let mut changes = Changes { rows: Vec::new(), pruned: Revision::default() };
        for row in rows {
            match row.kind {
                0 => {
                    snapshot.epoch = Epoch { made: row.epoch, timeline: row.timeline };
                    snapshot.revision = Revision(row.revision);
                    changes.pruned = Revision(row.pruned);
                }
                1 => snapshot.membership = row.state.as_deref().and_then(state_of),
                _ => changes.rows.push(invalidation(&row)),
            }
        }
        Ok((snapshot, changes))
    }

    /// Every member in either state, and the epoch, from one snapshot.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn members(&self) -> Result<(Epoch, Vec<Member>), StoreError> {
        let rows: Vec<MembersRow> = self.db.fetch(self.sql().members, &[]).await?;
        let first = rows.first().ok_or(NO_REVISION)?;
        let epoch = Epoch { made: first.epoch, timeline: first.timeline };
        let member = |row: &MembersRow| {
            let key = key_of(row.id.as_deref(), row.bus_user.as_deref())?;
            // A number that cannot be one is lower than any.
            let contract = row.contract.and_then(|it| u16::try_from(it).ok()).unwrap_or_default();
            Some(Member { key, contract })
        };
        Ok((epoch, rows.iter().filter_map(member).collect()))
    }

    /// Every member's row; quiet is who has not renewed since `quiet_before`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn rows(&self, quiet_before: Timestamp) -> Result<Vec<Row>, StoreError> {
        let rows: Vec<MemberRow> = self.db.fetch(self.sql().rows, &[]).await?;
        let row = |row: MemberRow| {
            let (member, state) = (member_of(&row.id)?, state_of(&row.state)?);
            Some(Row { member, state, quiet: row.renewed_at < quiet_before.0 })
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Retires a member: it is granted nothing any more. `false` where somebody else has done so.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn retire(&self, id: MemberId) -> Result<bool, StoreError> {
        Ok(self.db.execute(self.sql().retire, values![&id.0]).await? > 0)
    }

    /// Retires a member that has not renewed since `before`: when it has, as far as was noted. `None` where it is no
    /// such member, or somebody else has retired it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn retire_quiet(
        &self,
        id: MemberId,
        before: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let values = values![&id.0, before.0];
        let row: Option<(i64,)> = self.db.fetch_first(self.sql().retire_quiet, values).await?;
        Ok(row.map(|(renewed_at,)| Timestamp(renewed_at)))
    }

    /// Deletes a retired member.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn delete_retired(&self, id: MemberId) -> Result<(), StoreError> {
        self.write(self.sql().delete_retired, values![&id.0]).await
    }

    /// Deletes at most `max` records from before `before`, and notes up to where; how many there were.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn prune(&self, before: Timestamp, max: i64) -> Result<usize, StoreError> {
        let mut tx = self.db.begin("prune invalidations").await?;
        let deleted: Vec<(i64,)> = tx.fetch(self.sql().prune, values![before.0, max]).await?;
        if let Some((last,)) = deleted.iter().max() {
            tx.execute(self.sql().pruned, values![*last]).await?;
        }
        tx.commit().await?;
        Ok(deleted.len())
    }

    /// Notes that this history was watched for a whole wait. Where another one has begun meanwhile, nothing is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn watched(&self, history: Epoch) -> Result<(), StoreError> {
        self.write(self.sql().watched, values![history.timeline, history.made]).await
    }

    /// Deletes every member. Sound where none of them can live: all were in a process that has ended.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn clear_members(&self) -> Result<(), StoreError> {
        self.write(self.sql().clear_members, &[]).await
    }
}

fn key_of(id: Option<&[u8]>, user: Option<&str>) -> Option<MemberKey> {
    Some(MemberKey { id: id.and_then(member_of)?, user: user?.into() })
}

fn member_of(id: &[u8]) -> Option<MemberId> {
    id.try_into().ok().map(MemberId)
}

fn state_of(text: &str) -> Option<MemberState> {
    match text {
        "member" => Some(MemberState::Member),
        "retired" => Some(MemberState::Retired),
        _ => None,
    }
}

fn invalidation(row: &RenewRow) -> Invalidation<CredentialHash> {
    let tag = record::tag(row.credential.as_deref(), row.owner_id);
    Invalidation { revision: Revision(row.revision), tag }
}

#[cfg(test)]
mod tests;
