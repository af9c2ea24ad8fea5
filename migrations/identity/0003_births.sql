-- What a credential is born from, and what a late or doubled message is known by.

-- Raised by each new password and each change of activity, not where a login renews the hash: a login or a change of
-- password that was decided on an older one is refused at the write.
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
-- Raised by each change of activity alone: nobody who changes passwords can hold up a deactivation.
ALTER TABLE users ADD COLUMN active_version BIGINT NOT NULL DEFAULT 1;
-- The commands that set the password and the activity last.
ALTER TABLE users ADD COLUMN password_mark BYTEA;
ALTER TABLE users ADD COLUMN active_mark BYTEA;
-- Sessions are numbered by the transaction of their login, so that "all of them" is a number and not a moment.
ALTER TABLE users ADD COLUMN last_session BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
-- The message of the login.
ALTER TABLE sessions ADD COLUMN mark BYTEA;

CREATE UNIQUE INDEX sessions_mark ON sessions (mark);

-- What was decided here and has to be done elsewhere: one row a subject, with its whole state, until the other
-- service has confirmed it.
CREATE TABLE identity_outbox (
    subject TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    message TEXT NOT NULL
);

CREATE INDEX identity_outbox_revision ON identity_outbox (revision);
