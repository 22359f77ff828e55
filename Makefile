# `make audit` and `make test` set up everything that they need in .venv; tests of other people's detectors run in
# .venv-detectors, since torchvision, where it does not fit torch, breaks transformers.

PYTHON ?= python3
DATA ?= ../shared/data
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTHONS ?= $(PYTHON) python3.13
DETECTORS := .venv-detectors
DETECTORS_PIP := $(DETECTORS)/bin/python -m pip --disable-pip-version-check
RANKED := sdn-digits sdn-digits-hardened cascade-digits skipnet-digits act-digits act-digits-hardened
RUNS := $(RANKED:%=runs/leaderboard/%)

.PHONY: audit endpoint-demo test test-fast test-detectors test-versions study lint docs ranked leaderboard clean

audit: $(VENV)/.stamp-core  ## audit the small target that ships with torpor; under a minute on two quiet cores
	@echo "This audit takes under a minute on two quiet cores."
	$(BIN)/torpor audit sdn-digits --attacks standard --norm Linf --eps 8/255,16/255 --limit 200 --out runs/sdn-digits

endpoint-demo: $(VENV)/.stamp-endpoints  ## a small model behind a server on loopback: audit, limits, a cap
	$(BIN)/python examples/endpoint_demo.py

study: $(VENV)/.stamp-dev  ## every cell of the small study, filled or explained; without DATA only those that need none
	rm -rf runs/study
	$(BIN)/torpor study --scale smoke --out runs/study $(addprefix --data-dir ,$(wildcard $(DATA)))
	! grep '| all |' runs/study/study.md | grep -v -e 'torpor zoo train' -e 'pass --data-dir' -e 'no part of'

test: $(VENV)/.stamp-dev lint  ## ruff, type checker, imports, doctests and tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile
	$(MAKE) test-detectors

test-detectors: $(DETECTORS)/.stamp  ## adapters, against torchvision and ultralytics
	$(DETECTORS)/bin/python -m pytest tests/detectors

test-fast: $(VENV)/.stamp-dev  ## a quick answer: no linters, and no test that is marked as slow
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not slow'

test-versions: $(VENV)/.stamp-dev  ## generation, with the oldest and newest transformers of pyproject.toml on each of PYTHONS
	$(BIN)/python tests/versions.py $(if $(FEW),--few) $(PYTHONS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.stamp-dev  ## the site, in site/; fails on broken links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ranked: $(VENV)/.stamp-core  ## what the leaderboard ranks: the zoo's networks for digits that have gates; minutes
	for run in $(RUNS); do $(BIN)/torpor audit $${run##*/} --norm Linf --eps 8/255 --attacks standard --limit 8 --out $$run || exit; done

leaderboard: docs ranked  ## the site, with the zoo's leaderboard
	$(BIN)/torpor leaderboard $(RUNS) --html site/leaderboard.html

$(VENV)/.stamp-core: pyproject.toml constraints.txt
	@echo "Installing torpor into $(VENV): a few minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[language,tracking]'
	touch $@

$(VENV)/.stamp-endpoints: $(VENV)/.stamp-core
	$(PIP) install --quiet --constraint constraints.txt --editable '.[language,endpoints]'
	touch $@

$(VENV)/.stamp-dev: pyproject.toml constraints.txt tests/plugin/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --quiet --no-deps --editable tests/plugin
	touch $@ $(VENV)/.stamp-core $(VENV)/.stamp-endpoints

# Without their dependencies, which would bring another torch and, beside the opencv without windows, the one with them.
$(DETECTORS)/.stamp: pyproject.toml constraints.txt
	test -x $(DETECTORS)/bin/python || $(PYTHON) -m venv $(DETECTORS)
	$(DETECTORS_PIP) install --quiet --constraint constraints.txt --editable . pytest hypothesis opencv-python-headless pyyaml
	$(DETECTORS_PIP) install --quiet --constraint constraints.txt --no-deps torchvision ultralytics
	touch $@

clean:
	rm -rf $(VENV) $(DETECTORS) .venv-versions build dist runs site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
