# `make demo` sets everything up and runs the demo; `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile --constraint constraints.txt
APT := apt-get update -qq && apt-get install -qq --no-install-recommends
WITHOUT := $(BIN)/pytest -m 'not browser' skips them

.PHONY: help demo test test-fast test-long check bench clean
help:
	@sed -n 's/^## //p' Makefile

## make demo   set up .venv, train a small CNN on digits in both frameworks, prove them equal, write a report
demo: .venv/frameworks
	@$(BIN)/python examples/demo.py

## make test   run all tests except the long ones (sets up what they need)
test: .venv/ready-for-tests check
	$(BIN)/python -m pytest -n auto --dist worksteal

## make test-fast  run the tests that need no framework and no training (one minute)
test-fast: .venv/ready-for-tests
	$(BIN)/python -m pytest -n auto --dist worksteal --fast

## make test-long  run the long tests: forty kills, ten thousand files (an hour or more)
test-long: .venv/ready-for-tests
	$(BIN)/python -m pytest -n auto --dist worksteal --long -m long -rP

## make check  check style, types and imports (seconds; needs no framework)
check: .venv/ready-for-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## make bench  compare diptych with plain native scripts (needs Fashion-MNIST in $$DIPTYCH_DATA)
bench: .venv/ready
	$(BIN)/python benchmarks/training.py

## make clean  remove .venv, caches and build files; keep runs
clean:
	rm -rf .venv build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Install PyTorch first: as a dependency of another package, it may add gigabytes that a CPU cannot use.
.venv/frameworks: pyproject.toml constraints.txt
	@echo "Setting up .venv (a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) torch
	@$(PIP) --editable '.[torch,tensorflow]'
	@touch $@

.venv/ready: .venv/frameworks
	@echo "Adding the export formats ..."
	@$(PIP) --editable '.[torch,tensorflow,export]'
	@touch $@

.venv/ready-for-tests: .venv/ready
	@echo "Adding what the tests need ..."
	@$(PIP) --editable '.[torch,tensorflow,export,openvino,dev]'
	@(command -v chromium || command -v chromium-browser || command -v google-chrome) >/dev/null || ($(APT) chromium fonts-dejavu-core) >/dev/null \
		|| $(BIN)/playwright install chromium || echo "No Chromium: the report's tests will fail ($(WITHOUT))."
	@command -v npm >/dev/null || ($(APT) npm) >/dev/null || true
	@npm install --silent --no-audit --no-fund --prefix .venv axe-core@4.14.1 \
		|| echo "No npm for axe-core: the report's tests will fail ($(WITHOUT))."
	@touch $@
