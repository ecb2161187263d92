# What there is to do, on a machine with make and Python >= 3.11: everything else is installed into .venv, at the
# versions and hashes of deploy/*.lock. `make PYTHON=python3.12 ...` chooses the Python of a new .venv.

PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv --quiet pip compile --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command 'make lock' --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test pages chaos soak check bench format lock clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## /  make \1 	/p' $(MAKEFILE_LIST)

run: $(VENV)/runtime.stamp ## run store, sandbox and gateway together, and tell the story of one request
	$(BIN)/gateway demo $(ARGS)

test: $(VENV)/dev.stamp ## run the tests with branch coverage; ARGS="-k name" chooses
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term-missing:skip-covered $(ARGS)

chaos: $(VENV)/dev.stamp ## break processes, store, network and receivers under traffic; ARGS="--seed 1 --replicas 3"
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(VENV)/dev.stamp ## hold a constant load, and see that nothing grows; ARGS="--minutes 60 --rate 20"
	$(BIN)/python -m tests.chaos.soak $(ARGS)

check: $(VENV)/dev.stamp ## look at format, lint, types, the layers of imports and the pages that are written from code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m gateway.parity --check mappings/PARITY.md
	$(BIN)/python -m gateway.readme --check README.md

pages: $(VENV)/dev.stamp ## write the pages, and the tables in pages, that say what the code says
	$(BIN)/python -m gateway.parity --write mappings/PARITY.md
	$(BIN)/python -m gateway.readme --write README.md

bench: $(VENV)/runtime.stamp ## measure what a turn costs, into bench/RESULTS.md; ARGS="--quick" looks only, --help tells more
	$(BIN)/python -m bench $(ARGS)

format: $(VENV)/dev.stamp ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/dev.stamp ## choose the newest versions that pyproject.toml allows, and write deploy/*.lock
	$(PIP) install 'uv>=0.13'
	$(COMPILE) pyproject.toml --output-file deploy/requirements.lock
	$(COMPILE) --group build --output-file deploy/requirements-build.lock
	$(COMPILE) pyproject.toml --group dev --constraints deploy/requirements.lock \
		--constraints deploy/requirements-build.lock --output-file deploy/requirements-dev.lock

clean: ## remove .venv and what the tools leave behind
	rm -rf $(VENV) .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find gateway mappings tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: name it with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: pyproject.toml deploy/requirements.lock deploy/requirements-build.lock | $(BIN)/python
	$(PIP) install --require-hashes -r deploy/requirements.lock -r deploy/requirements-build.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/runtime.stamp deploy/requirements-dev.lock
	$(PIP) install --require-hashes -r deploy/requirements-dev.lock
	@touch $@
