# Each target makes its own environment first, so each works as the first command in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help repro test test-slow check recipes bench

help:            ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

$(READY): requirements.lock pyproject.toml checks/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "making the environment in .venv (once; a minute or two)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable . --editable ./checks
	@touch $@

repro: $(READY)  ## run the pipeline and print what it reached
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; dvc repro || { dvc-checks mend >/dev/null && dvc repro; }
	@$(BIN)/python -m commands.summary

test: $(READY)   ## run the tests (under five minutes)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2

test-slow: $(READY)  ## run the slow proofs
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 -m slow

check: $(READY)  ## validate the pipeline: code dependencies, parameters, lock, reproduction
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc-checks all

recipes: $(READY)  ## run the published experiments and write recipes/README.md
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m recipes run

# PyTorch and JAX live in an environment of their own, so that the project itself stays light.
.venv-bench/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

bench: $(READY) .venv-bench/.ready  ## time training against PyTorch, scikit-learn, JAX and bare matrix products
	PYTHONPATH="$(CURDIR)" .venv-bench/bin/python -m benchmarks.agreement
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m benchmarks --python .venv-bench/bin/python
