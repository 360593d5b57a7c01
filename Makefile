# The commands of this repository. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/torpor
UV_VERSION := 0.13.9
UV := $(CACHE)/uv/$(UV_VERSION)/bin/uv
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup lock generate format check test cluster cluster-down demo clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(UV):
	@echo "==> installing uv $(UV_VERSION) into $(CACHE)"
	@mkdir -p $(CACHE)/uv
	@$(PYTHON) -m venv $(CACHE)/uv/$(UV_VERSION)
	@$(CACHE)/uv/$(UV_VERSION)/bin/python -m pip install --quiet uv==$(UV_VERSION)

setup: $(VENV)/.ready  ## create .venv from the lock file, with the console scripts torpor, torpor-operator, torpor-gateway, torpor-sim

$(VENV)/.ready: pyproject.toml locks/dev.txt | $(UV)
	@echo "==> creating $(VENV) from locks/dev.txt"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes locks/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

lock: $(UV)  ## resolve the dependencies again and write locks/
	@for part in dev operator gateway engine; do \
	  $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --extra $$part -o locks/$$part.txt pyproject.toml; done

format: setup  ## format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .
