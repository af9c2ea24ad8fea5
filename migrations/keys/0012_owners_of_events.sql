-- Whose key an event is about, or which acts: what a user sees of the log is read in order, by an index, and no more of it
-- than is shown. 0: no key's. NULL: written by a release before this step; a start fills it in. It is no part of the chain:
-- it says who is shown an event, and nothing of what happened.
ALTER TABLE keys_audit_events ADD COLUMN owner_id BIGINT;

CREATE INDEX keys_audit_events_owner ON keys_audit_events (owner_id, id);
CREATE INDEX keys_audit_events_unowned ON keys_audit_events (id) WHERE owner_id IS NULL;

-- A key is found by what lists show of it without reading every key of its owner, or of everybody.
CREATE INDEX api_keys_hint ON api_keys (hint, owner_id, id);
