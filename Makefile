# make train   install if needed, then train the quickstart (make train ARGS="--seeds 3 --set ..." passes options on)
# make test    install if needed, then lint, types and tests
# make lint    the first half of make test
# make faults  install if needed, then kill processes and nodes of real runs, fill their disk, and time how they recover (minutes)
# make mutation  install if needed, then change the code in hundreds of places and see the tests notice (an hour; tests/mutation/README.md)
# make bench   install if needed, then the first five benchmarks of docs/performance.md (minutes; wants a quiet machine)

PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt
# Carry on with a quickstart that was stopped, instead of refusing because it is there.
ARGS ?= --auto-resume

.PHONY: train test lint faults mutation bench
.DELETE_ON_ERROR:

train: $(VENV)/.installed
	$(VENV)/bin/python scripts/tune.py tune_configs/quickstart.yaml $(ARGS)

test: lint
	$(VENV)/bin/python -m pytest -n 4 --dist worksteal

lint: $(VENV)/.installed-dev
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

faults: $(VENV)/.installed-dev
	FAULTS_CSV=results/faults/recovery.csv $(VENV)/bin/python -m pytest -m faults

mutation: ARGS =
mutation: $(VENV)/.installed-mutation
	$(VENV)/bin/python -m tests.mutation run $(ARGS)

bench: $(VENV)/.installed-bench
	$(VENV)/bin/python scripts/bench.py rl
	$(VENV)/bin/python scripts/bench.py update
	$(VENV)/bin/python scripts/bench.py score
	$(VENV)/bin/python scripts/bench.py energy
	$(VENV)/bin/python scripts/bench.py vae

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'ardae-rl needs Python 3.10 or newer as "$(PYTHON)", found: '"$$($(PYTHON) --version 2>&1)"'.'; \
	  echo 'Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)'; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '"$(PYTHON)" cannot make a virtual environment: its venv or ensurepip module is missing.'; \
	  echo 'On Debian and Ubuntu: apt install python3-venv. Then: make $(MAKECMDGOALS)'; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: whichever build of the pinned version the machine offers (CPU or CUDA) then satisfies everything after it.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'Installing ardae-rl into $(VENV) (minutes, once) ...'
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.installed-mutation: $(VENV)/.installed-dev
	$(PIP) --editable '.[dev,mutation]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) --editable '.[bench]'
	@touch $@
