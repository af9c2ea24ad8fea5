//! Every metric of every service in one table: `docs/metrics.md` says the same, and a test compares them.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that happened; it only rises.
    Counter,
    /// A state.
    Gauge,
    /// How long or how many, in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// What it tells, in a sentence.
    pub help: &'static str,
    /// Its labels. Their values are constants of the program.
    pub labels: &'static [&'static str],
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, help, labels }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, help, labels }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram, help, labels }
}

/// All of them.
pub const ALL: &[Metric] = &[
    // Every process
    gauge(
        "latchkey_build_info",
        &["service", "version"],
        "Always 1; the labels say which program runs in which version",
    ),
    gauge("process_start_time_seconds", &[], "When the process started, in seconds since 1970"),
    counter("process_cpu_seconds_total", &[], "Processor time used"),
    gauge("process_resident_memory_bytes", &[], "Memory in use (Linux only)"),
    gauge("process_open_fds", &[], "Files and connections open"),
    counter(
        "latchkey_actor_restarts_total",
        &["actor"],
        "Actors that failed and were started again",
    ),
    counter("latchkey_spans_dropped_total", &["reason"], "Spans that did not reach the collector"),
    counter(
        "latchkey_log_lines_left_out_total",
        &["reason"],
        "Log lines that are not written: too many of one kind in a second, or a slow terminal or disk",
    ),
    histogram(
        "latchkey_batch_size",
        &["batcher"],
        "Lookups that were answered together in one batch",
    ),
    counter(
        "latchkey_batch_shed_total",
        &["batcher"],
        "Lookups turned away because too many were waiting",
    ),
    // The edge
    counter(
        "latchkey_http_requests_total",
        &["method", "route", "status"],
        "HTTP requests answered",
    ),
    histogram(
        "latchkey_http_request_duration_seconds",
        &["route"],
        "Time to the answer of a request",
    ),
    gauge("latchkey_http_requests_in_flight", &[], "HTTP requests in progress"),
    gauge("latchkey_http_requests_limit", &[], "How many HTTP requests may be in progress"),
    gauge("latchkey_http_connections", &[], "HTTP connections open"),
    gauge("latchkey_http_connections_limit", &[], "How many HTTP connections may be open"),
    counter(
        "latchkey_http_malformed_total",
        &["reason"],
        "Connections closed because the client sent something that is not an HTTP request",
    ),
    counter(
        "latchkey_verifications_total",
        &["kind", "outcome"],
        "Credentials verified, by the outcome",
    ),
    counter("latchkey_rate_limited_total", &["limit"], "Requests turned away by a rate limit"),
    gauge("latchkey_http_places_used", &["lane"], "Expensive requests in progress"),
    gauge(
        "latchkey_http_places_limit",
        &["lane"],
        "How many expensive requests may be in progress just now",
    ),
    counter(
        "latchkey_http_turned_away_total",
        &["lane"],
        "Expensive requests turned away because they waited too long for their turn",
    ),
    // What the edge remembers
    gauge("latchkey_lease_held", &["authority"], "1 while the edge may answer from memory"),
    counter(
        "latchkey_caches_dropped_total",
        &["authority"],
        "Times the edge forgot everything because its membership or the database's history ended",
    ),
    counter("latchkey_cache_lookups_total", &["kind", "result"], "Credentials looked up in memory"),
    counter(
        "latchkey_cache_fills_refused_total",
        &["kind"],
        "Answers that came too late to be used, so that the question was asked again",
    ),
    counter(
        "latchkey_cache_checks_total",
        &["kind"],
        "Answers from memory that were compared with the authority's",
    ),
    counter(
        "latchkey_cache_disagreements_total",
        &["kind"],
        "Answers from memory that the authority denied: it must stay 0",
    ),
    gauge("latchkey_cache_entries", &["kind"], "Credentials remembered as good"),
    gauge(
        "latchkey_cache_bytes",
        &["kind"],
        "Memory that the remembered credentials use, in bytes",
    ),
    // The bus
    gauge("latchkey_bus_connected", &[], "1 while this process is connected to the bus"),
    counter("latchkey_bus_disconnects_total", &[], "Times the connection to the bus was lost"),
    counter(
        "latchkey_bus_slow_consumers_total",
        &[],
        "Times messages were dropped because this process read them too slowly",
    ),
    counter(
        "latchkey_bus_retries_total",
        &[],
        "Requests sent over the bus again because the first attempt failed",
    ),
    counter(
        "latchkey_bus_requests_total",
        &["subject", "outcome"],
        "Requests sent over the bus, by the outcome",
    ),
    histogram(
        "latchkey_bus_request_duration_seconds",
        &["subject"],
        "Time until a request sent over the bus was answered or given up",
    ),
    counter(
        "latchkey_bus_served_total",
        &["subject", "status"],
        "Requests received over the bus, by the outcome",
    ),
    gauge(
        "latchkey_bus_in_flight",
        &["service"],
        "Requests received over the bus that are in progress",
    ),
    gauge(
        "latchkey_bus_in_flight_limit",
        &["service"],
        "How many requests received over the bus may be in progress",
    ),
    counter(
        "latchkey_bus_shed_total",
        &["service"],
        "Requests received over the bus and turned away because too many were in progress",
    ),
    // Identity and keys
    histogram(
        "latchkey_revocation_confirm_seconds",
        &["authority"],
        "Time from the commit of a revoke until no edge could accept",
    ),
    counter(
        "latchkey_members_retired_total",
        &["authority"],
        "Edges retired because a revoke waited for them in vain",
    ),
    counter(
        "latchkey_members_gone_total",
        &["authority"],
        "Edges retired because they had not renewed their lease for ten leases and never said that they leave",
    ),
    gauge(
        "latchkey_chore_held",
        &["service", "chore"],
        "1 while this replica does a chore that one replica at a time does",
    ),
    gauge(
        "latchkey_audit_sealed_events",
        &["service"],
        "Place of the last audit event that this process has seen sealed",
    ),
    gauge(
        "latchkey_audit_chain_broken",
        &["service"],
        "1 where audit events that were sealed are not what they were, and no more are sealed",
    ),
    gauge(
        "latchkey_audit_seal_lag_seconds",
        &["service"],
        "How long the first of the audit events that were not sealed yet had waited when this process last sealed",
    ),
    gauge(
        "latchkey_keys_expiring",
        &["within"],
        "Keys that were used in the last 30 days and expire within 7 or 30 days, as the replica counts that does it; 0 at the others",
    ),
    gauge(
        "latchkey_outbox_waiting",
        &["service"],
        "Decisions that another service has not confirmed yet, counted up to 100",
    ),
    gauge("latchkey_signing_keys", &[], "Signing keys that are accepted, or will be"),
    gauge(
        "latchkey_signing_keys_closed",
        &[],
        "1 where the key that signs cannot be opened by this process: nobody can log in there",
    ),
    gauge(
        "latchkey_secrets_missing",
        &[],
        "Secrets whose tokens are accepted but that this process does not have: it answers 503 to tokens that it cannot read",
    ),
    gauge("latchkey_db_pool_connections", &["pool", "state"], "Database connections"),
    gauge("latchkey_db_pool_limit", &["pool"], "How many database connections may be open"),
    histogram(
        "latchkey_db_pool_wait_seconds",
        &["pool"],
        "Time a statement waited for its connection",
    ),
    histogram("latchkey_db_statement_duration_seconds", &["statement"], "Time a statement took"),
    histogram(
        "latchkey_db_transaction_duration_seconds",
        &["transaction", "outcome"],
        "Time a transaction held its connection",
    ),
    counter("latchkey_db_errors_total", &["kind"], "Statements that failed"),
    counter(
        "latchkey_db_connections_discarded_total",
        &["pool"],
        "Database connections closed because it was not known what was left open on them",
    ),
    counter("latchkey_logins_total", &["outcome"], "Logins, by the outcome"),
    gauge(
        "latchkey_hasher_places_used",
        &[],
        "Logins and signups in progress or waiting for a password worker",
    ),
    gauge(
        "latchkey_hasher_places_limit",
        &[],
        "How many logins and signups may be in progress or waiting",
    ),
    counter(
        "latchkey_hasher_shed_total",
        &["reason"],
        "Logins and signups turned away because the password workers were too busy",
    ),
    histogram(
        "latchkey_hash_duration_seconds",
        &[],
        "Time to hash or check a password, including the wait for a worker",
    ),
];

/// Tells the recorder what each metric is.
pub(super) fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
}
