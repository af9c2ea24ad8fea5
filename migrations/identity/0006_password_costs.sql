-- What a password's hash costs stands at its beginning, before the 67 characters of salt and hash: found for
-- all accounts without reading them, so that a name that nobody has costs what accounts do.

CREATE INDEX users_password_cost ON users (
    (CASE WHEN length(password_hash) > 67 THEN substr(password_hash, 1, length(password_hash) - 67) ELSE '' END)
);
