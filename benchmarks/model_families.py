"""Compare a tiny model of every family with its reference, and write docs/model_families.md.

usage: python -m benchmarks.model_families [--page]      --page writes the page anew from the last figures
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from secondpass.models import ModelFamily, supported

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "benchmarks" / "model_families.json"
PAGE = ROOT / "docs" / "model_families.md"
HEAD = """# Model families

Made by `benchmarks/model_families.py` from the tests' own checks. From Python: `secondpass.models.supported()`.

**verified**: the tests make a tiny model of the same architecture with random weights, a tokenizer of the same kind
and files in the published form, run it through `load_scorer` on each engine, and compare scores (alone, and in one
padded batch), template, special tokens, token types, truncation, activation and label order with a reference. The
published weights themselves are not part of the tests. **unverified**: it may load, and no test can run it.
**unsupported**: loading it is refused, with the reason. Sizes, languages and licences are those of the models'
cards."""
INT8 = """int8: `secondpass.optimize` makes a verified int8 form. DeBERTa adds scores of relative positions inside
of its attention, for which ONNX Runtime has no operator; decoders answer a prompt and have no classifier. Both are
refused with that reason. A licence that is not an open-source one is logged before the first load."""
SCALE = """Every value is on a logit scale: the logistic function of it is the model's own probability. Of three labels
it is the log-odds of entailment. Truncation cuts the text, at its end; only a query longer than half of what the model
reads is cut too."""
MEASURED = """## What was measured

Largest differences, in log-odds, over pairs in English, Chinese, Arabic and code, one or more of them truncated;
the largest of all is {largest}. *alone* is the difference of a pair from the reference, *in a batch* between a pair
alone and all pairs in one padded batch, *int8* the mean difference of the int8 form of a model with random weights,
as a share of its scores' standard deviation (of your model no more than 3 % is allowed). With {versions}."""
ONNX = """## ONNX files of the hub

The `onnx` engine opens `model.onnx` or `onnx/model.onnx`, with its weights inside or beside it (`model.onnx_data`).
Where a repository has none, it takes another file with float32 weights (`model_O3.onnx`), else the quantised one
for this CPU. `dtype="int8"` takes the quantised one first: `model_qint8_avx512_vnni` where the CPU has VNNI, then
`model_qint8_avx512`, `model_qint8_arm64`, `model_quint8_avx2`, `model_int8`, `model_quantized`. The report's
placement names the file. `LoadOptions(file=...)` takes any. These int8 files compute activation scales from each
batch: their scores depend on the batch (`batch_invariant` is False). Those of `secondpass optimize` don't.

transformers 5 builds DeBERTa's tokenizer anew, with Unicode's NFC; where `tokenizer.json` says NFKC, the engines
read full-width characters differently, and the ONNX engine follows the file."""
LISTS = """## Models that read all candidates at once, and models that mark sentences

A listwise model needs `spec` and `score_list(query, texts, call=None)`, which returns one outcome for each text: a
`Reranker`, the integrations and `Cascade` take it like any scorer, and give it all candidates of a query in one
call.

A model that marks sentences returns them as its score's windows, `Score(value, windows=(Window(start, end, value,
probability), ...))`, and says so with `Spec(..., returns_spans=True)`: `policy="extract"` then keeps the best of
them."""


def main() -> None:
    """Measure, unless only the page is wanted, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true")
    if not parser.parse_args().page:
        FIGURES.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")


def measured() -> dict[str, Any]:
    """Return the check of every form on every engine."""
    sys.path.insert(0, str(ROOT / "tests"))
    from model_checks import CHECKS, check, to_onnx
    from model_forms import FORMS, make

    checks = []
    for name, engine in CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            made = make(FORMS[name], Path(folder))
            opened, int8 = to_onnx(name, made, Path(folder) / "onnx") if engine == "onnx" else (None, None)
            figures = asdict(check(name, engine, made, opened)) | {"architecture": FORMS[name].model_type}
            loss = {"mean": int8.mean_difference / int8.spread, "batch_effect": int8.batch_effect} if int8 else None
            checks.append(figures | {"int8": loss})
            print(checks[-1], flush=True)
    packages = ("sentence-transformers", "transformers", "tokenizers", "torch", "onnxruntime")
    return {"versions": {name: version(name) for name in packages}, "checks": checks}


def page(figures: dict[str, Any]) -> str:
    """Return the page."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    largest = max(max(item["largest_difference"], item["batch_difference"]) for item in figures["checks"])
    families = [
        "| family | models | size | languages | tokens | licence | engines | int8 | |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_family_row, supported()),
    ]
    reading = [f"- **{item.name}**: {_reading(item)}" for item in supported()]
    checks = [
        "| form | engine | reference | alone | in a batch | int8, mean |",
        "|---|---|---|---|---|---|",
        *map(_check_row, figures["checks"]),
    ]
    measured_at = MEASURED.format(largest=f"{largest:.1e}", versions=versions)
    how = f"## How they read a pair\n\n{SCALE}\n\n" + "\n".join(reading)
    parts = [HEAD, "\n".join(families), INT8, how, measured_at, "\n".join(checks), ONNX, LISTS]
    return "\n\n".join(parts) + "\n"


def _family_row(family: ModelFamily) -> str:
    models = ", ".join(f"`{name}`" for name in family.models)
    engines = ", ".join(family.engines) or "none"
    cells = (family.name, models, family.size, family.languages, f"{family.max_tokens:,}", family.licence, engines)
    return "| " + " | ".join((*cells, "yes" if family.int8 else "no", str(family.status))) + " |"


def _reading(family: ModelFamily) -> str:
    labels = "" if family.labels == 1 else f" {family.labels} labels."
    note = f" {family.note}" if family.note else ""
    forms = f" Tests: {', '.join(family.forms)}." if family.forms else ""
    return f"{family.template}.{labels}{note}{forms}"


def _check_row(item: dict[str, Any]) -> str:
    int8 = f"{item['int8']['mean']:.1%}" if item["int8"] else ""
    differences = f"{item['largest_difference']:.1e} | {item['batch_difference']:.1e}"
    return f"| {item['form']} | {item['engine']} | {item['reference']} | {differences} | {int8} |"


if __name__ == "__main__":
    main()
