# make demo       the whole pipeline on real data: Chroma, the bundled cross-encoder, an LLM's context budget
# make test       every test but the slow ones (training, notebooks, ...): make test-slow   both: make test-all
# make check      lint, types, import rules, the documentation site
# make docs       the documentation site, in build/site
# make evaluate   quality, cost and speed of the bundled models; needs SECONDPASS_ASSETS
# make trust      verdicts, calibration, refusals, fusion, interleaving; needs SECONDPASS_ASSETS
# make bench      rerankers on this machine, in one run; FLOAT32=FOLDER adds what runs on torch
# make bench-gpu  secondpass and sentence-transformers on a CUDA device, in ten minutes, with the torch of GPU_PYTHON
# make recipes    every example, its page's output, and the table of all systems; needs SECONDPASS_ASSETS
# make bundle     the bundled models anew, from float32 weights; needs SECONDPASS_ASSETS
# Needs Python 3.11 to 3.13 and make; everything else goes into .venv.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
GPU_PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile
ASSETS = $(if $(SECONDPASS_ASSETS),$(SECONDPASS_ASSETS),$(error SECONDPASS_ASSETS must name the folder with models and data))
export Q

.PHONY: demo test test-slow test-all check docs fix evaluate trust bench bench-gpu recipes bundle clean

demo: .venv/.demo
	@$(BIN)/secondpass ask $${Q:+"$$Q"}

test: .venv/.all
	$(PYTEST) -m "not slow"

test-slow: .venv/.all
	$(PYTEST) -m slow

test-all: test test-slow

check: .venv/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/zensical build --strict

docs: .venv/.all
	$(BIN)/zensical build --strict --clean

fix: .venv/.all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

evaluate: .venv/.all build/float32
	$(BIN)/python -m benchmarks.evaluation --assets "$(ASSETS)" --float32 build/float32
	$(BIN)/python -m benchmarks.evaluation_page
	$(BIN)/python -m benchmarks.answer_in_context --assets "$(ASSETS)"
	$(BIN)/python -m benchmarks.relevant_per_token --assets "$(ASSETS)"
	$(BIN)/python -m benchmarks.answer_page

trust: .venv/.all
	$(BIN)/python -m benchmarks.trust --assets "$(ASSETS)"

bench: .venv/.all
	$(BIN)/python -m benchmarks.bench $${FLOAT32:+--checkpoint "$$FLOAT32"}

bench-gpu:  # the .venv has torch for CPUs
	PYTHONPATH=src $(GPU_PYTHON) -m benchmarks.gpu $(GPU_ARGS)

recipes: .venv/.all
	$(BIN)/python -m examples
	SECONDPASS_ASSETS="$(ASSETS)" $(BIN)/python -m benchmarks.recipes

bundle: .venv/.all
	$(BIN)/python -m benchmarks.models.bundle --assets "$(ASSETS)"
	$(BIN)/python -m benchmarks.models.calibrate --assets "$(ASSETS)" --scores build/trust

build/float32: .venv/.all
	$(BIN)/python -m benchmarks.models.teacher --out $@ --graph "$(ASSETS)/models/ms-marco-MiniLM-L12-v2-onnx-int8"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "secondpass needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(PIP) pip  # --group needs 25.1, and Python 3.11 brings an older one

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[cli]"
	@touch $@

.venv/.all: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[all]" --group dev
	@touch $@ .venv/.demo

clean:
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
