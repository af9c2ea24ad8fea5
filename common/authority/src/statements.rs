//! The SQL of an authority's own three tables: revisions, invalidations and members. Each authority has
//! its own set of them, by the macro below, because every statement is a constant.
//!
//! What goes into one answer comes from one statement: that is one snapshot, on both engines.

use latchkey_store::PerEngine;

/// One authority's statements for one engine.
#[derive(Clone, Copy, Debug)]
pub struct Statements {
    /// Makes the revision row, once; `$1` is the epoch.
    pub begin: &'static str,
    /// Takes the next revision: the row's lock holds until the transaction ends.
    pub take: &'static str,
    /// Records what a revision changed.
    pub record: &'static str,
    /// The present revision.
    pub revision: &'static str,
    /// Adds a member, unless its id is taken.
    pub join: &'static str,
    /// Deletes a member; `$2` is the user of the bus that it joined as.
    pub leave: &'static str,
    /// Notes that a member lives, unless that was noted lately.
    pub touch: &'static str,
    /// Every member in either state, with the epoch.
    pub members: &'static str,
    /// Every member's row.
    pub rows: &'static str,
    /// Retires a member that is not retired yet.
    pub retire: &'static str,
    /// Retires a member that has not renewed since `$2`.
    pub retire_quiet: &'static str,
    /// Deletes a retired member.
    pub delete_retired: &'static str,
    /// The answer to a renewal by the member `$1` of the user `$4`.
    pub renew: &'static str,
    /// Deletes old records.
    pub prune: &'static str,
    /// Notes up to where records were deleted.
    pub pruned: &'static str,
    /// Notes that this timeline of this epoch was watched for a whole wait.
    pub watched: &'static str,
    /// Begins another epoch, `$1`, which nobody has watched.
    pub new_epoch: &'static str,
    /// Deletes all members.
    pub clear_members: &'static str,
}

/// One authority's statements.
pub type Sql = PerEngine<Statements>;

impl Statements {
    /// Every statement, for the test that prepares each on both databases.
    #[must_use]
    pub fn all(&self) -> Vec<&'static str> {
        let Self { begin, take, record, revision, join, leave, touch, members, .. } = *self;
        let Self {
            rows,
            retire,
            retire_quiet,
            delete_retired,
            renew,
            prune,
            pruned,
            watched,
            new_epoch,
            ..
        } = *self;
        let Self { clear_members, .. } = *self;
        vec![
            begin,
            take,
            record,
            revision,
            join,
            leave,
            touch,
            members,
            rows,
            retire,
            retire_quiet,
            delete_retired,
            renew,
            prune,
            pruned,
            watched,
            new_epoch,
            clear_members,
        ]
    }
}

/// The timeline of a SQLite file: a file has one history.
#[macro_export]
macro_rules! timeline_sqlite {
    () => {
        "CAST(0 AS BIGINT)"
    };
}

/// The timeline of a Postgres server. It grows when a standby is promoted; on a standby the function
/// fails, so that nothing is ever answered from one.
#[macro_export]
macro_rules! timeline_postgres {
    () => {
        "CAST(CAST(('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)) AS BIT(32)) AS BIGINT)"
    };
}

