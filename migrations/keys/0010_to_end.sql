-- The keys of an owner that can still be ended, or whose end not every edge is known to know of: who ends many of them by
-- what they have in common goes along these alone, however many have ended before.
CREATE INDEX api_keys_to_end ON api_keys (owner_id, id) WHERE revoked_at IS NULL OR NOT is_settled;
