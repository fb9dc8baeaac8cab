# make demo   the whole road on real data: Chroma, a real cross-encoder, an LLM's context budget
# make test   every test          make check   lint, types, import rules
# make evaluate   quality, cost and speed of the bundled models; needs SECONDPASS_ASSETS; FLOAT32=FOLDER adds a float32 checkpoint
# make models     the bundled models anew, from the texts on; needs SECONDPASS_ASSETS, apt-get and hours
# make bundle     puts what make models left into the package; RESTORED=1 if recipes.teacher made the teacher
# TEACHER=FOLDER_OR_HUB_ID for these two; without a hub, recipes.teacher makes one of a published wheel.
# Needs Python 3.11 to 3.13 and make; everything else goes into .venv.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export Q TEACHER FLOAT32 RESTORED

.PHONY: demo test check fix evaluate models bundle clean

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

evaluate: .venv/.all
	$(BIN)/python benchmarks/evaluation.py --assets "$${SECONDPASS_ASSETS:?names the folder of the collections}" $${FLOAT32:+--float32 "$$FLOAT32"}
	$(BIN)/python benchmarks/evaluation_page.py

models: .venv/.all
	$(BIN)/python -m recipes.corpus --assets "$${SECONDPASS_ASSETS:?names the folder of the collections}" --out build/corpus
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node 2 -m recipes.students --corpus build/corpus --out build/models $${TEACHER:+--teacher "$$TEACHER"}

bundle: .venv/.all
	$(BIN)/python -m recipes.bundle --models build/models --corpus build/corpus $${RESTORED:+--restored}

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "secondpass needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[demo]"
	@touch $@

.venv/.all: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[all,dev]"
	@touch $@ .venv/.demo

clean:  # not build/: the models in it took hours
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
