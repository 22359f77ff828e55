# `make audit` and `make test` set up everything that they need in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: audit test lint clean

audit: $(VENV)/.stamp-core  ## audit the small target that ships with torpor
	$(BIN)/torpor audit sdn-digits --attacks standard --norm Linf --eps 8/255,16/255 --limit 200 --out runs/sdn-digits

test: $(VENV)/.stamp-dev lint  ## ruff, type checker, doctests and tests
	$(BIN)/python -m pytest --numprocesses 2

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.stamp-core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[language]'
	touch $@

$(VENV)/.stamp-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.stamp-core

clean:
	rm -rf $(VENV) build dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
