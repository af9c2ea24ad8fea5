-- Accounts, their login sessions, and failed logins by name.
-- Times are milliseconds since 1970. Canonical columns decide what is the same name or address.

CREATE TABLE users (
    id IDENTITY_PRIMARY_KEY,
    email TEXT NOT NULL,
    email_canonical TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL,
    username_canonical TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);

-- A token is good while its session's row says so.
CREATE TABLE sessions (
    id BYTEA NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);

CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- Keyed by a hash of the canonical name, whether or not somebody has it: names that do not exist
-- are throttled like names that do, and are not written down.
CREATE TABLE login_failures (
    name_hash BYTEA NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_failure_at BIGINT NOT NULL
);

CREATE INDEX login_failures_last_failure_at ON login_failures (last_failure_at);
