# Each target makes its own virtual environment in .venv and installs what it needs: Python 3.11+ and make are enough.
PYTHON ?= python3
BIN := .venv/bin
# uv does in seconds what takes pip minutes. It does not read pip's settings: where these name a mirror, or where uv is
# not allowed out, pip installs the same.
COMMA := ,
export UV_SYSTEM_CERTS := true
# uv compiles nothing while it installs. Where bytecode may not be written either, as some images set, each of the
# hundreds of processes that the tests start compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt $(1) || $(PIP) $(1)
.DEFAULT_GOAL := help
.PHONY: help demo test check bench engines docs generate constraints format screenshots clean

help: ## say what there is
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/installed: pyproject.toml constraints.txt src/mds_client/_version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with PYTHON=python3.13"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv ..."
	@$(PIP) uv
	@$(call INSTALL,--editable '.[dev]')
	@touch $@

demo: .venv/installed ## real stock prices in, isolated, and back, on a server of its own; then the console
	@$(BIN)/python -m datastore.demo $(DEMO)

# One process more than the two cores that it is meant for: tests wait, too.
test: .venv/installed ## every test, on real servers
	$(BIN)/python -m pytest -n 3 --dist worksteal

check: .venv/installed ## lint, types, import contracts, generated files fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/generate.py --check

generate: .venv/installed ## write the files that follow from the code
	$(BIN)/python tools/sync.py
	$(BIN)/python -m tools.summaries
	$(BIN)/python tools/generate.py

engines: .venv/installed ## the tests' servers with TimescaleDB, to try things on
	$(BIN)/python -m tests.engines

constraints: .venv/installed ## the newest of everything, pinned in constraints.txt: run the tests after it
	$(BIN)/uv pip install --quiet --python $(BIN)/python --upgrade --editable '.[dev]'
	$(BIN)/python tools/requirements.py --constraints

format: .venv/installed ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# ArcticDB needs an older pandas than the tests, and there is none of it for every machine.
.venv/benchmarks: .venv/installed benchmarks/arcticdb.txt
	@echo "installing what is compared with ..."
	@$(call INSTALL,--editable '.[dev$(COMMA)bench]')
	@test -x .venv/arcticdb/bin/python || $(PYTHON) -m venv --without-pip .venv/arcticdb
	@$(BIN)/uv pip install --quiet --python .venv/arcticdb/bin/python --only-binary :all: \
	  --requirement benchmarks/arcticdb.txt || echo "ArcticDB cannot be had here: it is left out"
	@touch $@

bench: .venv/benchmarks ## ours beside the server and others, into docs/; BENCH=--short: only whether answers are right
	$(BIN)/python -m benchmarks $(or $(BENCH),--docs docs)

docs: .venv/installed ## the documentation's site, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/python -m mkdocs build --strict --quiet

screenshots: .venv/installed ## the console's pictures in the documentation, by the tests' browser
	PYTHONPATH=. $(BIN)/python tools/screenshots.py

clean: ## what make made; the embedded server's data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
