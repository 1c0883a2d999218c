# Everything one does with this repository. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, every process compiles all it imports anew.
unexport PYTHONDONTWRITEBYTECODE
# Not compiled: Python compiles what is imported, a fraction of what there is.
PIP_INSTALL := $(BIN)/python -m pip install -qq --no-input --no-compile --constraint constraints.txt --editable

# Stamps: an install is repeated only when what it depends on has changed. `dev` holds everything `demo` needs.
REQUIREMENTS := pyproject.toml constraints.txt
DEMO_STAMP := $(VENV)/.installed-demo
DEV_STAMP := $(VENV)/.installed-dev
AUDIT_STAMP := $(VENV)/.installed-audit
RELEASE_STAMP := $(VENV)/.installed-release

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(DEMO_STAMP) ## data, training, service and a curl to ask it (SOURCE= TARGET= PORT= PRESET= DEMO_ONCE=1)
	@# Ctrl-C is how it is ended.
	@$(BIN)/python -m scripts.demo || { status=$$?; [ $$status -eq 130 ] || exit $$status; }

.PHONY: install
install: $(DEV_STAMP) ## .venv with everything, tests and checks included

.PHONY: check
check: $(DEV_STAMP) ## lint, format, types, import rules, docs without dead links, and no secret among the files
	@echo "ruff check"; $(BIN)/ruff check .
	@echo "ruff format --check"; $(BIN)/ruff format --check .
	@echo "mypy --strict"; $(BIN)/mypy
	@echo "lint-imports"; $(BIN)/lint-imports
	@echo "docs"; $(BIN)/python -m scripts.docs_site
	@$(BIN)/python -m scripts.checks.audit --secrets

# In the order of the files: modules that take long and have few tests come first, so that none is left for the end.
.PHONY: test
test: $(DEV_STAMP) ## all tests (JOBS=2 processes, PYTEST_ARGS=…)
	@command -v redis-server >/dev/null || scripts/ensure-package.sh redis-server
	@PATH=$$PATH:/usr/sbin command -v nginx >/dev/null || scripts/ensure-package.sh nginx-light
	@command -v chromium chromium-browser google-chrome >/dev/null || scripts/ensure-package.sh chromium
	@command -v java >/dev/null || scripts/ensure-package.sh openjdk-17-jre-headless
	@$(BIN)/pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: attack
attack: $(DEV_STAMP) ## the slow attacks on a running service (at most 10 minutes; PYTEST_ARGS=…)
	@command -v redis-server >/dev/null || scripts/ensure-package.sh redis-server
	@PATH=$$PATH:/usr/sbin command -v nginx >/dev/null || scripts/ensure-package.sh nginx-light
	@$(BIN)/pytest tests/attack -m attack $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: $(DEV_STAMP) ## an hour of odd bytes for what reads bundles and requests (MINUTES=60)
	@exec $(BIN)/python -m tests.attack.fuzz --minutes $(or $(MINUTES),60)

.PHONY: bench-check
bench-check: $(DEV_STAMP) ## speed against reference implementations, short; fails where a ratio is below its floor
	@$(BIN)/diffcdr bench all --short --check

# On a machine without a network, WHEELS names a folder with what its Python lacks (docs/how-to/gpu.md).
.PHONY: gpu-check
gpu-check: ## tests and benches that want an NVIDIA GPU, and a table of what they measured (PYTHON= WHEELS= OUT=)
	@$(PYTHON) -m scripts.checks.gpu_check $(if $(WHEELS),--wheels '$(WHEELS)') $(if $(OUT),--out '$(OUT)')

.PHONY: soak
soak: $(DEV_STAMP) ## two minutes of mixed load on a service: no surprising answer, no memory that runs away
	@$(BIN)/diffcdr bench soak --short --check

.PHONY: results
results: $(DEV_STAMP) ## published comparisons into docs/results (hours; resumable; DIFFCDR_DATA= JOBS=)
	@OMP_NUM_THREADS=1 exec $(BIN)/python -m scripts.results.run --jobs $(JOBS)

.PHONY: screenshots
screenshots: $(DEV_STAMP) ## pictures of the console into docs/console (some minutes)
	@command -v chromium chromium-browser google-chrome >/dev/null || scripts/ensure-package.sh chromium
	@exec $(BIN)/python -m scripts.screenshots

.PHONY: docs
docs: $(DEV_STAMP) ## the documentation as a site in build/site; fails on dead links and on pages outside the navigation
	@$(BIN)/python -m scripts.docs_site

.PHONY: reference
reference: $(DEV_STAMP) ## the pages of docs/reference that are made from code, OpenAPI document included; a test compares them
	@$(BIN)/python -m scripts.reference

.PHONY: openapi
openapi: reference ## another name of reference

.PHONY: audit
audit: $(AUDIT_STAMP) ## known vulnerabilities of what is pinned, and secrets (status 2: a part could not be audited)
	@$(BIN)/python -m scripts.checks.audit

.PHONY: extras
extras: $(RELEASE_STAMP) ## try every extra, and those that go together, in fresh environments (EXTRAS="train,serve …")
	@$(BIN)/python -m scripts.checks.installs extras $(EXTRAS)

.PHONY: pythons
pythons: $(RELEASE_STAMP) ## try all extras under each Python from 3.11 to 3.14 that is found (PYTHONS="/path/to/python3.14 …")
	@$(BIN)/python -m scripts.checks.installs pythons $(PYTHONS)

.PHONY: lowest
lowest: $(RELEASE_STAMP) ## unit and contract tests with the oldest libraries that pyproject.toml allows (JOBS=2, PYTEST_ARGS=…)
	@$(BIN)/python -m scripts.checks.installs lowest -n $(JOBS) --dist loadscope $(PYTEST_ARGS)

.PHONY: dist
dist: $(RELEASE_STAMP) ## wheel and source archive into dist/, checked, and tried in a fresh environment
	@$(BIN)/python -m scripts.checks.installs dist

.PHONY: image-check
image-check: | $(BIN)/python ## build both images without a daemon, run and ask them (root; BASE=image to build on; some 10 minutes)
	@command -v buildah >/dev/null || scripts/ensure-package.sh buildah
	@command -v debootstrap >/dev/null || scripts/ensure-package.sh debootstrap
	@$(BIN)/python -m scripts.checks.image_check $(if $(BASE),--base '$(BASE)')

.PHONY: provider-check
provider-check: $(DEV_STAMP) ## ONNX Runtime's CUDA provider lacks nothing but a driver with what pip brings (2.5 GB, no GPU)
	@$(BIN)/python -m scripts.checks.provider_check

.PHONY: clean
clean: ## remove .venv, the demo's files and caches
	@rm -rf $(VENV) .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "Making $(VENV)"
	@scripts/make-venv.sh $(PYTHON) $(VENV)

$(DEMO_STAMP): $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV) (1.3 GB on disk, once; under a minute where packages download fast)"
	@$(PIP_INSTALL) '.[train-core,serve]'
	@touch $@

$(AUDIT_STAMP): $(REQUIREMENTS) | $(BIN)/python
	@$(PIP_INSTALL) '.[audit]'
	@touch $@

$(RELEASE_STAMP): $(REQUIREMENTS) | $(BIN)/python
	@$(PIP_INSTALL) '.[release]'
	@touch $@

$(DEV_STAMP): $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing everything, tests and checks included, into $(VENV) (a minute or two, once)"
	@$(PIP_INSTALL) '.[dev]'
	@touch $@ $(DEMO_STAMP)
