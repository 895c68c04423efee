# Everything from a clean clone with Python 3.11, pip, make and a package index.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := build/lock/bin/uv
# An OpenID Connect provider that others wrote, for one test, which is skipped where npm is not there.
PROVIDER := build/oidc-provider/package-lock.json
# The demo's ledger, keys and models; each run starts it anew.
DEMO_HOME := .garant/demo

# Bytecode is compiled while installing, or every start pays for it; nothing foreign is imported.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER
# BentoML, MLflow and Evidently phone home unless told.
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help demo test check test-all lock clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(READY) ## the main job, end to end, on real tumours; ARGS="--keep" leaves it running
	$(BIN)/garant demo --anew --home $(DEMO_HOME) $(ARGS)

test: $(READY) ## the tests for everyone, under ten minutes; ARGS are pytest's
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

check: $(READY) ## formatting, linters, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-all: $(READY) $(PROVIDER) ## every test, the slow ones too; ARGS are pytest's
	$(BIN)/python -m pytest $(ARGS)

lock: $(UV) ## requirements.lock anew from pyproject.toml; ARGS="--upgrade" takes newer releases
	$(UV) pip compile --no-config --quiet --universal --python-version 3.11 --fork-strategy fewest \
	    --generate-hashes --all-extras --custom-compile-command "make lock" \
	    $(ARGS) --output-file requirements.lock pyproject.toml

clean: ## removes all that these targets made
	rm -rf $(VENV) build dist .garant *.egg-info .mypy_cache .ruff_cache .pytest_cache \
	    .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock is complete, so pip resolves nothing; it holds what builds the project, too.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo 'Installing the locked dependencies: a minute or two, the first time only.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --compile --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $@

$(PROVIDER): tests/serving/provider/package-lock.json
	mkdir -p $(@D)
	cp $(<D)/package.json $< $(@D)
	command -v npm >/dev/null && npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --silent || rm $@

$(UV):
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
