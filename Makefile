# Needs python3.11, make and bash. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

RUN_OUT ?= runs/panel
RUN_ARGS ?=
DEMO_ARGS ?=

# Nothing phones home, and one thread per worker (two busy threads on two cores are slower than one).
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0
export OMP_NUM_THREADS := 1

.PHONY: help setup run test test-full demo-deployment test-deployment checks format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with python3.11 and the pinned packages (fast the second time)

run: setup  ## run the panel experiment into RUN_OUT (runs/panel); more options in RUN_ARGS="..."
	$(BIN)/fl-run experiment=panel out=$(RUN_OUT) $(RUN_ARGS)

test: checks  ## format, lint, types, imports, doctests, tests; CI runs test-deployment too
	@echo "== tests and doctests (without the slow ones)"
	@$(BIN)/python -m pytest -q -n 2 -m "not slow and not deployment"

test-full: checks  ## the same with the slow tests
	@echo "== tests and doctests (all)"
	@$(BIN)/python -m pytest -q -n 2 -m "not deployment"

demo-deployment: setup  ## four brands and a coordinator on loopback: run, audit, compare, stop
	$(BIN)/python -m experiments.deployment.demo $(DEMO_ARGS)

test-deployment: setup  ## failure tests on real processes (TLS, registered keys, nginx if there)
	@$(BIN)/python -m pytest -q -n 2 -m deployment tests/deployment

checks: setup
	@echo "== format"
	@$(BIN)/ruff format --check
	@echo "== lint"
	@$(BIN)/ruff check
	@echo "== types"
	@$(BIN)/mypy
	@echo "== imports"
	@$(BIN)/lint-imports --no-logo

format: setup  ## format the code and apply safe lint fixes
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

clean:  ## remove caches and build products (keeps .venv and runs)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The stamp is removed first and written last, so an interrupted install is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@if $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    echo "== $(VENV) is there; bringing its packages up to date"; \
	else \
	    python=""; \
	    for candidate in python3.11 python3; do \
	        if $$candidate -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; \
	        then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "make setup: Python 3.11 not found: neither python3.11 nor python3 is it." >&2; \
	        echo "Install Python 3.11 (with its venv module) and run make setup again." >&2; \
	        exit 1; \
	    fi; \
	    echo "== making $(VENV) with $$python"; \
	    $$python -m venv --clear $(VENV); \
	fi
	@echo "== installing pinned packages (a first time takes some minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 \
	    | tee $(VENV)/install.log \
	    | awk '/^ *Downloading .*[MG]B/ || /^Building wheel/ || /^Installing collected packages/ \
	           { sub(/^ */, ""); sub(/-(cp|py)[0-9].*whl/, ""); sub(/:.*/, ""); \
	             print "   " $$0; fflush() }' \
	    || { echo "make setup: pip failed; the end of $(VENV)/install.log:" >&2; \
	         tail -n 30 $(VENV)/install.log >&2; exit 1; }
	@$(BIN)/python -m pip check
	@touch $@
