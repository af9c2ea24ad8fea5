-- What a key may do, what is said of it, and which keys replaced each other. Times are milliseconds since 1970.

-- Which of the environments of the installation the key was made for: a part of its text.
ALTER TABLE api_keys ADD COLUMN environment TEXT NOT NULL DEFAULT 'live';
-- `issued` here, or `imported` from elsewhere.
ALTER TABLE api_keys ADD COLUMN origin TEXT NOT NULL DEFAULT 'issued';
ALTER TABLE api_keys ADD COLUMN description TEXT NOT NULL DEFAULT '';
-- JSON: an object.
ALTER TABLE api_keys ADD COLUMN metadata TEXT;
ALTER TABLE api_keys ADD COLUMN external_id TEXT;
-- As they are shown, separated by spaces; found by `key_tags`.
ALTER TABLE api_keys ADD COLUMN tags TEXT NOT NULL DEFAULT '';
-- What it was granted, separated by spaces. Keys that were made before there were scopes have everything but what is
-- reserved. NULL grants nothing.
ALTER TABLE api_keys ADD COLUMN scopes TEXT DEFAULT '*';
-- Address ranges separated by spaces; NULL: any.
ALTER TABLE api_keys ADD COLUMN allowed_ips TEXT;
ALTER TABLE api_keys ADD COLUMN created_by BIGINT;

-- The first key of its lineage; NULL: itself.
ALTER TABLE api_keys ADD COLUMN lineage_id BIGINT;
ALTER TABLE api_keys ADD COLUMN generation BIGINT NOT NULL DEFAULT 1;
ALTER TABLE api_keys ADD COLUMN replaces BIGINT;
ALTER TABLE api_keys ADD COLUMN replaced_by BIGINT;
ALTER TABLE api_keys ADD COLUMN retires_at BIGINT;
-- A rotation with a grace moves `expires_at`: how far it may be moved back.
ALTER TABLE api_keys ADD COLUMN expires_before_rotation BIGINT;

-- While it is there the key is refused.
ALTER TABLE api_keys ADD COLUMN disabled_at BIGINT;
ALTER TABLE api_keys ADD COLUMN leaked_at BIGINT;
ALTER TABLE api_keys ADD COLUMN purged_at BIGINT;
ALTER TABLE api_keys ADD COLUMN revoked_reason TEXT;
ALTER TABLE api_keys ADD COLUMN revoked_note TEXT;
-- `user:1`, `key:7`, `operator:NAME`, `system:NAME`.
ALTER TABLE api_keys ADD COLUMN revoked_by TEXT;

-- Raised by every command on the key.
ALTER TABLE api_keys ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
-- The mark of the command that changed it last, the revision that it took, and whether its wait was seen to the end.
ALTER TABLE api_keys ADD COLUMN changed_mark BYTEA;
ALTER TABLE api_keys ADD COLUMN changed_position BIGINT;
ALTER TABLE api_keys ADD COLUMN changed_settled BOOLEAN NOT NULL DEFAULT TRUE;

-- How many keys of an owner live is counted as far as it matters, whatever was revoked or has expired before.
CREATE INDEX api_keys_live ON api_keys (owner_id, expires_at) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_lineage ON api_keys (lineage_id) WHERE lineage_id IS NOT NULL;
CREATE INDEX api_keys_external_id ON api_keys (owner_id, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE key_tags (
    tag TEXT NOT NULL,
    key_id BIGINT NOT NULL,
    PRIMARY KEY (tag, key_id)
);

CREATE INDEX key_tags_key_id ON key_tags (key_id);

-- Answers to commands that make a secret, for a client that asks again under the same idempotency key: sealed with
-- what the client alone has.
CREATE TABLE keys_idempotency (
    owner_id BIGINT NOT NULL,
    actor TEXT NOT NULL,
    route TEXT NOT NULL,
    key_hash BYTEA NOT NULL,
    request_hash BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    status BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner_id, actor, route, key_hash)
);

CREATE INDEX keys_idempotency_created_at ON keys_idempotency (created_at);

-- What the keys of an owner may do at most, where the identity service told of a ceiling of their own.
CREATE TABLE keys_ceilings (
    owner_id BIGINT NOT NULL PRIMARY KEY,
    ceiling TEXT NOT NULL
);

-- What the keys of every other owner may do at most; NULL: it was not told.
ALTER TABLE keys_telling ADD COLUMN default_ceiling TEXT;
