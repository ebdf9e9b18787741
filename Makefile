# make run    serve the bridge on http://localhost:5050 (with a demo gateway, unless GATEWAYZ_API_URL is set)
# make check  lint, types, layers and unit tests: somewhat over a minute, for while one works
# make test   everything that must hold before a commit: some minutes; JOBS is how many run at once (many only wait)
# make lint   lint, types and layers alone
# make bench  measure the bridge against its peers: ten minutes, a table, and whether every figure was reached
# make dashboards  write the Grafana dashboards anew, from grafana/generate
# make setup  only install what those need, into .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CORES := $(shell getconf _NPROCESSORS_ONLN)
JOBS ?= $(shell echo $$(($(CORES) + 1)))
PYTEST := $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

unexport PYTHONDONTWRITEBYTECODE  # the service is started some hundred times

.PHONY: run setup check test lint bench dashboards
.DELETE_ON_ERROR:

run: $(VENV)/.runtime
	@echo "Provider Health Bridge: http://localhost:$${PORT:-5050}"
	@if [ -n "$${GATEWAYZ_API_URL:-$$API_BASE_URL}" ]; \
	then exec $(BIN)/python app.py; \
	else exec $(BIN)/python -m demo run; \
	fi

setup: $(VENV)/.development

check: lint
	$(PYTEST) --numprocesses $(CORES) --hypothesis-profile check -m "not service and not slow"

test: lint
	$(PYTEST)

lint: $(VENV)/.development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.runtime
	$(BIN)/python -m benchmarks

dashboards: $(VENV)/.development
	$(BIN)/python -m grafana.generate

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt requirements.txt | $(BIN)/python
	$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.runtime

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments (its module ensurepip is missing)."; \
		echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
