-- API keys. Times are milliseconds since 1970.

CREATE TABLE api_keys (
    id IDENTITY_PRIMARY_KEY,
    owner_id BIGINT NOT NULL,
    -- SHA-256 of the key. The key itself is stored nowhere.
    hash BYTEA NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT
);

CREATE INDEX api_keys_owner_id ON api_keys (owner_id, id);
CREATE INDEX api_keys_expires_at ON api_keys (expires_at);
