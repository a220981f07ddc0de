# Two targets do all set-up: `make demo` and `make test`; `make peers` adds the methods compared with. They need Python >= 3.11, pip and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test lint peers

demo: $(READY)
	$(BIN)/snakemake --set-threads integrate=1 # small runs: two at a time
	$(BIN)/snakemake --report results/report.html
	@echo
	@echo "Open the report: $(CURDIR)/results/report.html"

test: lint
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

peers: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r envs/peers.lock

$(READY): envs/requirements.lock
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "mmaavi needs Python 3.11 or later, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	touch $@
