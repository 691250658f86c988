# Everything a newcomer needs; `make help` lists it. Needs Python 3.11 (or 3.12, 3.13) and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
XDIST ?= 2

.PHONY: help setup demo ui ui-stop test chaos fuzz lint bench cluster golden clean
.DEFAULT_GOAL := help

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make the virtual environment with pinned versions (once)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	@touch $@

demo: setup  ## Run the quickstart DAG in a real Airflow, on the sandbox or on the cluster of KUBECONFIG
	@$(BIN)/python -m airflow_provider_feast.sandbox demo

ui: setup  ## The same in `airflow standalone`: leaves the UI up until Ctrl-C or `make ui-stop`
	@$(BIN)/python -m airflow_provider_feast.sandbox demo --ui

ui-stop:  ## Stop what `make ui` left up
	@if test -f .demo/ui.pid && kill -TERM $$(cat .demo/ui.pid) 2>/dev/null; then echo "stopping"; \
		else echo "nothing is up"; fi

test: setup  ## Run every test, and those of a cluster once more where pods have no namespaces of the kernel
	$(BIN)/python -m pytest -n $(XDIST) --dist loadfile --no-loadscope-reorder
	FEAST_SANDBOX_ISOLATION=0 $(BIN)/python -m pytest -n $(XDIST) --dist loadfile tests/cluster

chaos: setup  ## Play N random schedules of faults and kills from SEED (make chaos N=200 SEED=1)
	@PYTHONPATH=tests $(BIN)/python -m chaos -n $(or $(N),20) $(if $(SEED),--seed $(SEED))

fuzz: setup  ## Hostile input: N random examples for each property (make fuzz N=5000)
	FEAST_FUZZ_EXAMPLES=$(or $(N),2000) $(BIN)/python -m pytest tests/unit/test_hostile_input.py -n $(XDIST)

lint: setup  ## Formatter, linter, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## Every benchmark, one line per figure
	@$(BIN)/python -m benchmarks

cluster: setup  ## Only tests/cluster, against KUBECONFIG and FEAST_TEST_IMAGE (or the sandbox)
	$(BIN)/python -m pytest tests/cluster

golden: setup  ## Rewrite the golden files after a wanted change
	REWRITE_GOLDEN=1 $(BIN)/python -m pytest tests/unit -n $(XDIST)

clean:  ## Remove what the targets made
	rm -rf $(VENV) .demo
