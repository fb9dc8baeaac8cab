# make demo   the whole road on real data: Chroma, a real cross-encoder, an LLM's context budget
# make test   every test          make check   lint, types, import rules
# Needs Python 3.11 to 3.13 and make; everything else goes into .venv.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export Q

.PHONY: demo test check fix clean

demo: .venv/.demo
	@$(BIN)/secondpass demo $${Q:+"$$Q"}

test: .venv/.all
	$(BIN)/python -m pytest

check: .venv/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: .venv/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "secondpass needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[demo]"
	@touch $@

.venv/.all: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[all,dev]"
	@touch $@ .venv/.demo

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
