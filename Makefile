# Each target creates .venv from pyproject.toml if it is missing or older.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
# Small programs compile in half the time without the optimizations of LLVM and with few fusions. A
# process ends at a flag that its version of XLA does not know: the first known list is taken.
LLVM := --xla_backend_optimization_level=0
QUICK = $$(for flags in "$(LLVM) --xla_cpu_use_fusion_emitters=false" "$(LLVM)"; do \
  XLA_FLAGS="$$flags" $(BIN)/python -c "import jax; jax.devices('cpu')" && echo "$$flags" && break; \
  done 2> /dev/null)
# Two processes; each runs neighbouring tests, which share what the first of a file makes.
PYTEST = $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

.PHONY: demo test test-slow test-all test-oldest faults gpu-programs lint docs clean

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/python -m mtl_jax.main --config=configs/mttl.py:demo --workdir=$(DEMO)

test: .venv/installed
	XLA_FLAGS="$(QUICK)" $(PYTEST)

test-slow: .venv/installed
	$(PYTEST) -m slow

test-all: .venv/installed
	$(PYTEST) -m "slow or not slow"

# Python 3.11 or 3.12: the oldest versions have no wheels for later ones.
test-oldest: BIN := .venv-oldest/bin
test-oldest: .venv-oldest/installed
	$(PYTEST)

faults: .venv/installed
	$(BIN)/python -m pytest tests/faults -m "slow or not slow"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell $$(git ls-files)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive mtl_jax tools configs

# Compile for GPUs, on a machine without one.
gpu-programs: .venv-gpu/installed
	JAX_PLATFORMS=cpu .venv-gpu/bin/python -m pytest -m slow tests/test_gpu_programs.py

docs: .venv/docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf .venv .venv-oldest .venv-gpu build docs/_build *.egg-info runs .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.venv-oldest/installed: pyproject.toml tests/oldest_versions.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --editable '.[dev]' --requirement tests/oldest_versions.txt
	touch $@

.venv-gpu/installed: pyproject.toml
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --editable '.[dev,gpu-compile]'
	touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@
