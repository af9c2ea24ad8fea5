-- Who signed a session's token, as identity_signers knows it. NULL in rows of the release before: what acts by such a
-- session holds only while no secret has ever been taken back.
ALTER TABLE sessions ADD COLUMN signer BYTEA;
