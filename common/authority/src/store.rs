//! The rows behind an authority's answers.

use latchkey_contract::lease::{Epoch, Invalidation, MemberId, Position, Subject};
use latchkey_contract::{CredentialHash, Timestamp, UserId};
use latchkey_revocation::MemberState;
use latchkey_revocation::authority::{Changes, MAX_MISSED, Snapshot};
use latchkey_revocation::janitor::Row;
use latchkey_store::{Db, on, transaction};
use sqlx::FromRow;

use crate::statements::Sql;

/// A position that was taken or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct PositionRow {
    position: i64,
    epoch: i64,
    timeline: i64,
    watched: i64,
}

impl PositionRow {
    /// The number.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.position)
    }

    /// The history it counts.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch { made: self.epoch, timeline: self.timeline }
    }

    /// Whether some service has watched this history for a whole wait.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watched == self.timeline
    }
}

/// What each row of a verification's statement holds besides the service's own columns.
#[derive(Clone, Debug, FromRow)]
pub struct SnapshotRow {
    kind: i64,
    at_position: i64,
    at_epoch: i64,
    at_timeline: i64,
    member: Option<Vec<u8>>,
    state: Option<String>,
}

/// One snapshot's position and members.
#[derive(Clone, Debug, Default)]
pub struct Read {
    position: Position,
    epoch: Epoch,
    members: Vec<(MemberId, MemberState)>,
}

impl Read {
    /// Takes the rows that are not the service's own; whether `row` was one.
    pub fn take(&mut self, row: &SnapshotRow) -> bool {
        match row.kind {
            0 => {
                self.position = Position(row.at_position);
                self.epoch = Epoch { made: row.at_epoch, timeline: row.at_timeline };
                true
            }
            1 => {
                let id = row.member.as_deref().and_then(member_of);
                self.members.extend(id.zip(row.state.as_deref().and_then(state_of)));
                true
            }
            _ => false,
        }
    }

    /// The snapshot as `asker` sees it; whoever asks as nobody is answered all the same.
    #[must_use]
    pub fn for_asker(&self, asker: Option<MemberId>) -> Snapshot {
        let state = |asker| {
            self.members.iter().find(|(member, _)| *member == asker).map(|(_, state)| *state)
        };
        let membership = asker.map_or(Some(MemberState::Member), state);
        Snapshot { membership, epoch: self.epoch, position: self.position }
    }
}

