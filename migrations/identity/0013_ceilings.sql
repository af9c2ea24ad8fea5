-- What users may do and grant at most, and what their sessions were narrowed to. Scopes are separated by spaces.

-- In place of the ceiling of all users; '' is nothing at all, NULL that this user has none of their own.
ALTER TABLE users ADD COLUMN ceiling TEXT;
-- Raised by each change of it, and the command that changed it last.
ALTER TABLE users ADD COLUMN ceiling_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN ceiling_mark BYTEA;
-- What was asked for at the login. NULL: everything that the user may do.
ALTER TABLE sessions ADD COLUMN scope TEXT;

-- What the key service is told of accounts, page by page.
CREATE INDEX users_told ON users (id) WHERE NOT is_active OR ceiling IS NOT NULL;

-- The settings that verdicts depend on, in one row: no process goes by its own.
CREATE TABLE identity_settings (
    id BIGINT NOT NULL PRIMARY KEY,
    -- The ceiling of all users. NULL until a release that knows it has started: everything but what is reserved.
    user_scopes TEXT,
    -- The change that set it; 0 where there was nobody yet to tell.
    set_position BIGINT NOT NULL
);

INSERT INTO identity_settings (id, set_position) VALUES (1, 0);
