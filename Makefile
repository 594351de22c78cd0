# make demo | test | lint | audit | bench | soak | format | image
#
# Needs Python >= 3.11 and make. Uses uv where it is on PATH, and otherwise makes .venv with pip from requirements.lock;
# asks for no root, no Docker and no Postgres. ARGS goes to the command: make test ARGS="tests/unit -k alert".

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
UV ?= $(shell command -v uv)
ARGS ?=
IMAGE ?= drift-monitor
ENGINE ?= $(shell for e in docker podman buildah; do $$e info >/dev/null 2>&1 && echo $$e && break; done)
BIN := .venv/bin
# Debian's Python can make an environment without pip even where python3-venv is missing; then its own pip fills it.
PIP = $$(test -x $(BIN)/pip && echo $(BIN)/pip || echo $(PYTHON) -m pip --python $(BIN)/python) --disable-pip-version-check --quiet

.PHONY: help demo test lint audit bench soak format image environment
.DEFAULT_GOAL := help

help:
	@echo "make demo    watch a real model go stale on the flights of 2013, in a few minutes"
	@echo "make test    run the tests"
	@echo "make lint    ruff and mypy                make audit  known vulnerabilities of what we depend on"
	@echo "make format  let ruff format the code"
	@echo "make bench   run the benchmarks        make soak   run the long tests, write docs/reliability.md"
	@echo "make image   build the container images, with and without reports"

demo: environment
	$(BIN)/monitor demo $(ARGS)

test: environment
	$(BIN)/pytest $(ARGS)

lint: environment
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Needs uv or pipx, and PyPI's list of vulnerabilities; --strict fails where that cannot be asked, instead of finding nothing.
audit:
	$(if $(UV),$(UV) tool run,pipx run) pip-audit --strict --no-deps --disable-pip --requirement requirements.lock

format: environment
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: environment
	$(BIN)/python -m benchmarks $(ARGS)

soak: environment
	$(BIN)/pytest -m "soak or short" --measured docs/reliability.jsonl $(ARGS)
	$(BIN)/python -m tests.faults.report

# docker drops no HEALTHCHECK; the others do, unless they are told to write docker's format.
image:
	@test -n "$(ENGINE)" || { echo "No docker, podman or buildah works here; install one, or say make ENGINE=/path/to/podman image." >&2; exit 2; }
	$(ENGINE) build $(if $(findstring docker,$(ENGINE)),,--format docker) $(ARGS) --target slim --tag $(IMAGE):slim .
	$(ENGINE) build $(if $(findstring docker,$(ENGINE)),,--format docker) $(ARGS) --tag $(IMAGE) .
	@$(ENGINE) images $(IMAGE)

# The stamp is older than what it was made from, or it is not there: only then is anything installed.
environment: .venv/.complete

.venv/.complete: pyproject.toml client/pyproject.toml uv.lock requirements.lock
ifneq ($(UV),)
	$(UV) sync --locked $(if $(PYTHON),--python $(PYTHON))
else
	@test -n "$(PYTHON)" || { echo "No Python from 3.11 to 3.13 was found: install one, or say make PYTHON=/path/to/python3.11." >&2; exit 2; }
	@echo "Installing into .venv with pip; this takes a few minutes once."
	@$(BIN)/python -c "" 2>/dev/null || $(PYTHON) -m venv --clear .venv >/dev/null || $(PYTHON) -m venv --clear --without-pip .venv
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --no-deps --editable . --editable client
endif
	@touch $@
