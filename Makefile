# Taskloom. `make run` starts everything, `make test` tests everything; both install what they need into .venv.

# The uv that builds the environment; what it installs is pinned by requirements.lock.
UV_VERSION := 0.13.8
UV := .tools/bin/uv
READY := .venv/.ready
BIN := .venv/bin
# The whole suite takes three processes with servers of their own; a Redis that is given is one, which tests flush.
AT_ONCE := $(if $(TASKLOOM_TEST_REDIS_URL),,-n 3 --dist loadfile)

# A moved checkout, or one whose Python has gone, needs its environment again.
ifneq ($(shell test -x .venv/bin/python && cat $(READY) 2>/dev/null),$(shell pwd -P))
.PHONY: $(READY)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help environment run test lint format types schema schema-check check bench bench-peers chaos lock clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

environment: $(READY) ## install what the other targets need, and nothing else

run: $(READY) ## start PostgreSQL, Valkey, the server and a worker (PORT=8000, DATABASE_URL, REDIS_URL)
	@exec $(BIN)/taskloom dev

test: $(READY) ## run the tests, all or some of them: make test T=tests/unit
	@# Hundreds of processes are started, also where Python is told to keep no bytecode.
	@$(BIN)/python -m compileall -q app workers tests
	@$(BIN)/python -m pytest $(or $(T),$(AT_ONCE))

lint: $(READY) ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY) ## mend style and formatting
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(READY) ## check types
	@$(BIN)/pyright

schema: $(READY) ## write schema.graphql from the code
	@$(BIN)/taskloom schema export

schema-check: $(READY) ## check that schema.graphql is what the code says
	@$(BIN)/taskloom schema check

check: lint types schema-check test ## everything that CI checks

bench: $(READY) ## measure speed, latencies, memory, and a million queued runs (some ten minutes)
	@$(BIN)/python -m tests.bench

bench-peers: $(READY) ## compare with other queues and a stock server, installed into .bench-peers (some ten minutes)
	@$(BIN)/python -m tests.bench.peers

chaos: $(READY) ## load and random faults, then a check of all that the database saw (SEED=1, SECONDS=60)
	@$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --seconds $(or $(SECONDS),60)

lock: $(UV) ## pin every dependency of pyproject.toml in requirements.lock
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-annotate --extra dev pyproject.toml -o requirements.lock

clean: ## remove the environment and the caches (the data of make run stay)
	rm -rf .venv .tools .bench-peers .pytest_cache .ruff_cache .hypothesis

$(UV):
	@.ci/environment uv $(UV_VERSION)

$(READY): requirements.lock .ci/environment | $(UV)
	@.ci/environment venv
