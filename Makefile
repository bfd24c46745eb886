# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` set up what they need, and say what they install. Everything lands in .venv and in
# ${XDG_CACHE_HOME:-~/.cache}/isolbench; Debian packages (make test only) need root, and are named where it is missing.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Without a C compiler that links statically (musl's wrapper, or one with a static C library, which many distributions
# leave out) the probes are built by zig's, which comes from PyPI.
EXTRAS := $(shell t=$$(mktemp); links() { echo 'int main(void) { return 0; }' | "$$@" -static -x c -o "$$t" -; }; \
  { if [ "$$CC" ]; then links $$CC; else links musl-gcc || links cc; fi; } >/dev/null 2>&1 || echo '[zig]'; rm -f "$$t")

.PHONY: help demo lab-demo test lint bench clean

help:
	@echo 'make demo    set up, and measure this machine: about a minute'
	@echo 'make lab-demo  compare two kernels on a virtual board (QEMU): six minutes, the first time ten'
	@echo 'make test    set up what the tests need, and pass them (PYTEST_ARGS=... goes to pytest)'
	@echo 'make lint    ruff and mypy'
	@echo 'make bench   every figure that the documents claim, beside its bar'
	@echo 'make clean   remove what make set up here; the caches stay'

demo: $(VENV)/.demo
	$(BIN)/isolbench run quick

# Up, measured, down again, however it ends; the last line is where the report lies. A board that was up before stays up.
BOARDS := inventory/boards.yaml
lab-demo: $(VENV)/.demo
	@if $(BIN)/isolbench lab status --json | grep -q '"name": "box"'; then \
	  echo 'make: a board called box is up already: isolbench lab down box' >&2; exit 1; fi; \
	trap '$(BIN)/isolbench lab down box >&2' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	$(BIN)/isolbench lab up -i $(BOARDS) box >&2 && $(BIN)/isolbench run -i $(BOARDS) kernels

test: $(VENV)/.test
	sh tests/setup.sh
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 -p harness.agent

bench: $(VENV)/.test
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than 3.11: name a newer one, make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "make: $(PYTHON) has no venv module: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "isolbench: installing the package$(EXTRAS) and its dependencies from PyPI into $(VENV)"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.$(EXTRAS)'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@echo "isolbench: installing the package, its dependencies and the test tools from PyPI into $(VENV)"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev,zig]'
	@touch $@ $(VENV)/.demo
