# Two targets do all set-up: `make demo` and `make test`; `make peers` adds the methods compared with. They need Python >= 3.11, pip and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# All packages at once, on all cores: else jobs compile what they import, each of them where PYTHONDONTWRITEBYTECODE is set, as in many
# containers. Some packages bring files that are no Python of this version: what fails costs time only.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

.PHONY: demo test test-slurm test-cloud test-scale test-triton fuzz lint peers

demo: $(READY)
	$(BIN)/snakemake --set-threads integrate=1 # small runs: two at a time
	$(BIN)/snakemake --report results/report.html
	@echo
	@echo "Open the report: $(CURDIR)/results/report.html"

test: lint
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder # two processes, a thread each

test-slurm: $(READY) # as root; starts a SLURM of one node; ten to twenty minutes
	MMAAVI_TEST_SLURM=1 $(BIN)/pytest tests/slurm

test-cloud: $(READY) # the profile for Kubernetes with a bucket that is played here; two minutes; downloads its plugins, 340 MB
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/cloud snakemake-executor-plugin-kubernetes==0.5.1 snakemake-storage-plugin-s3==0.3.6 'moto[server,s3]==5.*'
	PYTHONPATH=$(CURDIR)/$(VENV)/cloud MMAAVI_TEST_CLOUD=1 $(BIN)/pytest tests/cloud

test-scale: $(READY) # two epochs of 100,000 and of 1,000,000 simulated cells from disk; forty minutes, 7 GB there
	MMAAVI_TEST_SCALE=1 $(BIN)/pytest tests/test_metrics.py
	PYTHONPATH=$(CURDIR)/src $(BIN)/python tests/benchmarks/scale.py --cells 100000 1000000

test-triton: $(READY) # what only a GPU runs, by Triton's interpreter; downloads Triton, 190 MB
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/triton triton==3.6.0
	PYTHONPATH=$(CURDIR)/$(VENV)/triton TRITON_INTERPRET=1 $(BIN)/pytest tests/test_negative_binomial_triton.py

fuzz: $(READY) # 12,000 spoiled files and configs; twenty minutes
	$(BIN)/pytest tests/fuzz/fuzz_inputs.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

peers: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r envs/peers.lock
	$(COMPILE)

$(READY): envs/requirements.lock
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "mmaavi needs Python 3.11 or later, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r envs/requirements.lock
	$(COMPILE)
	touch $@
