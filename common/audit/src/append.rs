//! Writing an event, inside the transaction of what it tells of.

use latchkey_contract::Actor;
use latchkey_contract::caller::UserAgent;
use latchkey_store::{Db, Engine, PerEngine, StoreError, Tx, Value};

use crate::event::Event;

/// A service's statements on its events.
#[derive(Clone, Copy, Debug)]
pub struct AuditSql {
    /// The service.
    pub service: &'static str,
    /// Adds one.
    pub append: &'static str,
    /// At most `$1` that are not sealed, in the order of their ids.
    pub unsealed: &'static str,
    /// The place and the link of the last one that is.
    pub last: &'static str,
    /// At most `$2` behind the place `$1`.
    pub page: &'static str,
    /// The first place that is kept.
    pub first: &'static str,
    /// The greatest id of one that is sealed.
    pub newest: &'static str,
    /// Of the next `$2` that are sealed and have a greater id than `$1`, the places of the first two whose place before
    /// is nobody's.
    pub gaps: &'static str,
    /// The last `$2` that tell of the chain of the service `$1` itself.
    pub marks: &'static str,
    /// Takes out `$2` up to the place `$1` at most.
    pub prune: &'static str,
    /// Up to which place events were written to `AUDIT_LOG`.
    pub written: &'static str,
    /// They were up to the place `$2`; nobody, `$1`, holds that row.
    pub wrote: &'static str,
    /// Seals those of `$1`, which are not sealed yet: a JSON array of id, place, and link in hexadecimal.
    pub seal: PerEngine<&'static str>,
}

/// `audit!("identity")`: the statements on the rows of `identity_audit_events`. Where these say whose key an event is about,
/// `owner_of_key` is what stands before and behind the key's id to give its owner.
#[macro_export]
macro_rules! audit {
    ($service:literal) => {
        $crate::audit!(@of $service, "", "")
    };
    ($service:literal, owner_of_key: $before:literal, $behind:literal) => {
        $crate::audit!(
            @of $service,
            ", owner_id",
            concat!(
                ", COALESCE(",
                $before,
                "CASE WHEN $8 = 'key' THEN CAST(CAST($9 AS TEXT) AS BIGINT) WHEN $5 = 'key' THEN $6 END",
                $behind,
                ", 0)"
            )
        )
    };
    (@of $service:literal, $owner:expr, $owner_value:expr) => {
        $crate::AuditSql {
            service: $service,
            append: concat!(
                "INSERT INTO ",
                $service,
                "_audit_events (at, action, outcome, reason, actor_type, actor_id, actor_name, target_type, target_id, \
                 ip, user_agent, request_id, revision, changes",
                $owner,
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14",
                $owner_value,
                ")"
            ),
            unsealed: concat!($crate::audit!(@read $service), " WHERE seq IS NULL ORDER BY id LIMIT $1"),
            last: concat!(
                "SELECT seq, hash FROM ",
                $service,
                "_audit_events WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
            ),
            page: concat!($crate::audit!(@read $service), " WHERE seq > $1 ORDER BY seq LIMIT $2"),
            first: concat!(
                "SELECT seq FROM ",
                $service,
                "_audit_events WHERE seq IS NOT NULL ORDER BY seq LIMIT 1"
            ),
            newest: concat!(
                "SELECT id FROM ",
                $service,
                "_audit_events WHERE seq IS NOT NULL ORDER BY id DESC LIMIT 1"
            ),
            gaps: concat!(
                "SELECT later.seq FROM (SELECT seq FROM ",
                $service,
                "_audit_events WHERE id > $1 AND seq IS NOT NULL ORDER BY id LIMIT $2) AS later LEFT JOIN ",
                $service,
                "_audit_events AS earlier ON earlier.seq = later.seq - 1 WHERE earlier.seq IS NULL \
                 ORDER BY later.seq LIMIT 2"
            ),
            marks: concat!(
                $crate::audit!(@read $service),
                " WHERE target_type = 'chain' AND target_id = $1 ORDER BY id DESC LIMIT $2"
            ),
            prune: concat!(
                "DELETE FROM ",
                $service,
                "_audit_events WHERE id IN (SELECT id FROM ",
                $service,
                "_audit_events WHERE seq <= $1 ORDER BY seq LIMIT $2)"
            ),
            written: concat!("SELECT until FROM ", $service, "_chores WHERE name = 'audit log'"),
            wrote: concat!(
                "INSERT INTO ",
                $service,
                "_chores (name, holder, until) VALUES ('audit log', $1, $2) \
                 ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE ",
                $service,
                "_chores.until < excluded.until"
            ),
            seal: $crate::PerEngine {
                sqlite: $crate::audit!(
                    @seal $service,
                    "SELECT value ->> 0 AS id, value ->> 1 AS seq, unhex(value ->> 2) AS hash FROM json_each($1)",
                    // Not by the index of places: there is one row for each link, and any number without a place.
                    "+"
                ),
                postgres: $crate::audit!(
                    @seal $service,
                    "SELECT CAST(value ->> 0 AS BIGINT) AS id, CAST(value ->> 1 AS BIGINT) AS seq, \
                     decode(value ->> 2, 'hex') AS hash FROM json_array_elements(CAST($1 AS JSON))",
                    ""
                ),
            },
        }
    };
    (@read $service:literal) => {
        concat!(
            "SELECT id, at, action, outcome, reason, actor_type, actor_id, actor_name, target_type, target_id, org_id, \
             ip, user_agent, request_id, revision, changes, seq, hash FROM ",
            $service,
            "_audit_events"
        )
    };
    (@seal $service:literal, $rows:literal, $unsealed:literal) => {
        concat!(
            "UPDATE ",
            $service,
            "_audit_events SET seq = links.seq, hash = links.hash FROM (",
            $rows,
            ") AS links WHERE ",
            $service,
            "_audit_events.id = links.id AND ",
            $unsealed,
            $service,
            "_audit_events.seq IS NULL"
        )
    };
}

