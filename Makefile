# Each target makes its own environment first, so each works as the first command in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# uv where there is one (seconds), pip otherwise (a minute).
INSTALL = if uv --version >/dev/null 2>&1; then uv pip install --quiet --python $(BIN)/python "$$@"; \
	else $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check "$$@"; fi

.DEFAULT_GOAL := help
.PHONY: help repro test test-integration test-slow lint check recipes sweep bench lock dist release

help:            ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 26

$(READY): requirements.lock pyproject.toml setup.py checks/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "making the environment in .venv (once; seconds with uv, a minute or two with pip)"
	@$(PYTHON) -m venv --clear .venv
	@set -- --require-hashes -r requirements.lock; $(INSTALL)
	@set -- --no-deps --no-build-isolation --no-index --editable . --editable ./checks; $(INSTALL)
	@touch $@

# What some targets need on top of it has locks of its own, so that `make repro` stays light.
.venv/.%: requirements-%.lock $(READY)
	@set -- --require-hashes -r $<; $(INSTALL)
	@touch $@

# dvc-sweep with Dask and Optuna.
.venv/.sweep: requirements-sweep.lock sweep/pyproject.toml $(READY)
	@set -- --require-hashes -r $<; $(INSTALL)
	@set -- --no-deps --no-build-isolation --no-index --editable ./sweep; $(INSTALL)
	@touch $@

# DVC removes a stage's outputs before the stage can refuse its parameters, so these are looked at first.
repro: $(READY)  ## run the pipeline and print what it reached
	@$(BIN)/python -m commands.parameters
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; dvc repro || { dvc-checks mend >/dev/null && dvc repro; }
	@$(BIN)/python -m commands.summary

test: .venv/.onnx .venv/.sweep  ## run the tests (under five minutes)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2

test-integration: .venv/.onnx .venv/.sweep  ## run those that drive DVC, Dask and browsers as users do
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 -m "integration and not slow"

test-slow: .venv/.onnx .venv/.sweep  ## run the slow proofs
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 -m slow

lint: .venv/.lint .venv/.onnx .venv/.sweep  ## ruff (format and rules) and pyright
	@$(BIN)/ruff format --check --quiet . || { echo "lint: not formatted; $(BIN)/ruff format mends it" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright

check: $(READY)  ## validate the pipeline: code dependencies, parameters, lock, reproduction
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc-checks all

recipes: $(READY)  ## run the published experiments and write recipes/README.md
	@PATH="$(CURDIR)/$(BIN):$$PATH" python -m recipes run

# One sweep for each commit: again, it says what came of it.
sweep: .venv/.sweep  ## run a short hyperparameter sweep on the digits; each trial is a DVC experiment
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; name=digits-$$(git rev-parse --short HEAD); \
	if [ -e ".dvc/tmp/sweeps/$$name" ]; then dvc-sweep resume $$name --workers 2; \
	else dvc-sweep run sweeps/digits.yaml --name $$name --trials 8 --workers 2; fi

# PyTorch and JAX live in an environment of their own, so that the project itself stays light.
.venv-bench/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch $@

bench: $(READY) .venv-bench/.ready  ## time training against PyTorch, scikit-learn, JAX and bare matrix products
	PYTHONPATH="$(CURDIR)" .venv-bench/bin/python -m benchmarks.agreement
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m benchmarks --python .venv-bench/bin/python

dist: .venv/.lint  ## build the wheel and the sdist of each distribution into dist/, and check them
	rm -rf dist
	for folder in . ./checks ./sweep; do \
		$(BIN)/uv build --quiet --no-build-isolation --offline --python $(BIN)/python --out-dir dist $$folder || exit; done
	$(BIN)/twine check --strict dist/*

# `gto` reads and writes such tags, and `dvc artifacts get` finds the model by them; without VERSION, the next patch.
release: $(READY)  ## tag this commit as a version of the model: make release VERSION=v1.0.0
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; \
	test -z "$$(git status --porcelain --untracked-files=no)" || { echo "release: some changes are in no commit; commit them first" >&2; exit 2; }; \
	dvc-checks lock && gto register digits $(if $(VERSION),--version $(VERSION))

# Only what is new or asked for moves: `make lock UPGRADE="--upgrade-package dvc"`.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(UPGRADE)

lock: .venv/.lint  ## write the locks: every dependency, pinned with hashes
	$(COMPILE) --extra pipeline --extra test --output-file requirements.lock pyproject.toml checks/pyproject.toml
	$(COMPILE) --constraints requirements.lock --extra lint --output-file requirements-lint.lock pyproject.toml
	$(COMPILE) --constraints requirements.lock --extra onnx --output-file requirements-onnx.lock pyproject.toml
	$(COMPILE) --constraints requirements.lock --output-file requirements-sweep.lock sweep/pyproject.toml
