-- Exact revocation: which changes there were, in which order, and who may rely on answers.
-- See docs/revocation.md. Times are milliseconds since 1970.

-- One row. Counting in the transaction that makes a change makes commit order and number order the same;
-- a sequence would not.
CREATE TABLE keys_position (
    id BIGINT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL,
    -- Made at random together with the row: another row is another history.
    epoch BIGINT NOT NULL,
    -- Records of changes up to here may have been deleted.
    pruned BIGINT NOT NULL,
    -- The timeline of the database that a service has watched for a whole wait.
    watched BIGINT NOT NULL
);

CREATE TABLE keys_invalidations (
    position BIGINT NOT NULL PRIMARY KEY,
    -- One credential, or every credential of one owner.
    credential BYTEA,
    owner_id BIGINT,
    recorded_at BIGINT NOT NULL
);

CREATE INDEX keys_invalidations_recorded_at ON keys_invalidations (recorded_at);

-- One row for each running edge: `member`, or `retired`, which is granted nothing any more.
CREATE TABLE keys_members (
    id BYTEA NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    renewed_at BIGINT NOT NULL
);

-- The change that revoked a key, and whether its wait was seen to the end.
ALTER TABLE api_keys ADD COLUMN revoked_position BIGINT;
ALTER TABLE api_keys ADD COLUMN is_settled BOOLEAN NOT NULL DEFAULT FALSE;

-- Owners whose account is deactivated: their keys are refused while they stand here.
CREATE TABLE keys_disabled_owners (
    owner_id BIGINT NOT NULL PRIMARY KEY,
    disabled_at BIGINT NOT NULL
);
