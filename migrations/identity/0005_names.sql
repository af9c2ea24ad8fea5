-- Names and addresses in their folded forms (rules.rs): ς is σ, ß is ss, and a domain is what the domain
-- name system has. The canonical columns stay: they are what the release before compares, and by them
-- accounts go on whose names fall together only now.

-- NULL: written by the release before; a replica of this one fills it in.
ALTER TABLE users ADD COLUMN username_folded TEXT;
ALTER TABLE users ADD COLUMN email_folded TEXT;
-- Several accounts have this name, all opened before names were folded. Each is found by its canonical form
-- alone, and nobody else gets the name.
ALTER TABLE users ADD COLUMN username_shared BOOLEAN NOT NULL DEFAULT FALSE;

-- ASCII is folded already.
UPDATE users SET
    username_folded = CASE WHEN octet_length(username_canonical) = length(username_canonical)
        THEN username_canonical END,
    email_folded = CASE WHEN octet_length(email_canonical) = length(email_canonical)
        THEN email_canonical END;

CREATE UNIQUE INDEX users_username_folded ON users (username_folded);
CREATE UNIQUE INDEX users_email_folded ON users (email_folded);
CREATE INDEX users_unfolded ON users (id) WHERE username_folded IS NULL OR email_folded IS NULL;
