#!/bin/bash
# Makes a role and a database for each service. Run once, as the superuser, on an empty server; the
# Postgres image does that with every file in /docker-entrypoint-initdb.d.
#
# Each role owns its own database, because its service changes its own tables, and can connect to no
# other. None is a superuser, or may make roles or databases.
#
# IDENTITY_PASSWORD_FILE and KEYS_PASSWORD_FILE name the files with the roles' passwords.
set -euo pipefail
: "${IDENTITY_PASSWORD_FILE:?names no file}" "${KEYS_PASSWORD_FILE:?names no file}"
export IDENTITY_PASSWORD_FILE KEYS_PASSWORD_FILE

psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet \
    --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" <<'SQL'
-- By the shell, not by an argument: arguments are there for every process to see.
\set identity_password `cat "$IDENTITY_PASSWORD_FILE"`
\set keys_password `cat "$KEYS_PASSWORD_FILE"`

CREATE ROLE identity LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'identity_password';
CREATE ROLE keys LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'keys_password';

CREATE DATABASE identity OWNER identity;
CREATE DATABASE keys OWNER keys;

-- Everybody may connect to a new database, until it is taken back.
REVOKE ALL ON DATABASE identity FROM PUBLIC;
REVOKE ALL ON DATABASE keys FROM PUBLIC;
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON DATABASE template1 FROM PUBLIC;
SQL
