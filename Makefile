# Two commands on a fresh machine: `make report` runs the main job, `make test` the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The build tools stand in the environment themselves, so that the constraints hold for them too.
INSTALL := $(PIP) install --quiet --constraint constraints.txt

# One stamp per interpreter: another PYTHON makes the environment anew.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
INSTALLED := $(VENV)/installed-$(VERSION)
DEVELOPING := $(VENV)/developing-$(VERSION)
MUTATING := $(VENV)/mutating-$(VERSION)
BROWSING := $(VENV)/browsing-$(VERSION)

# torch, jax and onnx are large, and nothing else needs them: they have an environment of their own.
OPTIONAL_VENV := .venv-optional
OPTIONAL_INSTALL := $(OPTIONAL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
WITHOUT_OPTIONAL := $(OPTIONAL_VENV)/ready-$(VERSION)
WITH_TORCH := $(OPTIONAL_VENV)/torch-$(VERSION)
WITH_JAX := $(OPTIONAL_VENV)/jax-$(VERSION)
WITH_ONNX := $(OPTIONAL_VENV)/onnx-$(VERSION)

# So has what builds the pages of docs/.
DOCS_VENV := .venv-docs
DOCS_INSTALL := $(DOCS_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
WITH_DOCS := $(DOCS_VENV)/installed-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help report test campaigns lengths certify bench mutants browser browser-installed torch torch-installed jax jax-installed onnx onnx-installed docs docs-installed lint readme wheel clean

help:
	@echo "make report   run the main job and write its report to build/report"
	@echo "make test     run the tests"
	@echo "make campaigns  run tests that take minutes: many functions, members, and examples of docs"
	@echo "make lengths  the same at 262,144 keys, in ten minutes"
	@echo "make certify  certify 2,100 seeded problems by three accounts of the exact values"
	@echo "make bench    measure speed, as ratios with their spread; make report shows it then"
	@echo "make mutants  change the code in 300 places, one at a time, and count the changes that tests notice"
	@echo "make browser  look at the report's page in headless Chromium"
	@echo "make torch    compare torch with exact values and gradients, in an environment of its own"
	@echo "make jax      check jax's attention, in the same environment"
	@echo "make onnx     read ONNX's tests of its operator Attention, in the same environment"
	@echo "make docs     build the pages of docs into build/docs, in an environment of its own"
	@echo "make lint     check style, types and import contracts"
	@echo "make readme   write the outputs shown in README.md, CONTRIBUTING.md and docs anew"
	@echo "make wheel    build the wheel into dist"
	@echo "make clean    remove the environment and everything built"

report: $(INSTALLED)
	$(BIN)/attnproof sweep --out build/run.sqlite
	$(BIN)/attnproof report build/run.sqlite --out build/report $(if $(wildcard build/bench.json),--bench build/bench.json)

test: $(DEVELOPING)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

campaigns: $(DEVELOPING)
	$(BIN)/python -m pytest -m campaign --numprocesses auto --dist worksteal

lengths: $(DEVELOPING)
	$(BIN)/python -m pytest -m length --numprocesses auto --dist worksteal

certify: $(DEVELOPING)
	$(BIN)/python -m tests.certify

bench: $(DEVELOPING)
	$(BIN)/python -m tests.benchmarks

mutants: $(MUTATING)
	$(BIN)/python -m tests.mutants

browser: $(BROWSING)
	$(BIN)/python -m pytest tests/browser

browser-installed: $(BROWSING)

torch: $(WITH_TORCH)
	$(OPTIONAL_VENV)/bin/python -m pytest tests/optional/test_torch*.py

torch-installed: $(WITH_TORCH)

jax: $(WITH_JAX)
	$(OPTIONAL_VENV)/bin/python -m pytest tests/optional/test_jax*.py

jax-installed: $(WITH_JAX)

onnx: $(WITH_ONNX)
	$(OPTIONAL_VENV)/bin/python -m pytest tests/optional/test_onnx*.py

onnx-installed: $(WITH_ONNX)

docs: $(WITH_DOCS)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build # its authors' notice about another program is left out
	$(DOCS_VENV)/bin/python -m tests.pages build/docs

docs-installed: $(WITH_DOCS)

lint: $(DEVELOPING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

readme: $(DEVELOPING)
	$(BIN)/python -m tests.readme

wheel: $(INSTALLED)
	rm -rf dist
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) $(OPTIONAL_VENV) $(DOCS_VENV) build dist

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python {v[0]}.{v[1]} given; expected 3.11 or newer; run make PYTHON=...") if v < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) hatchling editables
	$(INSTALL) --no-build-isolation --editable .
	touch $@

$(DEVELOPING): $(INSTALLED)
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	touch $@

$(MUTATING): $(DEVELOPING)
	$(INSTALL) setuptools # which a package of this group is built by
	$(INSTALL) --no-build-isolation --editable '.[mutants]'
	touch $@

# The machine's own Chromium, or one that playwright brings.
$(BROWSING): $(DEVELOPING)
	$(INSTALL) --no-build-isolation --editable '.[browser]'
	command -v chromium chromium-browser google-chrome > /dev/null || $(BIN)/playwright install --with-deps chromium
	touch $@

$(WITHOUT_OPTIONAL): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(OPTIONAL_VENV)
	$(OPTIONAL_INSTALL) hatchling editables pytest
	touch $@

$(WITH_TORCH): $(WITHOUT_OPTIONAL)
	$(OPTIONAL_INSTALL) --no-build-isolation --editable '.[torch]'
	touch $@

$(WITH_JAX): $(WITHOUT_OPTIONAL)
	$(OPTIONAL_INSTALL) --no-build-isolation --editable '.[jax]'
	touch $@

$(WITH_ONNX): $(WITHOUT_OPTIONAL)
	$(OPTIONAL_INSTALL) --no-build-isolation --editable '.[onnx]'
	touch $@

$(WITH_DOCS): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(DOCS_VENV)
	$(DOCS_INSTALL) hatchling editables
	$(DOCS_INSTALL) --no-build-isolation --editable '.[docs]'
	touch $@
