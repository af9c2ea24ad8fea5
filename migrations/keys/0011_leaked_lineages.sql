-- Lineages of which a key may be somebody else's, by their first key, for as long as one of their keys has a row.
-- `api_keys.leaked_at`, which was of single keys, is read no longer.
CREATE TABLE keys_leaked_lineages (
    lineage_id BIGINT NOT NULL PRIMARY KEY,
    leaked_at BIGINT NOT NULL
);

INSERT INTO keys_leaked_lineages (lineage_id, leaked_at)
    SELECT COALESCE(lineage_id, id), MIN(leaked_at) FROM api_keys WHERE leaked_at IS NOT NULL
    GROUP BY COALESCE(lineage_id, id);
