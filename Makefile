# One file to set everything up: `make demo` and `make test` install what they need into .venv,
# at the versions and hashes of the lock files, the first time they run.

PYTHON ?= python3
VENV ?= .venv
TIER ?= commit
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: help demo test prove check format figures bench lock clean coverage mutation

help:
	@echo "make demo    two nodes deliver equal keys on this machine"
	@echo "make test    all tests, and the proof at the size of a commit"
	@echo "make prove   the proof: TIER=commit, night (two hours) or release (a weekend)"
	@echo "make coverage  the core's tests miss no branch of it"
	@echo "make mutation  the core's tests notice small changes to it (minutes; needs the network once)"
	@echo "make check   formatter, linter, types, import rules"
	@echo "make bench   what this machine delivers"

demo: $(RUN_STAMP)
	$(BIN)/kms demo

test: $(DEV_STAMP)
	$(BIN)/python -m pytest
	$(BIN)/python -m tests.proof --tier commit

prove: $(DEV_STAMP)
	$(BIN)/python -m tests.proof --tier $(TIER) --markdown docs/proof-$(TIER).md

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

figures: $(DEV_STAMP)
	$(BIN)/python docs/figures/draw_lifecycle.py

bench: $(RUN_STAMP)
	$(BIN)/kms bench

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.13 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# The core alone. Counting makes its tests two and a half times as slow (41 s become 103 s on a
# quiet machine of two cores), so it is not a part of `make test`; on a busy one the longest regression
# seed then takes more than the two minutes that a test has.
coverage: $(DEV_STAMP)
	$(BIN)/coverage run --branch --source kms/domain -m pytest -o timeout=600 tests/domain tests/sim
	$(BIN)/coverage report --show-missing --skip-covered --fail-under 100

# mutmut brings much that nothing else here needs: an environment of its own (docs/mutation.md).
MUTATION_STAMP := .venv-mutation/.installed
$(MUTATION_STAMP): requirements-dev.lock
	$(PYTHON) -m venv .venv-mutation
	.venv-mutation/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	.venv-mutation/bin/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	@touch $@

mutation: $(MUTATION_STAMP)
	.venv-mutation/bin/python -m tests.proof.mutation $(FILES)

# Needs uv. The locks hold for every Python that pyproject.toml allows.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --extra build pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --extra build --extra dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) .venv-mutation .mypy_cache .ruff_cache .pytest_cache .hypothesis
