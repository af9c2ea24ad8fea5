//! What a user sees of a service's log: what they did, and what was done to them and to what is theirs. Nothing else of it
//! is ever looked at for them, whatever a filter names.
//!
//! A page looks at no more than `LOOKS` times `LOOKED_AT` events: where a filter takes few of them it ends early, and says
//! behind which event the next one begins.

use latchkey_contract::audit::{
    AuditEvent, EventFilter, EventPage, EventTarget, ListEvents, MAX_FILTER,
};
use latchkey_contract::authority::Authority;
use latchkey_contract::caller::Kept;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{FieldError, Refusal};
use latchkey_store::{Db, Engine, PerEngine, StoreError, values};

use crate::record::Record;

/// Events that are looked at by one statement, where not all of them count.
const LOOKED_AT: i64 = 500;
/// Statements of one page at most.
const LOOKS: usize = 10;
/// Bytes of the events of one page, so that it fits in a message; one event may have more.
const PAGE_BYTES: usize = 48 * 1_024;
/// Bytes of an event besides its texts, at most.
const EVENT_BYTES: usize = 128;
/// Bytes of what one event changed that are shown; the export has all of it.
const MAX_CHANGES: usize = 32 * 1_024;
/// What is shown instead.
const LEFT_OUT: &str = r#"{"left_out":true}"#;

/// A service's statements on what a user sees: `$1` is their id, `$2` the same as a text, `$3` an id that the events are
/// behind, and `$4` how many there are at most.
#[derive(Clone, Copy, Debug)]
pub struct ListSql {
    /// By falling id.
    pub newest_first: PerEngine<&'static str>,
    /// By rising id.
    pub oldest_first: PerEngine<&'static str>,
}

/// `listing!("keys", ["owner_id" = "$1"])`: the statements on `keys_audit_events`, of events of which the user is the actor
/// or the target, or whose columns have one of these values. Each is looked for by an index of its own, of these columns and
/// the id, in its order: no more are read than are looked at, however many there are. Postgres would go along all events by
/// their ids where it takes those of one user to be many and near each other, so it is told neither that a column has one
/// value nor that ids are the order; SQLite would not use the id of such a condition, and does what it is told.
#[macro_export]
macro_rules! listing {
    ($service:literal $(, [$($column:literal = $value:literal),+])*) => {
        $crate::ListSql {
            newest_first: $crate::listing!(
                @each $service, "<", ">", "0", " DESC" $(, [$($column = $value),+])*
            ),
            oldest_first: $crate::listing!(
                @each $service, ">", "<", "9223372036854775807", "" $(, [$($column = $value),+])*
            ),
        }
    };
    (@each $service:literal, $behind:literal, $before:literal, $last:literal, $order:literal
        $(, [$($column:literal = $value:literal),+])*) => {
        $crate::PerEngine {
            sqlite: $crate::listing!(
                @all sqlite, $service, $behind, $before, $last, $order $(, [$($column = $value),+])*
            ),
            postgres: $crate::listing!(
                @all postgres, $service, $behind, $before, $last, $order $(, [$($column = $value),+])*
            ),
        }
    };
    (@all $engine:ident, $service:literal, $behind:literal, $before:literal, $last:literal, $order:literal
        $(, [$($column:literal = $value:literal),+])*) => {
        concat!(
            $crate::audit!(@read $service),
            " WHERE id IN (SELECT id FROM (",
            $crate::listing!(
                @some $engine, $service, $behind, $before, $last, $order,
                ["actor_type" = "'user'", "actor_id" = "$1"]
            ),
            " UNION ",
            $crate::listing!(
                @some $engine, $service, $behind, $before, $last, $order,
                ["target_type" = "'user'", "target_id" = "$2"]
            ),
            $(
                " UNION ",
                $crate::listing!(
                    @some $engine, $service, $behind, $before, $last, $order, [$($column = $value),+]
                ),
            )*
            ") AS seen ORDER BY id",
            $order,
            " LIMIT $4) ORDER BY id",
            $order
        )
    };
    (@some sqlite, $service:literal, $behind:literal, $before:literal, $last:literal, $order:literal,
        [$($column:literal = $value:literal),+]) => {
        concat!(
            "SELECT id FROM (SELECT id FROM ",
            $service,
            "_audit_events WHERE ",
            $($column, " = ", $value, " AND ",)+
            "id ",
            $behind,
            " $3 ORDER BY id",
            $order,
            " LIMIT $4) AS few"
        )
    };
    (@some postgres, $service:literal, $behind:literal, $before:literal, $last:literal, $order:literal,
        [$($column:literal = $value:literal),+]) => {
        concat!(
            "SELECT id FROM (SELECT id FROM ",
            $service,
            "_audit_events WHERE (",
            $($column, ", ",)+
            "id) ",
            $behind,
            " (",
            $($value, ", ",)+
            "$3) AND (",
            $($column, ", ",)+
            "id) ",
            $before,
            " (",
            $($value, ", ",)+
            $last,
            ") ORDER BY ",
            $($column, $order, ", ",)+
            "id",
            $order,
            " LIMIT $4) AS few"
        )
    };
}

impl ListSql {
    /// Every statement, for the test that prepares each on both databases.
    #[must_use]
    pub fn all(&self, engine: Engine) -> [&'static str; 2] {
        [self.newest_first.of(engine), self.oldest_first.of(engine)]
    }
}

