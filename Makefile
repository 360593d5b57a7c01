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
DOCS := $(CACHE)/docs

.PHONY: help setup lock generate format check fuzz conformance test integration charts e2e cluster cluster-down demo docs images package clean

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
	@for part in dev operator gateway engine native docs; do \
	  $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --extra $$part -o locks/$$part.txt pyproject.toml; done

format: setup  ## format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

# In this order: the chart carries a copy of the CRD.
GENERATORS := torpor.api.crd charts.generate docs.generate torpor.cli.reference

generate: setup  ## write the generated files again: the CRD, what the chart is made of, the pages of the reference
	@for one in $(GENERATORS); do $(BIN)/python -m $$one; done

check: setup  ## format, lint, types, import contract, unit and property tests, generated files
	@echo "==> format and lint" && $(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@echo "==> types" && $(BIN)/mypy
	@echo "==> import contract" && $(BIN)/lint-imports --no-cache > $(VENV)/import-contract.log || { cat $(VENV)/import-contract.log; exit 1; }
	@echo "==> generated files" && for one in $(GENERATORS); do $(BIN)/python -m $$one --check; done
	@echo "==> unit and property tests" && $(BIN)/pytest -q -n 2 tests/unit tests/docs

fuzz: setup  ## the property tests with examples that no run has seen; a finding is written down beside its property
	@TORPOR_FUZZ=1 $(BIN)/pytest -q -n 2 tests/unit tests/integration/gateway/test_fuzz_process.py

conformance: setup  ## the openai and anthropic clients and `vllm bench serve` through the gateway to a real vLLM on this CPU
	@$(BIN)/python -m e2e.conformance

# The stages of `make test`, each a target of its own. The cluster is started only for e2e and taken down again by
# whoever started it, so that a run leaves nothing behind and a developer's own cluster is left alone (KEEP=1 keeps it).
test: check integration e2e  ## everything a fresh machine can run, with one scenario on real vLLM
	@echo "==> all stages of make test passed"

integration: setup  ## against a real etcd and kube-apiserver, real sockets, and the chart as Helm renders it
	@echo "==> control plane for the integration tests" && $(PYTHON) -m e2e.cluster build
	@echo "==> the gateway on real sockets, compiled as in its image" && \
	  PYTHONPATH=$$($(BIN)/python -m e2e.cluster.native) $(BIN)/pytest -q -n 4 tests/integration/gateway
	@echo "==> integration tests" && \
	  $(BIN)/pytest -q -n 4 --dist loadfile tests/integration tests/charts --ignore tests/integration/gateway

charts: setup  ## of these, the rendered chart alone
	@$(PYTHON) -m e2e.cluster build
	@echo "==> chart tests" && $(BIN)/pytest -q -n 2 --dist loadfile tests/charts

e2e: setup  ## the scenarios of e2e/scenarios on the local cluster (or kind, where Docker answers)
	@e2e/run.sh

cluster:  ## bring up the local Kubernetes (idempotent); no Docker needed
	@$(PYTHON) -m e2e.cluster up

cluster-down:  ## take the local Kubernetes down; only its cache stays
	@$(PYTHON) -m e2e.cluster down

demo: setup  ## the product's story on this machine, with a real model; KEEP=1 leaves the cluster up
	@$(BIN)/python -m e2e.demo

docs: $(UV)  ## build the documentation site into build/site; a warning is an error
	@test -x $(DOCS)/bin/python || $(UV) venv --quiet --python $(PYTHON) $(DOCS)
	@$(UV) pip sync --quiet --python $(DOCS)/bin/python --require-hashes locks/docs.txt
	@echo "==> documentation site" && \
	  NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --strict --clean --site-dir build/site
	@echo "build/site/index.html"

images: setup  ## the images, with docker, podman or buildah: REGISTRY=HOST/PATH TAG= PUSH=1 PLATFORMS= ATTEST=1 BASE= BUILD_BASE= FLAGS=
	@$(BIN)/python -m release.images $(if $(REGISTRY),--registry '$(REGISTRY)') $(if $(TAG),--tag '$(TAG)') \
	  $(if $(PUSH),--push) $(if $(INSECURE),--insecure) $(if $(PLATFORMS),--platforms '$(PLATFORMS)') \
	  $(if $(ATTEST),--attest) $(if $(BUILDER),--builder '$(BUILDER)') $(if $(BASE),--base '$(BASE)') \
	  $(if $(BUILD_BASE),--build-base '$(BUILD_BASE)') $(if $(SOURCE),--source '$(SOURCE)') $(if $(FLAGS),--flags='$(FLAGS)')

package: setup  ## the chart and what belongs to it into build/package: VALUES=build/values-digests.yaml PUSH=oci://HOST/PATH TAG= SBOM=1
	@$(BIN)/python -m release.package $(if $(VALUES),--values '$(VALUES)') $(if $(TAG),--tag 'v$(TAG)') \
	  $(if $(SBOM),--sbom) $(if $(PUSH),--push '$(PUSH)') $(if $(INSECURE),--plain-http)

clean:  ## remove what was built inside the checkout
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
