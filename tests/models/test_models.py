"""The bundled models: offline loading, scores, files."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secondpass import load_scorer
from secondpass.errors import ModelNotFound
from secondpass.models import bundled_models
from secondpass.records import Score
from secondpass.scoring.options import DEFAULT_MODEL

QUERY = "how long does a flea live?"
TEXTS = [
    "The adult flea lives for two to three months if it finds a host; without one it starves within two weeks.",
    "Fleas are wingless insects that feed on the blood of mammals and birds.",
    "The market hall opens at nine o'clock and closes at six in the evening.",
    "A flea's jump is powered by a pad of resilin. " * 40,
]
SCORES = {"small": [9.4774, -3.8905, -11.1225, -6.9798], "nano": [6.1942, -2.7209, -11.1952, -2.3591]}
OFFLINE = """
import socket, sys
def refuse(*_, **__): raise OSError("the network is blocked")
socket.socket.connect = socket.getaddrinfo = refuse
from secondpass import load_scorer
scorer = load_scorer(sys.argv[1])
print(scorer.score("a cat", ["the dog"])[0].value)
print(sorted({"torch", "transformers", "sentence_transformers", "huggingface_hub"} & set(sys.modules)))
"""

pytestmark = pytest.mark.parametrize("name", ["small", "nano"])


def values(name: str, texts: list[str]) -> list[float]:
    """Return raw values; every text must have one."""
    outcomes = load_scorer(name).score(QUERY, texts)
    return [outcome.value for outcome in outcomes if isinstance(outcome, Score)]


def test_it_opens_without_network_torch_or_hub_library(name: str) -> None:
    """In a new process without a network it gives a score, and loads neither torch nor the hub's library."""
    done = subprocess.run([sys.executable, "-c", OFFLINE, name], capture_output=True, text=True, check=True)
    score, loaded = done.stdout.splitlines()
    assert -15 < float(score) < 0
    assert loaded == "[]"


def test_its_scores_are_the_same_on_every_processor(name: str) -> None:
    """Scores are those of a processor with VNNI within 0.02 logit on average, and within 0.15 each.

    Float kernels differ in the last bit between processors, which can change how an activation is rounded to 8 bits:
    without AVX-512 and VNNI the differences are 0.003 on average, with rare larger ones.
    """
    differences = np.abs(np.subtract(values(name, TEXTS), SCORES[name]))
    assert differences.mean() <= 0.02
    assert differences.max() <= 0.15


def test_a_score_does_not_depend_on_its_batch(name: str) -> None:
    """Alone or among others, a pair's score stays within 0.02 logit, and the specification says so."""
    alone = [values(name, [text])[0] for text in TEXTS]
    assert load_scorer(name).spec.batch_invariant
    assert values(name, TEXTS * 3) == pytest.approx(alone * 3, abs=0.02)


@pytest.mark.slow
def test_it_scores_as_the_float32_checkpoint_does(name: str, assets: Path, torch_checkpoint: Path) -> None:
    """On real passages the int8 form is within 0.12 logit of its float32 weights on average."""
    topic = json.loads((assets / "data" / "trec-dl" / "bm25_top100_dl19.json").read_text(encoding="utf-8"))[0]
    passages = [hit["content"] for hit in topic["hits"][:40]]
    scorers = load_scorer(name), load_scorer({"small": torch_checkpoint, "nano": assets / "models" / "nano"}[name])
    (int8, float32) = ([outcome.value for outcome in scorer.score(topic["query"], passages)] for scorer in scorers)  # type: ignore[union-attr]
    assert np.abs(np.subtract(int8, float32)).mean() < 0.12


def test_no_product_can_saturate(name: str) -> None:
    """Adjacent weights add up to at most 128, so that two 8-bit products fit into 16 bits without VNNI."""
    onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
    graph = onnx.load(bundled_models()[name] / "model.onnx").graph
    stored = {item.name: item for item in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) >= 6
    for node in products:
        weight = onnx.numpy_helper.to_array(stored[node.input[1]]).astype(np.int32)
        assert np.abs(weight[0::2] + weight[1::2]).max() <= 128


def test_its_files_are_those_of_the_manifest(name: str) -> None:
    """Every file that decides a score has the hash in the manifest, and the model card names the licence."""
    folder = bundled_models()[name]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    hashes = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in manifest["files"]}
    assert hashes == manifest["files"]
    assert manifest["license"] == "Apache-2.0"
    assert "license: apache-2.0" in (folder / "README.md").read_text(encoding="utf-8")


def test_an_unknown_name_lists_the_bundled_models(name: str) -> None:
    """A name that is neither bundled nor a folder nor a hub id is an error that lists the bundled models."""
    with pytest.raises(ModelNotFound, match=rf"a bundled model \(fast, nano, small\).*'{name}er' is none of these"):
        load_scorer(f"{name}er")


def test_a_path_names_a_folder_of_the_same_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundled name means the bundled model; a ``Path`` means the folder."""
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_scorer(name).spec.name == name
    with pytest.raises(Exception, match="it is empty"):
        load_scorer(Path(name))


def test_the_default_is_bundled(name: str) -> None:
    """``load_scorer()`` opens the default, which is one of the bundled models."""
    assert DEFAULT_MODEL in bundled_models()
    assert load_scorer().spec.name == DEFAULT_MODEL
