-- Of what identity's history, and of which revision in it, the ceiling of all owners without one of their own is.
ALTER TABLE keys_telling ADD COLUMN default_made BIGINT;
ALTER TABLE keys_telling ADD COLUMN default_timeline BIGINT;
ALTER TABLE keys_telling ADD COLUMN default_revision BIGINT;
-- Whether each page of the telling that is under way has told of ceilings, too: the release before tells none.
ALTER TABLE keys_telling ADD COLUMN with_ceilings BOOLEAN NOT NULL DEFAULT FALSE;
-- Identity's history of which all ceilings were told; NULL before the first time.
ALTER TABLE keys_telling ADD COLUMN ceilings_made BIGINT;
