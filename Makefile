# On a fresh machine: `make demo` to see it, `make test` to check it. Both make .venv themselves, and only once.

PYTHON ?= python3
VENV ?= .venv
# More arguments for pytest: make test ARGS="tests/core -x"
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types wheel soak bench clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## see it all work in a minute: no model, no network
	@$(BIN)/cco demo

test: $(VENV)/.installed-test ## run the tests, several files at a time
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.installed-lint ## check style, and that the change log can be made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/towncrier build --draft --version next > /dev/null

format: $(VENV)/.installed-lint ## mend style where that can be done by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-types $(VENV)/.installed-test ## check types
	$(BIN)/mypy cco_sidecar tests twisted/plugins $(wildcard benchmarks/*.py)

wheel: $(VENV)/.installed-test ## build wheel and sdist into dist/
	$(BIN)/python -m build --outdir dist .

soak: $(VENV)/.installed-test ## run the long tests (many minutes)
	@$(BIN)/python -m pytest -m soak --timeout 7200 $(ARGS)

# A benchmark says in its docstring how it is run; its peers do not.
bench: $(VENV)/.installed-test ## run the benchmarks, each against a peer
	@for file in $$(grep -l 'python -m benchmarks\.' benchmarks/*.py); do \
	    name=benchmarks.$$(basename $$file .py); echo "== $$name"; $(BIN)/python -m $$name || exit 1; \
	done

clean: ## remove what was made
	rm -rf $(VENV) build dist cco_sidecar.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .tox
	rm -f twisted/plugins/dropin.cache
	find cco_sidecar tests benchmarks twisted -name __pycache__ -type d -prune -exec rm -rf {} +

# pip comes last when an environment is made: where it is, the environment is whole.
$(BIN)/pip:
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON). On Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make environments. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV), once." >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg setup.py | $(BIN)/pip
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-%: setup.cfg setup.py | $(BIN)/pip
	@$(PIP) --editable '.[$*]'
	@touch $@
