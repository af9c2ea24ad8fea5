-- What is shown of a session, and refresh tokens. Times are milliseconds since 1970.

-- What a session is called where it is shown: 16 random hexadecimal digits. NULL in rows of the release before.
ALTER TABLE sessions ADD COLUMN handle TEXT;
ALTER TABLE sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'api';
-- What the login said of itself, and from where it came, as far as AUDIT_IP has that written down.
ALTER TABLE sessions ADD COLUMN device TEXT;
ALTER TABLE sessions ADD COLUMN user_agent TEXT;
ALTER TABLE sessions ADD COLUMN ip TEXT;
ALTER TABLE sessions ADD COLUMN last_seen_at BIGINT;
-- How its user has shown who they are, separated by spaces, and when they did so last.
ALTER TABLE sessions ADD COLUMN methods TEXT NOT NULL DEFAULT 'pwd';
ALTER TABLE sessions ADD COLUMN auth_time BIGINT;
-- Beyond it no refresh prolongs the session. NULL: it has no refresh tokens, and ends with its one access token. Where
-- it is set, `expires_at` moves with each refresh.
ALTER TABLE sessions ADD COLUMN max_expires_at BIGINT;

-- By SHA-256 of its text alone. Tokens of one session are a chain: each but the last has been rotated, once.
CREATE TABLE refresh_tokens (
    hash BYTEA NOT NULL PRIMARY KEY,
    session_id BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- When it was rotated, by the database's clock, into which one, and by which message.
    rotated_at BIGINT,
    successor BYTEA,
    mark BYTEA
);

CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id, created_at);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE UNIQUE INDEX sessions_handle ON sessions (handle);
