# Every task of the project, one target each. CARGO_TARGET_DIR is honoured.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
DEMO := src/bin/rsafe/demo
# Sets of features that are used without the default ones; `web` compiles those of browsers.
FEATURES := "" embedded,native eval train cli
NPM_CI := cd www && npm ci --ignore-scripts --no-audit --no-fund
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Where rustup puts cargo, for a shell that was open before.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo cli web test lint fmt bench notices tools browser

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

demo: tools ## Build and serve the demo page; prints its address. The build for WebGPU follows behind the page
	$(NPM_CI)
	node www/scripts/wasm.mjs cpu
	node www/scripts/build.mjs --webgpu-later
	@echo
	@echo "The page runs on the CPU; the build for WebGPU is made behind it, which takes some minutes."
	@node www/scripts/serve.mjs --behind \
		"(node www/scripts/wasm.mjs webgpu && node www/scripts/build.mjs) || { node www/scripts/build.mjs --cpu-only; false; }"

cli: tools ## Build the command line and judge a few conversations under a sample policy, reasoning shown as it is written
	$(CARGO) build --release --locked --bin rsafe
	@echo
	@# 0: all allowed, 1: something flagged, as it should be here; anything else is a failure.
	@"$(TARGET)/release/rsafe" check --policy $(DEMO)/policy.yaml --reasoning always --pretty \
		< $(DEMO)/conversations.jsonl || test $$? -eq 1

web: tools ## Build the npm package and the demo page into www/dist
	$(NPM_CI)
	node www/scripts/wasm.mjs
	node www/scripts/build.mjs

test: lint web browser ## Check format, lints and types, build the documentation without a warning, run every test
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib
	$(CARGO) test --locked
	cd www && npm run --silent check
	RSAFE_BIN="$(TARGET)/debug/rsafe" node www/scripts/test.mjs

lint: tools ## Check format, lints under every set of features that users choose, and what dependencies bring with them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	for features in $(FEATURES); do \
		$(CARGO) clippy --locked --no-default-features --features "$$features" -- -D warnings; \
	done
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check licenses bans sources; \
	else \
		echo "make: no cargo-deny: what dependencies bring is not checked; run: cargo install --locked cargo-deny"; \
	fi
	@# A change to the public face that its version does not tell, since the last release.
	@release=$$(git describe --tags --abbrev=0 2>/dev/null || true); \
	if [ -n "$$release" ] && $(CARGO) semver-checks --version >/dev/null 2>&1; then \
		$(CARGO) semver-checks --baseline-rev "$$release"; \
	fi

fmt: tools ## Format the code; that of www where its packages are installed
	$(CARGO) fmt --all
	if [ -d www/node_modules ]; then cd www && npx biome format --write; fi

notices: tools ## Write the licences of what the command line is built of into THIRD_PARTY_LICENSES in cargo's target folder
	@mkdir -p "$(TARGET)"
	node www/scripts/notices.mjs "$(TARGET)/THIRD_PARTY_LICENSES"

bench: tools ## Measure what the caches gain, what readers of guarded streams see and when, and what the server bears
	$(CARGO) bench --locked --bench '*'

tools: # What a fresh machine lacks: found or installed, else named with the command that gets it
	@command -v $(CARGO) >/dev/null || { \
		echo "make: no cargo; install Rust with https://rustup.rs and open a new shell" >&2; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || { \
		echo "make: no Node 20 or later; install it from https://nodejs.org" >&2; exit 1; }
	@command -v cc >/dev/null || { \
		if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -qy --no-install-recommends build-essential; \
		else \
			echo "make: no C compiler; run: sudo apt-get install build-essential" >&2; exit 1; \
		fi; }
	@# The tests run the reward module that goes to veRL.
	@command -v python3 >/dev/null || { \
		if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -qy --no-install-recommends python3; \
		else \
			echo "make: no python3; run: sudo apt-get install python3" >&2; exit 1; \
		fi; }
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy
	@test -d "$$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" || rustup target add wasm32-unknown-unknown

browser: # Chromium, which the tests of the page and the package drive; $$CHROMIUM names another one
	@test -n "$${CHROMIUM:-}" || command -v chromium chromium-browser google-chrome >/dev/null || { \
		if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -qy --no-install-recommends chromium; \
		else \
			echo "make: no Chromium; run: sudo apt-get install chromium" >&2; exit 1; \
		fi; }