/// `sql!("keys")`: the statements on the tables whose names begin with `keys_`.
#[macro_export]
macro_rules! sql {
    ($authority:literal) => {
        $crate::statements::Sql {
            sqlite: $crate::sql!(@engine $authority, $crate::timeline_sqlite!()),
            postgres: $crate::sql!(@engine $authority, $crate::timeline_postgres!()),
        }
    };
    (@engine $authority:literal, $timeline:expr) => {
        $crate::statements::Statements {
            begin: concat!(
                "INSERT INTO ", $authority, "_position (id, position, epoch, pruned, watched) ",
                "VALUES (1, 0, $1, 0, -1) ON CONFLICT DO NOTHING"
            ),
            take: concat!(
                "UPDATE ", $authority, "_position SET position = position + 1 WHERE id = 1 ",
                "RETURNING position, epoch, ", $timeline, " AS timeline, watched"
            ),
            record: concat!(
                "INSERT INTO ", $authority, "_invalidations ",
                "(position, credential, owner_id, recorded_at) VALUES ($1, $2, $3, $4)"
            ),
            revision: concat!(
                "SELECT position, epoch, ", $timeline, " AS timeline, watched FROM ",
                $authority, "_position WHERE id = 1"
            ),
            join: concat!(
                "INSERT INTO ", $authority, "_members (id, bus_user, contract, renewed_at, state) ",
                "VALUES ($1, $2, $3, $4, 'member') ON CONFLICT (id) DO NOTHING"
            ),
            leave: concat!("DELETE FROM ", $authority, "_members WHERE id = $1 AND bus_user = $2"),
            touch: concat!(
                "UPDATE ", $authority, "_members SET renewed_at = $2 ",
                "WHERE id = $1 AND state = 'member' AND renewed_at < $3"
            ),
            members: concat!(
                "SELECT here.epoch, ", $timeline, " AS timeline, ",
                "members.id, members.bus_user, members.contract FROM ",
                $authority, "_position AS here LEFT JOIN ",
                $authority, "_members AS members ON members.id IS NOT NULL"
            ),
            rows: concat!("SELECT id, state, renewed_at FROM ", $authority, "_members"),
            retire: concat!(
                "UPDATE ", $authority, "_members SET state = 'retired' ",
                "WHERE id = $1 AND state <> 'retired'"
            ),
            retire_quiet: concat!(
                "UPDATE ", $authority, "_members SET state = 'retired' ",
                "WHERE id = $1 AND state = 'member' AND renewed_at < $2 RETURNING renewed_at"
            ),
            delete_retired: concat!(
                "DELETE FROM ", $authority, "_members WHERE id = $1 AND state = 'retired'"
            ),
            renew: concat!(
                "SELECT CAST(0 AS BIGINT) AS kind, position, epoch, ", $timeline, " AS timeline, pruned, ",
                "CAST(NULL AS TEXT) AS state, CAST(NULL AS BYTEA) AS credential, ",
                "CAST(NULL AS BIGINT) AS owner_id FROM ", $authority, "_position ",
                "UNION ALL SELECT 1, 0, 0, 0, 0, state, NULL, NULL FROM ",
                $authority, "_members WHERE id = $1 AND bus_user = $4 ",
                "UNION ALL SELECT 2, position, 0, 0, 0, NULL, credential, owner_id FROM ",
                "(SELECT position, credential, owner_id FROM ", $authority, "_invalidations ",
                "WHERE position > $2 ORDER BY position LIMIT $3) AS missed"
            ),
            prune: concat!(
                "DELETE FROM ", $authority, "_invalidations WHERE position IN ",
                "(SELECT position FROM ", $authority, "_invalidations ",
                "WHERE recorded_at < $1 ORDER BY position LIMIT $2) RETURNING position"
            ),
            pruned: concat!(
                "UPDATE ", $authority, "_position SET pruned = $1 WHERE pruned < $1"
            ),
            watched: concat!(
                "UPDATE ", $authority, "_position SET watched = $1 WHERE watched <> $1 AND epoch = $2"
            ),
            new_epoch: concat!(
                "UPDATE ", $authority, "_position SET epoch = $1, watched = -1 WHERE id = 1"
            ),
            clear_members: concat!("DELETE FROM ", $authority, "_members"),
        }
    };
}

/// A statement that answers many verifications from one snapshot: the rows whose column is one of the
/// set `$1`, the revision, and which of the members `$2` there are.
///
/// `verification!("keys", columns: "a, …", nulls: "NULL, …", from: "api_keys", where: "hash")`
///
/// What every verdict depends on besides, whichever credential is asked about, is of the same snapshot:
/// `facts: "fingerprint", "identity_signers WHERE …"` is a column of bytes and where it stands
/// ([`Read::facts`](crate::Read::facts)).
#[macro_export]
macro_rules! verification {
    ($authority:literal, columns: $columns:literal, nulls: $nulls:literal, from: $from:literal,
     where: $column:literal $(, facts: $fact:literal, $facts:literal)?) => {
        ::latchkey_store::Batched {
            sqlite: concat!(
                $crate::verification!(@own $columns, $from, $column),
                " IN (SELECT unhex(value) FROM json_each($1)) ",
                $($crate::verification!(@facts $nulls, $fact, $facts),)?
                $crate::verification!(@snapshot $authority, $nulls, $crate::timeline_sqlite!()),
                " IN (SELECT unhex(value) FROM json_each($2))"
            ),
            postgres: concat!(
                $crate::verification!(@own $columns, $from, $column),
                " = ANY($1) ",
                $($crate::verification!(@facts $nulls, $fact, $facts),)?
                $crate::verification!(@snapshot $authority, $nulls, $crate::timeline_postgres!()),
                " = ANY($2)"
            ),
        }
    };
    (@own $columns:literal, $from:literal, $column:literal) => {
        concat!(
            "SELECT CAST(2 AS BIGINT) AS kind, CAST(0 AS BIGINT) AS at_revision, ",
            "CAST(0 AS BIGINT) AS at_epoch, CAST(0 AS BIGINT) AS at_timeline, ",
            "CAST(NULL AS BYTEA) AS member, CAST(NULL AS TEXT) AS bus_user, ",
            "CAST(NULL AS TEXT) AS state, ",
            $columns, " FROM ", $from, " WHERE ", $column
        )
    };
    (@facts $nulls:literal, $fact:literal, $facts:literal) => {
        concat!("UNION ALL SELECT 3, 0, 0, 0, ", $fact, ", NULL, NULL, ", $nulls, " FROM ", $facts, " ")
    };
    (@snapshot $authority:literal, $nulls:literal, $timeline:expr) => {
        concat!(
            "UNION ALL SELECT 0, position, epoch, ", $timeline, ", NULL, NULL, NULL, ", $nulls,
            " FROM ", $authority, "_position ",
            "UNION ALL SELECT 1, 0, 0, 0, id, bus_user, state, ", $nulls,
            " FROM ", $authority, "_members WHERE id"
        )
    };
}
