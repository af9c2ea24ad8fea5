# The commands of this project, one line each; what needs more than a line has a script in tests/.
.PHONY: help run cluster build test lint bench faults model mutants nemesis miniature setup fmt deny docs pages configuration
.NOTPARALLEL:

# Parts of the suite that start what they need themselves, whatever STACK says.
SAME_ON_BOTH = away births checks chores client cluster database expiry faults late member miniature mixed names nemesis owners postgres readiness refusals releases restore store tasks telling transactions verify

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start the whole system in one process, at http://localhost:8000
	cargo run

cluster: ## Start the whole cluster in containers, at http://localhost:8000 and 8001
	docker compose up --build --wait

build: ## Compile everything
	cargo build --workspace

test: setup lint docs deny build ## Install what is missing, then run every check and every test
	cargo test --workspace
	RUSTFLAGS="--cfg latchkey_portable" cargo test -p latchkey-os --target-dir target/portable
	STACK=cluster cargo test --workspace --test suite -- $(SAME_ON_BOTH:%=--skip %::)
	$(MAKE) --no-print-directory pages

lint: ## Formatting, and clippy under the lints of Cargo.toml and .clippy.toml
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## Print the figures
	cargo build --release --workspace --bins && cargo bench --workspace --bench figures

model: ## Explore the revocation protocol much further than make test does (hours if let)
	LATCHKEY_MODEL_STATES=$${LATCHKEY_MODEL_STATES:-10000000} cargo test --release -p latchkey-revocation model:: -- --nocapture

faults: build ## Print what each fault costs a cluster
	rm -f target/faults.md
	FAULTS=$(CURDIR)/target/faults.md cargo test --workspace --test suite -- faults:: --test-threads 1
	@cat target/faults.md

nemesis: build ## Break a cluster in every way while 2,000 keys are revoked and users go through every change
	NEMESIS_REVOKES=$${NEMESIS_REVOKES:-2000} cargo test --workspace --test suite -- nemesis::no_edge --nocapture

miniature: ## Send users through thousands of changes inside one process whose bus loses, delays and doubles
	MINIATURE_SECONDS=$${MINIATURE_SECONDS:-120} cargo test --release --workspace --test suite -- miniature:: --nocapture --test-threads 1

mutants: ## Change the code that decides, one operator at a time: the tests have to notice (hours)
	@tests/mutants.sh

setup: ## Install what the tests need and this machine does not have
	@tests/setup.sh

fmt: ## Format the code
	cargo fmt --all

configuration: ## Write the tables of docs/configuration.md anew, from those in the code
	WRITE_CONFIGURATION=1 cargo test --workspace --test suite -- configuration::page::the_page

deny: setup ## Check the dependencies: licences, duplicates, sources, advisories
	@tests/deny.sh

docs: ## Build the crates' documentation; a broken link fails
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

pages: setup build ## Look at /docs and /redoc in a browser; screenshots in target/pages
	node tests/pages/check.mjs target/debug/latchkey
