-- Which replica does a chore that one at a time does: a chore has a row. Until when it is held is a time by the
-- database's clock.
CREATE TABLE keys_chores (
    name TEXT NOT NULL PRIMARY KEY,
    holder BYTEA NOT NULL,
    until BIGINT NOT NULL
);
