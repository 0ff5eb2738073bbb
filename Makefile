# Everything a developer runs. Needs git, make and Python 3.10 or later with venv; nothing else.
# The environment is made on first use, and again when pyproject.toml has changed.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check test-slow bench generate wheel clean
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.embedded  ## Load a small corpus into an embedded server and ask it ten questions
	@$(BIN)/kompanion-db demo

# The generated files under sql/ are compared by tests (test_install_psql.py, test_golden.py).
test: check  ## Lint, types, and all but the slow tests, on three PostgreSQL servers and SQLite
	@echo "== pytest"
	@$(BIN)/python -m pytest -q -n 2 -m "not slow"

check: $(VENV)/.test  ## Lint and types only
	@echo "== ruff"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@echo "== mypy"
	@$(BIN)/mypy

test-slow: $(VENV)/.test  ## The long proofs: thousands of kills, races and programs
	@$(BIN)/python -m pytest -q -n 2 -m slow

bench: $(VENV)/.bench  ## Measure search, growth, tuning and writing on small sets: tables, JSON and pictures in bench/results
	@$(BIN)/python -m bench.all --small

generate: $(VENV)/.embedded  ## Make install.psql, schema.sql and API.md of sql/ and sqlite/ from the migrations and functions
	@$(BIN)/python -m kompanion_db.dev.install_script
	@$(BIN)/python -m kompanion_db.dev.golden
	@$(BIN)/python -m kompanion_db.dev.api_docs
	@$(BIN)/python -m kompanion_db.dev.sqlite_schema
	@$(BIN)/python -m kompanion_db.dev.sqlite_api

wheel: $(VENV)/.made  ## Build dist/kompanion_db-*.whl
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .
	@ls dist/*.whl

# .kompanion stays: memories are kept in it.
clean:  ## Remove what was made here: environment, caches, dist
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "kompanion_db needs Python 3.10 or later; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not there)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "== making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

# One install: what pip does goes to a log, of which the main lines are shown.
define install
	@echo "== installing kompanion-db[$(1)] into $(VENV) (the first time takes a minute or two)"
	@{ $(BIN)/python -m pip install --disable-pip-version-check --no-input -e '.[$(1)]' 2>&1; echo "status $$?"; } \
	  | tee $(VENV)/install.log | while IFS= read -r line; do \
	    case "$$line" in \
	      "status 0") exit 0 ;; \
	      "status "*) tail -n 20 $(VENV)/install.log >&2; exit 1 ;; \
	      "Collecting "*|"Installing collected"*) printf '   %.100s\n' "$$line" ;; \
	    esac; done
	@touch $@
endef

# One after the other, so that "make -j demo test" never runs two pips in one environment.
$(VENV)/.embedded: pyproject.toml $(VENV)/.made
	$(call install,embedded)

$(VENV)/.test: pyproject.toml $(VENV)/.embedded
	$(call install,test)

$(VENV)/.bench: pyproject.toml $(VENV)/.test
	$(call install,bench)
