# Each target creates .venv from pyproject.toml if it is missing or older.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
# Small programs compile in two thirds of the time without the optimizations of LLVM; XLA's stay.
QUICK := XLA_FLAGS=--xla_backend_optimization_level=0
# Two processes; each runs neighbouring tests, which share what the first of a file makes.
PYTEST = $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

.PHONY: demo test test-slow test-all test-oldest faults lint docs clean

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/python -m mtl_jax.main --config=configs/mttl.py:demo --workdir=$(DEMO)

test: .venv/installed
	$(QUICK) $(PYTEST)

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

docs: .venv/docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf .venv .venv-oldest build docs/_build *.egg-info runs .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.venv-oldest/installed: pyproject.toml tests/oldest_versions.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --editable '.[dev]' --requirement tests/oldest_versions.txt
	touch $@

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@
