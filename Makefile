# One command does the job: make demo | make test. Needs python3 (3.11 or newer), git and make; all else goes to .venv.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip compiles the files here (37 of 90 s): left to the first import, every process would take 9 s longer wherever
# bytecode is not written (PYTHONDONTWRITEBYTECODE, read-only homes).
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
TORCH := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' constraints.txt)
# The stamp's name is the content of the two files that decide what is installed: a changed lock installs again.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
STAMP := $(VENV)/.installed-$(KEY)
LAB_STAMP := $(VENV)/.installed-lab-$(KEY)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check lab bench clean

help: ## show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

install: $(STAMP) ## make .venv with the tested versions

demo: $(STAMP) ## heal a failing model both ways and write a report, without network
	@echo "demo: heals a failing model by marketplace and by surgery, and writes a report"
	@$(BIN)/symbio demo $(ARGS)

test: $(STAMP) ## run the whole test suite and the docstring examples
	@echo "test: runs the whole test suite and the docstring examples"
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(STAMP) ## lint, format, types and import layers
	@echo "check: lint, format, types and import layers"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lab: $(LAB_STAMP) ## open the notebooks in JupyterLab
	@echo "lab: opens the notebooks in JupyterLab"
	@$(BIN)/symbio lab $(ARGS)

bench: $(STAMP) ## measure screening, notebook runs, detectors, pattern finders, ingestion, discovery and the service
	@echo "bench: times screening against the loop of peft, warm kernels against plain papermill; then detectors, patterns, ingestion, discovery, service"
	@$(BIN)/python benchmarks/screening.py $(ARGS)
	@$(BIN)/python benchmarks/kernels.py $(ARGS)
	@$(BIN)/python benchmarks/detectors.py $(ARGS)
	@$(BIN)/python benchmarks/slices.py $(ARGS)
	@$(BIN)/python benchmarks/ingest.py $(ARGS)
	@$(BIN)/python benchmarks/catalogue.py $(ARGS)
	@$(BIN)/python benchmarks/service.py $(ARGS)
	@$(BIN)/python benchmarks/jobs.py $(ARGS)

clean: ## remove the environment, caches and build products
	@echo "clean: removes .venv, caches and build products; state under SYMBIO_LAB_HOME stays"
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find symbio_lab tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Old stamps go first, so that an install that fails part-way leaves none.
$(STAMP):
	@echo "install: puts the tested versions into $(VENV) (about 90 s on two cores, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "symbio-lab needs Python 3.11 or newer; choose one: make PYTHON=python3.12" >&2; exit 2; }
	@rm -f $(VENV)/.installed-*
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "install: $(TORCH)"
	@$(PIP) "$(TORCH)"
	@echo "install: symbio-lab with the extras offline and dev"
	@$(PIP) -e '.[offline,dev]'
	@touch $@

$(LAB_STAMP): $(STAMP)
	@echo "install: the extra lab (JupyterLab, widgets)"
	@$(PIP) -e '.[lab]'
	@touch $@
