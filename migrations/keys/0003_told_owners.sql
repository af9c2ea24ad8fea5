-- What the identity service told of an owner last: its history (epoch) and its revision. What is older is refused, so
-- that a message that comes late undoes nothing. A row stays when the owner is enabled again.
CREATE TABLE keys_told_owners (
    owner_id BIGINT NOT NULL PRIMARY KEY,
    made BIGINT NOT NULL,
    timeline BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
