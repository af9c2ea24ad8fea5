#!/usr/bin/env bash
# Changes the code that decides, one operator, guard, field or body at a time, and fails where the tests of its crate do
# not notice. Which files those are, and which changes make no difference, is in .cargo/mutants.toml; what was found is
# in target/mutants.out. Arguments go to cargo-mutants: `tests/mutants.sh --re gate/src/lease` is one file.
#
# Each change costs a build and the tests of one crate: seconds where they are quick, a minute in common/revocation.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_MUTANTS=27.1.0
readonly TOOL=target/tools/mutants

if [ "$("$TOOL/bin/cargo-mutants" mutants --version 2>/dev/null)" != "cargo-mutants $CARGO_MUTANTS" ]; then
    echo "mutants: compiling cargo-mutants $CARGO_MUTANTS"
    cargo install --quiet --locked --root "$TOOL" --target-dir target/mutants-tool \
        --version "$CARGO_MUTANTS" cargo-mutants
    rm -rf target/mutants-tool
fi
# The code is changed in a copy, whose dependencies are compiled once.
CARGO_TARGET_DIR=$PWD/target/mutants exec "$TOOL/bin/cargo-mutants" mutants --output target "$@"