impl AuditSql {
    /// Every statement, for the test that prepares each on both databases.
    #[must_use]
    pub fn all(&self, engine: Engine) -> [&'static str; 12] {
        let Self { append, unsealed, last, page, first, newest, gaps, marks, .. } = *self;
        let Self { prune, written, wrote, .. } = *self;
        let seal = self.seal.of(engine);
        [append, unsealed, last, page, first, newest, gaps, marks, prune, written, wrote, seal]
    }
}

/// Writes an event down: it is there if, and only if, the transaction is committed.
///
/// # Errors
/// [`StoreError`]; the transaction has failed.
pub async fn append(tx: &mut Tx, sql: &AuditSql, event: &Event<'_>) -> Result<(), StoreError> {
    let Event { at, action, outcome, target, revision, changes, reason, by } = event;
    let (outcome, refused) = outcome.parts();
    let reason = refused.or(*reason);
    let (actor, actor_name) = actor(&by.actor);
    let (target, target_id) = target.parts();
    let address = by.kept_address();
    let values = [
        Value::from(at.0),
        Value::from(action.name()),
        Value::from(outcome),
        Value::from(reason),
        Value::from(by.actor.kind()),
        Value::from(actor),
        Value::from(actor_name),
        Value::from(target),
        Value::from(&target_id),
        Value::from(address.as_deref()),
        Value::from(by.user_agent.as_ref().map(UserAgent::as_str)),
        Value::from(by.request_id.as_str()),
        Value::from(revision.map(|revision| revision.0)),
        Value::from(*changes),
    ];
    tx.execute(sql.append, &values).await.map(drop)
}

/// Writes an event down that is of no change: somebody tried something, and it was refused.
///
/// # Errors
/// [`StoreError`]
pub async fn append_alone(db: &Db, sql: &AuditSql, event: &Event<'_>) -> Result<(), StoreError> {
    let mut tx = db.begin("audit a refusal").await?;
    append(&mut tx, sql, event).await?;
    tx.commit().await
}

/// The id, and the name, of whoever acts.
fn actor(actor: &Actor) -> (Option<i64>, Option<&str>) {
    match actor {
        Actor::User { id, .. } => (Some(id.0), None),
        Actor::Key { id, .. } => (Some(id.0), None),
        Actor::Operator { name } | Actor::System { service: name } => (None, Some(name)),
        Actor::Anonymous => (None, None),
    }
}
