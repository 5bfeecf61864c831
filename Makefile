# The commands of a day. A fresh machine needs Python 3.11 or later and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check bench bench-service bench-learn bench-scale torture fmt docs clean

help:
	@echo "make demo         install, simulate 200,000 events, watch them being judged"
	@echo "make test         install and run the tests (5 to 12 minutes on two cores)"
	@echo "make check        what CI runs: format, lint, types, import contracts, tests"
	@echo "make bench        speed against its peers, and of the service, written to benchmarks/results.md"
	@echo "make bench-service  the service alone: durable decisions over HTTP beside a server that does nothing"
	@echo "make bench-learn  the learning loop against published figures; exits 1 where one falls short"
	@echo "make bench-scale  5 million keys, 50 million records"
	@echo "make docs         the schemas and the reference, from the code"
	@echo "make torture      the long tests: random ones, a thousand kills, every crash site, full disks, what is marked long (hours)"

# The stamp is made anew when the dependencies change.
$(VENV)/.demo: pyproject.toml
	@test -x $(BIN)/python || { echo "making a private environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing parakh and what it needs (about a minute, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing parakh and its development tools (about two minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

setup: $(VENV)/.dev

demo: $(VENV)/.demo
	@$(BIN)/parakh demo
	@echo "  parakh itself is in $(BIN): source $(BIN)/activate"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

torture: $(VENV)/.dev
	PARAKH_LONG=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m long
	PARAKH_ROUNDS=2000 $(BIN)/python -m pytest -n 2 tests/properties tests/unit/test_log.py tests/integration/test_api.py
	PARAKH_KILLS=1000 $(BIN)/python -m pytest -n 2 tests/integration/test_service_crashes.py

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.service.measure

bench-service: $(VENV)/.bench
	$(BIN)/python -m benchmarks.service.measure

bench-learn: $(VENV)/.dev
	$(BIN)/python -m benchmarks.learning.measure

bench-scale: $(VENV)/.bench
	$(BIN)/python -m benchmarks.scale

fmt: $(VENV)/.dev
	$(BIN)/ruff format src tests benchmarks examples
	$(BIN)/ruff check --fix src tests benchmarks examples

# What is written from the code; tests hold it up to date.
docs: $(VENV)/.dev
	$(BIN)/python -m parakh.project.schemas docs/schemas
	$(BIN)/python -m parakh.cli.reference docs/reference

clean:
	rm -rf demo out .pytest_cache .mypy_cache .ruff_cache
