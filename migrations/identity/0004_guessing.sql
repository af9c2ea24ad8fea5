-- Tries at a password are reserved before the password is looked at, and the clients of an account's owner
-- have a budget of their own. Times are milliseconds since 1970.

-- `name_hash` names a budget: the strangers' at one name (as before), that of one client which has logged in
-- to one account, or that of one session. Tries under way count like failures until they end. Those that
-- never do are failures after a while; what ends after that is of an earlier round.
ALTER TABLE login_failures ADD COLUMN in_flight BIGINT NOT NULL DEFAULT 0;
ALTER TABLE login_failures ADD COLUMN reserved_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE login_failures ADD COLUMN round BIGINT NOT NULL DEFAULT 0;

CREATE INDEX login_failures_reserved_at ON login_failures (reserved_at);

-- From where an account was logged in to: a keyed hash of account and network, so that a dump shows no
-- addresses.
CREATE TABLE identity_login_clients (
    user_id BIGINT NOT NULL REFERENCES users (id),
    client BYTEA NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, client)
);

CREATE INDEX identity_login_clients_seen_at ON identity_login_clients (seen_at);
