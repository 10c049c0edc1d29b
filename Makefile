# Two commands: `make demo` (the main job) and `make test` (the whole test suite). Both make their own environment
# in .venv first. PIP_ARGS=... is passed on to pip, PYTHON=... chooses the interpreter (3.10 or newer).

PYTHON ?= python3
PIP_ARGS ?=
VLLM_PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
INPUTS := pyproject.toml constraints.txt
LARGE = echo "Installing into $(VENV). The large part is torch: about 200 MB to download as a CPU build, 3 GB or more as" && \
  echo "the CUDA build that pip takes by default on Linux. Another index: make $(GOAL) PIP_ARGS='--index-url URL'"
GOAL = $(firstword $(MAKECMDGOALS) demo)

.PHONY: demo test check lint types pyright vllm bench docs clean help

help: ## what the targets do
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

demo: $(VENV)/.demo ## install and run the main job: a real small model, metered
	$(BIN)/wattvlm demo

test: $(VENV)/.dev ## install and run the whole test suite: in parallel what can be, then what measures in real time
	$(RUN) -m pytest -m "not alone" --numprocesses logical --maxprocesses 4 --dist loadfile
	$(RUN) -m pytest -m alone

check: $(VENV)/.dev ## lint, types, layers
	$(MAKE) --jobs=2 --output-sync=target lint types pyright

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

pyright: $(VENV)/.dev
	$(BIN)/pyright -p pyproject.toml

vllm: ## the tests against a real vLLM, in an environment that has one: VLLM_PYTHON=/path/to/python
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind PYTHONPATH=. $(VLLM_PYTHON) -m pytest tests/serving tests/runtimes/vllm

bench: $(VENV)/.dev ## speed and weight, each a table
	$(RUN) -m benchmarks

docs: $(VENV)/.dev ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict -d site
	@echo "site/index.html is the first page"

clean: ## remove the environment and caches
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "wattvlm needs Python 3.10 or newer; $(PYTHON) is older. Cure: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "No virtual environment could be made. Cure on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.demo: $(INPUTS) | $(VENV)/bin/python
	@$(LARGE)
	$(RUN) -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[torch]'
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/bin/python
	@$(LARGE)
	@# Modules are compiled when tests import them: a minute less than compiling all of them here.
	$(RUN) -m pip install --quiet --no-compile $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo
