# What can be done here. `make help` lists it.
#
# Every target builds the release profile. The crate `workspace-hack` names the features of every dependency once, so the
# demo, the tests and the benchmarks link the same compiled DataFusion, whichever packages they select. Clippy only checks
# and keeps results of its own.

SHELL := /bin/bash
CARGO ?= cargo

.DEFAULT_GOAL := help

.PHONY: help
help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-10s %s\n", $$1, $$2 }'

.PHONY: build
build: ## Builds the binary, target/release/shardlake
	@. scripts/lib/machine.sh && need_build_tools
	@$(CARGO) build --release --workspace --bins

.PHONY: demo
demo: ## The tutorial: four MySQL tables become one Iceberg table (KEEP=1 leaves it running)
	@KEEP=$(KEEP) scripts/demo.sh

.PHONY: test
test: ## All tests, with a real MySQL, DuckDB and pyiceberg (SHARDLAKE_KILLS=500 for a longer crash test)
	@scripts/test.sh

.PHONY: test-mariadb
test-mariadb: ## The tests of the source with MariaDB 10.11 and 11.8
	@SHARDLAKE_SERVER=mariadb scripts/test.sh --package shardlake-mysql-cdc
	@SHARDLAKE_SERVER=mariadb-11 scripts/test.sh --package shardlake-mysql-cdc

.PHONY: crash
crash: ## The crash test alone, hundreds of kills (SHARDLAKE_KILLS, default 300)
	@SHARDLAKE_KILLS=$${SHARDLAKE_KILLS:-300} scripts/test.sh --package shardlake-e2e -- crash

.PHONY: bench
bench: build ## Benchmarks beside their limits, measured in the same run (SHORT=1 for a quick one)
	@SHORT=$(SHORT) scripts/bench.sh

.PHONY: bench-decode
bench-decode: build ## What decoding costs over packets alone, and over the rows of mysql_common
	@scripts/bench-decode.sh

.PHONY: fmt
fmt: ## Formats the code
	@$(CARGO) fmt --all

.PHONY: lint
lint: ## Formatting, clippy and the rules of STYLE.md, without changing anything
	@. scripts/lib/machine.sh && need_build_tools
	@$(CARGO) fmt --all -- --check
	@$(CARGO) clippy --release --workspace --all-targets --quiet -- -D warnings
	@$(CARGO) xtask tidy

.PHONY: clean
clean: ## Removes what was built and fetched
	@$(CARGO) clean
	@rm -rf .cache