#[derive(FromRow)]
struct RenewRow {
    kind: i64,
    position: i64,
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
    /// Makes the position row, if there is none. `epoch` is random.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn begin(&self, epoch: i64) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).begin;
        on!(write & self.db, |at| sqlx::query(sql).bind(epoch).execute(at).await.map(drop))
    }

    /// The present position.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn position(&self) -> Result<PositionRow, sqlx::Error> {
        let sql = self.sql.of(&self.db).position;
        on!(read & self.db, |at| sqlx::query_as(sql).fetch_one(at).await)
    }

    /// Adds a member and reads the position, in one transaction.
    ///
    /// # Errors
    /// What the database said instead; an id that somebody had before is refused.
    pub async fn join(&self, id: MemberId, now: Timestamp) -> Result<PositionRow, sqlx::Error> {
        let sql = self.sql.of(&self.db);
        transaction!(&self.db, |tx| {
            sqlx::query(sql.join).bind(id.0.as_slice()).bind(now.0).execute(&mut *tx).await?;
            sqlx::query_as(sql.position).fetch_one(&mut *tx).await?
        })
    }

    /// Deletes a member that has left.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn leave(&self, id: MemberId) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).leave;
        on!(write & self.db, |at| sqlx::query(sql)
            .bind(id.0.as_slice())
            .execute(at)
            .await
            .map(drop))
    }

    /// Notes that a member lives, unless that was noted since `lately`.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn touch(
        &self,
        id: MemberId,
        now: Timestamp,
        lately: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).touch;
        on!(write & self.db, |at| sqlx::query(sql)
            .bind(id.0.as_slice())
            .bind(now.0)
            .bind(lately.0)
            .execute(at)
            .await
            .map(drop))
    }

    /// What a renewal by `id` since a position needs, from one snapshot.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn renew(
        &self,
        id: MemberId,
        since: Position,
    ) -> Result<(Snapshot, Changes<CredentialHash>), sqlx::Error> {
        let sql = self.sql.of(&self.db).renew;
        let most = i64::try_from(MAX_MISSED).unwrap_or(i64::MAX).saturating_add(1);
        let rows: Vec<RenewRow> = on!(read & self.db, |at| sqlx::query_as(sql)
            .bind(id.0.as_slice())
            .bind(since.0)
            .bind(most)
            .fetch_all(at)
            .await)?;
        let mut snapshot =
            Snapshot { membership: None, epoch: Epoch::default(), position: Position::default() };
        let mut changes = Changes { rows: Vec::new(), pruned: Position::default() };
        for row in rows {
            match row.kind {
                0 => {
                    snapshot.epoch = Epoch { made: row.epoch, timeline: row.timeline };
                    snapshot.position = Position(row.position);
                    changes.pruned = Position(row.pruned);
                }
                1 => snapshot.membership = row.state.as_deref().and_then(state_of),
                _ => changes.rows.push(invalidation(&row)?),
            }
        }
        Ok((snapshot, changes))
    }

    /// Every member in either state, and the epoch, from one snapshot.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn members(&self) -> Result<(Epoch, Vec<MemberId>), sqlx::Error> {
        let sql = self.sql.of(&self.db).members;
        let rows: Vec<MembersRow> =
            on!(read & self.db, |at| sqlx::query_as(sql).fetch_all(at).await)?;
        let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let epoch = Epoch { made: first.epoch, timeline: first.timeline };
        let ids = rows.iter().filter_map(|row| row.id.as_deref().and_then(member_of)).collect();
        Ok((epoch, ids))
    }

    /// Every member's row; quiet is who has not renewed since `quiet_before`.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn rows(&self, quiet_before: Timestamp) -> Result<Vec<Row>, sqlx::Error> {
        let sql = self.sql.of(&self.db).rows;
        let rows: Vec<MemberRow> =
            on!(read & self.db, |at| sqlx::query_as(sql).fetch_all(at).await)?;
        let row = |row: MemberRow| {
            let (member, state) = (member_of(&row.id)?, state_of(&row.state)?);
            Some(Row { member, state, quiet: row.renewed_at < quiet_before.0 })
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Retires a member: it is granted nothing any more.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn retire(&self, id: MemberId) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).retire;
        on!(write & self.db, |at| sqlx::query(sql)
            .bind(id.0.as_slice())
            .execute(at)
            .await
            .map(drop))
    }

    /// Deletes a retired member.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn delete_retired(&self, id: MemberId) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).delete_retired;
        on!(write & self.db, |at| sqlx::query(sql)
            .bind(id.0.as_slice())
            .execute(at)
            .await
            .map(drop))
    }

    /// Deletes at most `most` records from before `before`, and notes up to where; how many there were.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn prune(&self, before: Timestamp, most: i64) -> Result<usize, sqlx::Error> {
        let sql = self.sql.of(&self.db);
        transaction!(&self.db, |tx| {
            let deleted: Vec<i64> =
                sqlx::query_scalar(sql.prune).bind(before.0).bind(most).fetch_all(&mut *tx).await?;
            if let Some(last) = deleted.iter().max() {
                sqlx::query(sql.pruned).bind(last).execute(&mut *tx).await?;
            }
            deleted.len()
        })
    }

    /// Notes that this timeline was watched for a whole wait.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn watched(&self, timeline: i64) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).watched;
        on!(write & self.db, |at| sqlx::query(sql).bind(timeline).execute(at).await.map(drop))
    }

    /// Deletes every member. Sound where none of them can live: all were in a process that has ended.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn clear_members(&self) -> Result<(), sqlx::Error> {
        let sql = self.sql.of(&self.db).clear_members;
        on!(write & self.db, |at| sqlx::query(sql).execute(at).await.map(drop))
    }
}

/// Takes the next position and records what it changes, inside the transaction that changes it.
///
/// `record!(tx, store, credential: Option<&[u8]>, owner: Option<i64>, now: Timestamp)` gives the
/// [`PositionRow`](crate::store::PositionRow).
#[macro_export]
macro_rules! record {
    ($tx:ident, $sql:expr, $credential:expr, $owner:expr, $now:expr) => {{
        let sql: &$crate::statements::Statements = $sql;
        let rows: Vec<$crate::store::PositionRow> =
            sqlx::query_as(sql.take).fetch_all(&mut *$tx).await?;
        let taken = rows.first().copied().ok_or(sqlx::Error::RowNotFound)?;
        let (credential, owner): (Option<&[u8]>, Option<i64>) = ($credential, $owner);
        sqlx::query(sql.record)
            .bind(taken.position().0)
            .bind(credential)
            .bind(owner)
            .bind($now.0)
            .execute(&mut *$tx)
            .await?;
        taken
    }};
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

fn invalidation(row: &RenewRow) -> Result<Invalidation<CredentialHash>, sqlx::Error> {
    let credential: Option<[u8; 32]> = row.credential.as_deref().and_then(|c| c.try_into().ok());
    let subject = match (credential, row.owner_id) {
        (Some(hash), None) => Subject::Credential(CredentialHash(hash)),
        (None, Some(owner)) => Subject::Owner(UserId(owner)),
        _ => {
            return Err(sqlx::Error::Decode(
                "an invalidation names one credential or owner".into(),
            ));
        }
    };
    Ok(Invalidation { position: Position(row.position), subject })
}
