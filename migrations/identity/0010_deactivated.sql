-- The accounts that the key service is told of anew, page by page, after either database was restored.

CREATE INDEX users_deactivated ON users (id) WHERE NOT is_active;
