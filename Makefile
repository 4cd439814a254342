# Two commands on a fresh machine: `make report` runs the main job, `make test` the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The build tools stand in the environment themselves, so that the constraints hold for them too.
INSTALL := $(PIP) install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help report test lint readme wheel clean

help:
	@echo "make report   run the main job and write its report to build/report"
	@echo "make test     run the tests"
	@echo "make lint     check style, types and import contracts"
	@echo "make readme   write the outputs shown in README.md anew"
	@echo "make wheel    build the wheel into dist"
	@echo "make clean    remove the environment and everything built"

report: $(VENV)/installed
	$(BIN)/attnproof sweep --out build/run.sqlite
	$(BIN)/attnproof report build/run.sqlite --out build/report

test: $(VENV)/developing
	$(BIN)/python -m pytest

lint: $(VENV)/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

readme: $(VENV)/developing
	$(BIN)/python -m tests.readme

wheel: $(VENV)/installed
	rm -rf dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python {v[0]}.{v[1]} given; expected 3.11 or newer; run make PYTHON=...") if v < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	touch $@
