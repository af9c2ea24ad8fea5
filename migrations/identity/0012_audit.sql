-- Who did what, from where and how it ended: one row for each act, written in the transaction of the change that it
-- tells of. Times are milliseconds since 1970. Rows are added and sealed, and never changed otherwise.

CREATE TABLE identity_audit_events (
    id IDENTITY_PRIMARY_KEY,
    at BIGINT NOT NULL,
    -- `key.revoked`; `success` or `failure`; why, where something was refused.
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    -- Who acted, as the envelope of the command says.
    actor_type TEXT NOT NULL,
    actor_id BIGINT,
    actor_name TEXT,
    -- What it was done to. A text, as a session's id is none of the numbers.
    target_type TEXT,
    target_id TEXT,
    org_id BIGINT,
    ip TEXT,
    user_agent TEXT,
    request_id TEXT NOT NULL,
    -- The revision that the change took.
    revision BIGINT,
    -- JSON: what each changed field was and is.
    changes TEXT,
    -- Its place in the chain, and the link that leads to it; NULL until it is sealed.
    seq BIGINT UNIQUE,
    hash BYTEA
);

CREATE INDEX identity_audit_events_actor ON identity_audit_events (actor_type, actor_id, id);
CREATE INDEX identity_audit_events_target ON identity_audit_events (target_type, target_id, id);
CREATE INDEX identity_audit_events_org_id ON identity_audit_events (org_id, id) WHERE org_id IS NOT NULL;
CREATE INDEX identity_audit_events_at ON identity_audit_events (at);
CREATE INDEX identity_audit_events_unsealed ON identity_audit_events (id) WHERE seq IS NULL;
