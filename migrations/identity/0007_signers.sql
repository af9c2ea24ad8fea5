-- Whose access tokens are accepted: one row for each SECRET_KEY that has ever been named, with the issuer and
-- audience that went with it. Times are milliseconds since 1970.

CREATE TABLE identity_signers (
    -- A one-way mark of the three (services/identity/src/token.rs).
    fingerprint BYTEA NOT NULL PRIMARY KEY,
    -- The change that named it; 0 where nobody had logged in yet.
    named_position BIGINT NOT NULL,
    named_at BIGINT NOT NULL,
    -- The change that took it back. NULL: its tokens are accepted. A row that was taken back stays, so that it is
    -- never named again.
    withdrawn_position BIGINT,
    withdrawn_at BIGINT
);
