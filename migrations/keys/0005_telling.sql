-- How far the identity service has told of the owners of keys, in one row. Every message that tells names the version
-- that its sender has read, so that one that comes late, or of a history that was left, is refused.
CREATE TABLE keys_telling (
    id BIGINT NOT NULL PRIMARY KEY,
    -- Raised by each message that is taken.
    version BIGINT NOT NULL,
    -- Identity's history that is told; NULL before the first time.
    made BIGINT,
    timeline BIGINT,
    -- Owners are told of as of this revision, up to the owner `through`; NULL: all of them.
    revision BIGINT NOT NULL,
    through BIGINT,
    -- The history of this database in which that began. While it is another one, no key is accepted. NULL before the
    -- first time.
    for_made BIGINT,
    for_timeline BIGINT
);

INSERT INTO keys_telling (id, version, revision) VALUES (1, 0, 0);
