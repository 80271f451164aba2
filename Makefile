# Everything one does with this tree. `make` lists it; the only needs are make and a Python from 3.11 on.
#
# .venv is made from uv.lock by tools/environment.py: the runtime dependencies for `make run`, all of them for the rest.
# A stamp in .venv makes that happen once; a newer uv.lock or pyproject.toml makes it happen again.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
BUILD_VENV := .venv-build
SOURCES := $(wildcard proxy tests bench tools)
DEPENDENCIES := uv.lock pyproject.toml tools/environment.py

# The interpreter that .venv is made with: PYTHON=..., else the first of these that is new enough.
PYTHON ?=
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
FIND_PYTHON = python=""; for candidate in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
	if "$$candidate" $(NEW_ENOUGH) 2>/dev/null; then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then \
	echo "expected Python 3.11 or newer, found none as $(or $(PYTHON),python3.11 or python3); name one: make PYTHON=/path/to/python3" >&2; \
	exit 1; fi

##@ Use
.PHONY: run
run: $(VENV)/.ready-run ## Watch one exchange in each cohort, then keep serving; Ctrl-C ends it; ARGS="..." goes to the demo
	@exec $(BIN)/elicit-sidecar demo --config config.example.toml --state-dir .run $(ARGS)

##@ Work
.PHONY: test
# The tests start hundreds of processes: those that may not keep bytecode compile all that they import each time.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.ready ## All tests with coverage and its gates, then everything of `make check`
	@# Here, because a test that has to build a peer first would run into its time-out; it says itself what is missing.
	-$(BIN)/python tools/peers.py
	$(BIN)/coverage erase
	@# Neighbours stay together, as many share the processes that they need.
	$(BIN)/coverage run -m pytest -n auto --dist worksteal $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='proxy/core/*,proxy/mcp/*' --fail-under=100
	$(BIN)/coverage report --omit='proxy/core/*,proxy/mcp/*' --fail-under=95
	@$(MAKE) --no-print-directory check

.PHONY: check
check: $(VENV)/.ready ## Format, lint, types, floor plan, generated pages; no tests
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_floorplan.py
	$(BIN)/python tools/gen_docs.py --check

.PHONY: fix
fix: $(VENV)/.ready ## Format, mend what ruff can mend, write the generated pages
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/python tools/gen_docs.py --write

.PHONY: bench
bench: $(VENV)/.ready ## Measure delivery latency in both cohorts, and what the relay, a signature and a limit cost
	$(BIN)/python bench/elicitation_benchmark.py $(BENCH_ARGS)
	$(BIN)/python bench/relay_overhead.py
	$(BIN)/python bench/signing_cost.py
	$(BIN)/python bench/limit_cost.py

.PHONY: soak
soak: $(VENV)/.ready ## Run under load and attack for hours; with MESSAGES=1000000 everything is killed meanwhile
ifdef MESSAGES
	$(BIN)/python bench/chaos.py --messages $(MESSAGES) --agents 100 $(CHAOS_ARGS)
else
	$(BIN)/python bench/soak.py $(SOAK_ARGS)
	$(BIN)/python bench/mcp_soak.py $(MCP_SOAK_ARGS)
	@# What attackers do: signed calls, hostile bytes, secrets that somebody writes down; and builds without a defence.
	$(BIN)/python bench/signed_soak.py $(SIGNED_SOAK_ARGS)
	$(BIN)/python bench/fuzz.py $(FUZZ_ARGS)
	$(BIN)/python bench/secrets_grep.py $(SECRETS_GREP_ARGS)
	$(BIN)/python -m tests.support.mutants
endif

##@ Make
.PHONY: build
build: $(BUILD_VENV)/.ready ## The release binary dist/elicit-sidecar, started once
	PYTHONHASHSEED=1 SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)" \
		$(BUILD_VENV)/bin/pyinstaller --noconfirm --log-level WARN build.spec
	dist/elicit-sidecar version

.PHONY: docs
docs: $(VENV)/.ready ## The documentation as a site in site/
	$(BIN)/python tools/gen_docs.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: lock
lock: $(VENV)/.ready-run ## Resolve the dependencies anew into uv.lock, without the names of package indexes
	$(BIN)/uv lock $(LOCK_ARGS)
	@sed -E 's#https?://[^/"]+/#https://index.invalid/#g' uv.lock > uv.lock.neutral
	@mv uv.lock.neutral uv.lock

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf $(VENV) $(BUILD_VENV) .peers build dist site .run htmlcov .coverage .coverage.* *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "%s%s\n", sep, substr($$0, 5); sep = "\n"} \
		/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

# Environments

$(VENV)/.ready-run: $(DEPENDENCIES)
	@$(FIND_PYTHON); echo "installing the runtime dependencies into $(VENV)"; \
		"$$python" tools/environment.py $(VENV) --group install --install-project
	@touch $@

$(VENV)/.ready: $(DEPENDENCIES)
	@$(FIND_PYTHON); echo "installing all dependencies into $(VENV)"; \
		"$$python" tools/environment.py $(VENV) --group dev --exact --install-project
	@touch $(VENV)/.ready-run $@

$(BUILD_VENV)/.ready: $(DEPENDENCIES)
	@$(FIND_PYTHON); echo "installing what the binary is made of into $(BUILD_VENV)"; \
		"$$python" tools/environment.py $(BUILD_VENV) --group build --exact
	@touch $@
