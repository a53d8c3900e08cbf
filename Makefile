# The two commands: `make demo` and `make test`. Both need only Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCH  := .venv-bench

.PHONY: demo test lint bench soak clean

demo: $(VENV)/.run           ## extract entities from the example articles on the embedded service
	@$(BIN)/ratelimit-router extract examples/articles.jsonl --config examples/router.toml --output out/entities.jsonl --overwrite

test: $(VENV)/.test          ## run every test
	@$(BIN)/python -m pytest

lint: $(VENV)/.lint          ## ruff, mypy strict, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(BENCH)/.peers       ## everything beside its peers (about an hour): benchmarks/RESULTS.md and pictures
	@$(BENCH)/bin/python -m benchmarks

soak: $(VENV)/.test          ## random storms for ten minutes on all cores, every promise of the router checked
	@$(BIN)/ratelimit-router soak --minutes 10

clean:
	rm -rf $(VENV) $(BENCH) out dist build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(BENCH)/.peers: pyproject.toml benchmarks/requirements-peers.txt
	@$(PYTHON) -m venv --clear $(BENCH)
	@echo "Installing into $(BENCH) ..."
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[fake-service,prometheus,storm]' -r benchmarks/requirements-peers.txt
	@touch $@

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[extract]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lint]'
	@touch $@ $(VENV)/.test $(VENV)/.run