/// Checks what a page is to be.
///
/// # Errors
/// [`Refusal::Invalid`] names every fault.
pub fn check<A: Authority>(ask: &ListEvents<A>) -> Result<(), Refusal> {
    let mut faults = Vec::new();
    if !(1..=MAX_BATCH).contains(&(ask.limit as usize)) {
        faults.push(FieldError::new("limit", format!("must be from 1 to {MAX_BATCH}")));
    }
    let EventFilter { action, actor, target, ip, request_id, .. } = &ask.filter;
    let named = [("action", action), ("ip", ip), ("request_id", request_id)];
    let named = named.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)));
    let whom = [("actor", actor), ("target", target)].into_iter();
    let whom = whom.filter_map(|(field, it)| it.as_ref().map(|it| (field, it)));
    let whom = whom.flat_map(|(field, it)| [(field, it.kind.as_str()), (field, it.id.as_str())]);
    for (field, text) in named.chain(whom) {
        if !(1..=MAX_FILTER).contains(&text.chars().count()) {
            let message = format!("must have 1 to {MAX_FILTER} characters");
            faults.push(FieldError::new(field, message));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}

/// A page of what `ask.owner` sees, who is whoever asks.
///
/// # Errors
/// [`StoreError`]
pub async fn page<A: Authority>(
    db: &Db,
    sql: &ListSql,
    ask: &ListEvents<A>,
) -> Result<EventPage, StoreError> {
    let (sql, first) =
        if ask.oldest_first { (&sql.oldest_first, 0) } else { (&sql.newest_first, i64::MAX) };
    let sql: &'static str = sql.of(db.engine());
    let (owner, name) = (ask.owner.0, ask.owner.to_string());
    let filter = Filter::of(&ask.filter);
    let mut page = Page::new(ask.after.unwrap_or(first), ask.limit as usize);
    for _ in 0..LOOKS {
        // One more than wanted tells whether there are more.
        let wanted = i64::try_from(page.room()).unwrap_or(LOOKED_AT) + 1;
        let most = if filter.takes_all() { wanted } else { LOOKED_AT };
        let rows: Vec<Record> = db.list(sql, values![owner, &name, page.behind, most]).await?;
        let is_last = i64::try_from(rows.len()).unwrap_or(most) < most;
        for row in rows {
            let event = shown(row.event());
            if filter.takes(&event) && !page.add(&event) {
                return Ok(page.ended(true));
            }
            page.behind = event.id;
        }
        if is_last {
            return Ok(page.ended(false));
        }
    }
    Ok(page.ended(true))
}

/// A page while it is filled.
struct Page {
    events: Vec<AuditEvent>,
    /// The event that was looked at last.
    behind: i64,
    limit: usize,
    bytes: usize,
}

impl Page {
    fn new(behind: i64, limit: usize) -> Self {
        Self { events: Vec::new(), behind, limit, bytes: 0 }
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.events.len())
    }

    /// Whether there was room for it.
    fn add(&mut self, event: &AuditEvent) -> bool {
        let bytes = self.bytes + size(event);
        let fits = self.room() > 0 && (self.events.is_empty() || bytes <= PAGE_BYTES);
        if fits {
            self.bytes = bytes;
            self.events.push(event.clone());
        }
        fits
    }

    fn ended(self, has_more: bool) -> EventPage {
        EventPage { events: self.events, next: has_more.then_some(self.behind) }
    }
}

fn shown(event: AuditEvent) -> AuditEvent {
    let is_long = event.changes.as_ref().is_some_and(|changes| changes.len() > MAX_CHANGES);
    if is_long { AuditEvent { changes: Some(LEFT_OUT.to_owned()), ..event } } else { event }
}

fn size(event: &AuditEvent) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let target = event.target.as_ref().map_or(0, |target| target.kind.len() + target.id.len());
    let may = [&event.reason, &event.actor_name, &event.ip, &event.user_agent, &event.changes];
    let texts = [&event.action, &event.outcome, &event.actor_type, &event.request_id];
    let may: usize = may.into_iter().chain([&event.hash]).map(of).sum();
    EVENT_BYTES + target + may + texts.into_iter().map(String::len).sum::<usize>()
}

/// A filter, made ready.
struct Filter<'a> {
    of: &'a EventFilter,
    /// The ways in which the address may have been written down.
    ips: Vec<String>,
}

impl<'a> Filter<'a> {
    fn of(of: &'a EventFilter) -> Self {
        let mut ips: Vec<String> = of.ip.clone().into_iter().collect();
        if let Some(address) = of.ip.as_ref().and_then(|ip| ip.parse().ok()) {
            ips.extend([Kept::Full, Kept::Prefix].iter().filter_map(|kept| kept.of(address)));
        }
        Self { of, ips }
    }

    fn takes_all(&self) -> bool {
        *self.of == EventFilter::default()
    }

    fn takes(&self, event: &AuditEvent) -> bool {
        let EventFilter { action, is_success, actor, target, since, until, ip, request_id } =
            self.of;
        let is_from = |ip: &str| self.ips.iter().any(|own| own == ip);
        action.as_ref().is_none_or(|start| event.action.starts_with(start.as_str()))
            && is_success.is_none_or(|success| (event.outcome == "success") == success)
            && actor.as_ref().is_none_or(|actor| is_actor(event, actor))
            && target.as_ref().is_none_or(|target| event.target.as_ref() == Some(target))
            && since.is_none_or(|since| since <= event.at)
            && until.is_none_or(|until| event.at < until)
            && (ip.is_none() || event.ip.as_deref().is_some_and(is_from))
            && request_id.as_ref().is_none_or(|id| *id == event.request_id)
    }
}

fn is_actor(event: &AuditEvent, actor: &EventTarget) -> bool {
    let id = event.actor_id.map(|id| id.to_string());
    let id = id.as_deref().or(event.actor_name.as_deref());
    event.actor_type == actor.kind && id == Some(&actor.id)
}

#[cfg(test)]
mod tests;
