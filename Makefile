# Every target works on a fresh clone: it makes .venv first, and nothing installed outside .venv counts.
#
#   make test PYTHON=python3.12           another interpreter; .venv is rebuilt when its version differs
#   make test ARGS='-k merkle --no-cov'   a part of the tests; part of them cannot reach the coverage asked of all
#   make test ARGS='-n 0'                 in one process

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?=
ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

unexport PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER
export PYTHONNOUSERSITE := 1

.PHONY: help demo test test-hub1 lint types fix bench vectors schemas clean which-python FORCE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## train, merge, sign, verify and catch three attacks, on this machine alone
	@$(VENV)/bin/attest demo

test: $(VENV)/.dev  ## run the tests, with coverage of model_verify
	$(PY) -m pytest --cov --numprocesses logical --dist worksteal $(ARGS)

# What they test of the client the others test too, and they need all of the other tests' packages besides.
HUB2_ONLY := test_observe.py test_publication.py

test-hub1: $(VENV)/.hub1  ## run the tests of the Hub with version 1 of its client
	PYTHONPATH=verify:attest $(VENV)/hub1/bin/python -m pytest tests/hub $(HUB2_ONLY:%=--ignore=tests/hub/%) $(ARGS)

lint: $(VENV)/.dev  ## check style, format and the dependency rule
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: $(VENV)/.dev  ## check the types of both packages
	$(VENV)/bin/mypy

fix: $(VENV)/.dev  ## repair what lint can repair
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.dev  ## time verification against plain hashing of the same bytes
	$(PY) tests/bench/verify_vs_hash.py $(ARGS)

# The generator is standard library alone, so it gets an interpreter and nothing else.
vectors: $(VENV)/.python  ## write the spec's vectors anew
	$(PY) spec/vectors/make/__main__.py $(ARGS)

schemas: $(VENV)/.dev  ## write schemas/ anew from the wire models
	$(PY) -m model_attest.schemas

clean:  ## remove .venv, caches and build products
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find attest verify tests spec -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# --- the environment -------------------------------------------------------------------------------------------------

# A name on PATH is not yet an interpreter: pyenv's shims can exist and fail, and a system's Python can lack ensurepip.
# Its base executable is what counts, as a shim or an activated .venv may stand before it.
PROBE := import ensurepip, sys, venv; assert (3, 11) <= sys.version_info < (3, 14); \
	print("{}.{}".format(*sys.version_info), getattr(sys, "_base_executable", sys.executable))

FIND_PYTHON = found=; \
	for name in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	  while read -r path; do \
	    found=$$("$$path" -c '$(PROBE)' </dev/null 2>/dev/null) && break 2; \
	  done < <(type -aP "$$name"); \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'error: no working $(or $(PYTHON),python3.11, python3.12 or python3.13) with venv and ensurepip' >&2; \
	  echo 'hint: Python 3.11 to 3.13 is needed; name one with `make PYTHON=/path/to/python3.11 ...`' >&2; \
	  exit 1; \
	fi; \
	version=$${found%% *} executable=$${found\#* }

which-python:
	@$(FIND_PYTHON); echo "$$version $$executable"

# Looked at in every run, renewed only if .venv is missing, broken, or of another version than PYTHON= asks for.
$(VENV)/.python: FORCE
	@if [ -z '$(PYTHON)' ] && [ -e $@ ] && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	$(FIND_PYTHON); \
	if [ "$$(cat $@ 2>/dev/null)" = "$$version" ] && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	echo "making $(VENV) with Python $$version" >&2; \
	if [ "$$version" != 3.11 ]; then \
	  echo "note: constraints.txt was resolved on Python 3.11; on $$version torch is its default build, which can be" \
	    "several gigabytes" >&2; \
	fi; \
	"$$executable" -m venv --clear $(VENV) && echo "$$version" >$@

# The build backend comes from constraints.txt like all else, hence no build isolation.
$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	@echo 'installing model-attest[replay] into $(VENV)' >&2
	@$(INSTALL) hatchling
	@$(INSTALL) --no-build-isolation --editable '.[replay]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo 'installing model-attest[dev] into $(VENV)' >&2
	@$(INSTALL) hatchling
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $(VENV)/.demo $@

# huggingface_hub 1.x and 2.x cannot be installed together; the verifier takes both.
$(VENV)/.hub1: $(VENV)/.python constraints-hub1.txt
	@echo 'installing huggingface_hub 1.x into $(VENV)/hub1' >&2
	@$(PY) -m venv --clear $(VENV)/hub1
	@$(VENV)/hub1/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-hub1.txt \
	  huggingface_hub cryptography hypothesis numpy pydantic pytest pyyaml typer
	@touch $@
