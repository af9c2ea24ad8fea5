-- Keys that sign access tokens and that anybody may check them by, and what ends with a secret. Times are milliseconds since 1970.

CREATE TABLE signing_keys (
    -- The thumbprint of the public half (RFC 7638), in base64url: so a name is one key's for ever.
    kid TEXT NOT NULL PRIMARY KEY,
    thumbprint BYTEA NOT NULL UNIQUE,
    -- As the header of its tokens says it: ES256, EdDSA or RS256.
    algorithm TEXT NOT NULL,
    -- Its place among those of its algorithm: of two processes that make the next one, one fills it.
    slot BIGINT NOT NULL,
    -- The public half: what is published of it (RFC 7517), in the form that the thumbprint is made from.
    public TEXT NOT NULL,
    -- The private half, sealed with a key that is derived from SECRET_KEY.
    sealed BYTEA NOT NULL,
    -- That one, as identity_signers knows it: where it was taken back, nobody can open what it seals.
    sealed_by BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    -- It is published from the time that it is made, and signs from here on.
    signs_from BIGINT NOT NULL,
    -- When the next one is to sign, or does.
    signs_until BIGINT NOT NULL,
    -- Set with the next one: by then no token that it has signed is alive. NULL: there is no next one yet.
    accepted_until BIGINT,
    -- The longest life of a token that any process has told of.
    longest_life BIGINT NOT NULL,
    revoked_at BIGINT,
    UNIQUE (algorithm, slot)
);

-- Keys are signers like secrets are, known by the first half of their thumbprints. NULL: it is a secret.
ALTER TABLE identity_signers ADD COLUMN kid TEXT;

-- How tokens are signed. NULL: HS256.
ALTER TABLE identity_settings ADD COLUMN jwt_algorithm TEXT;
-- The secret of the last start, as identity_signers knows it. NULL until a release that knows it has started.
ALTER TABLE identity_settings ADD COLUMN signing_secret BYTEA;
-- Raised where every session ends at once. A session of an earlier era has ended.
ALTER TABLE identity_settings ADD COLUMN era BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN era BIGINT NOT NULL DEFAULT 0;
-- Those that end with a signing key.
CREATE INDEX sessions_signer ON sessions (signer, id) WHERE ended_at IS NULL;
