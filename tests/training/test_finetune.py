"""Fine-tuning from end to end, on tiny models: every shape of data, a kill, and what it leaves."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_distill import values
from tiny_models import WORDS

from secondpass import load_scorer
from secondpass.errors import ConfigurationError, InputError
from secondpass.optimize import Bounds, OptimizeSettings
from secondpass.training import About, Examples, FinetuneSettings, examples_of, finetune

pytestmark = pytest.mark.slow


LOOSE = OptimizeSettings(int8=Bounds(mean_difference=0.5, agreement=0.6, batch_effect=0.1))  # 32 wide: int8 is coarse
QUICK = FinetuneSettings(
    epochs=4, learning_rate=1e-2, batch_size=8, evaluate_every=0.25, precision="float32", export=LOOSE, progress=False
)
ANIMALS, PLACES = ("bee", "bird", "cat", "dog", "fish", "fox"), ("lake", "river", "sea", "sky", "tree", "grass")
FILLERS = [word for word in WORDS if word not in {*ANIMALS, *PLACES} and word.isalpha() and word != "void"]


def rows(count: int, seed: int = 1) -> list[dict[str, object]]:
    """Return questions on an animal, each with a text that names it and other animals, and three on places."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        animal = draw.choice(ANIMALS)
        others = [" ".join([*draw.choices(PLACES, k=draw.randint(3, 6)), draw.choice(FILLERS)]) for _ in range(3)]
        query = " ".join([*draw.sample(FILLERS, 5), animal])
        made.append(
            {"query": query, "texts": [" ".join([*draw.choices(ANIMALS, k=draw.randint(2, 5)), animal]), *others]}
        )
    return made


def located(made: Sequence[dict[str, object]]) -> list[tuple[str, dict[str, object]]]:
    return [(f"row {number}", row) for number, row in enumerate(made, start=1)]


def lists(count: int = 60) -> Examples:
    return examples_of(located([{**row, "labels": [1, 0, 0, 0]} for row in rows(count)]))


def as_pairs(labels: Sequence[object], count: int = 60) -> Examples:
    return examples_of(
        located(
            [
                {"query": row["query"], "text": text, "label": label}
                for row in rows(count)
                for text, label in zip(row["texts"], labels, strict=False)  # type: ignore[call-overload]
            ]
        )
    )


def test_pairs_make_a_better_model_that_can_be_loaded(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Labels 0 and 1: the measures rise, both forms open and agree, and card and manifest say what was done."""
    about = About(name="tiny animals", license="apache-2.0", notes="For tests.")
    data, settings = as_pairs([1, 0, 0, 0]), replace(QUICK, epochs=12, patience=None)
    report = finetune(str(tiny_torch_folder), data, tmp_path / "tuned", settings=settings, about=about)
    assert report.improved
    assert report.measures["average_precision"] > report.measures_before["average_precision"] + 0.1
    assert {"f1", "precision", "recall"} <= set(report.measures)
    assert not report.refused
    query, texts = data.groups[0].query, data.groups[0].texts
    whole, small = (values(report.folder, query, texts, engine) for engine in ("torch", "onnx"))
    assert whole == pytest.approx(small, abs=0.2 * (max(whole) - min(whole)) + 0.3)
    manifest = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["loss"], manifest["metric"], manifest["truncated"]["pairs"]) == ("bce", "average_precision", 0)
    assert manifest["data"]["train"]["groups"] + manifest["data"]["validation"]["groups"] == 60
    assert str(tmp_path) not in json.dumps(manifest)
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    for part in ("# tiny animals", "license: apache-2.0", "For tests.", "loss bce", "average_precision", "MB, with"):
        assert part in card
    assert not (report.folder / "checkpoints").exists()
    assert "loss bce" in str(report)


@pytest.mark.parametrize(("shape", "loss"), [("lists", "lambda"), ("triplets", "ranknet"), ("similarity", "mse")])
def test_every_shape_is_learned_with_its_loss(tiny_torch_folder: Path, tmp_path: Path, shape: str, loss: str) -> None:
    """Lists, triplets and similarities each raise the measure that fits them."""
    if shape == "similarity":
        data = as_pairs([4.5, 1, 0.5, 0])
    elif shape == "lists":
        data = lists()
    else:
        made = [dict(zip(("positive", "negative"), row["texts"], strict=False)) for row in rows(60)]  # type: ignore[call-overload]
        data = examples_of(located([{"query": row["query"], **own} for row, own in zip(rows(60), made, strict=True)]))
    settings = replace(QUICK, epochs=16, patience=None) if shape == "similarity" else QUICK  # the slowest to learn
    report = finetune(str(tiny_torch_folder), data, tmp_path / "tuned", validation=0.2, settings=settings)
    metric = report.manifest["metric"]
    assert metric == ("spearman" if shape == "similarity" else "nDCG@10")
    assert report.measures[metric] > report.measures_before[metric]
    assert report.manifest["loss"] == loss


def test_it_ends_early_where_nothing_gets_better(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """With a learning rate too small to change an order, as many evaluations as the patience follow the first."""
    settings = replace(QUICK, learning_rate=1e-12, patience=2, epochs=10, evaluate_every=0.1, max_length=8)
    out = tmp_path / "tuned"
    report = finetune(str(tiny_torch_folder), lists(20), out, validation=0.3, settings=settings)
    assert len(report.manifest["training"]["history"]) == 3
    assert not report.improved
    assert "keep the model that you have" in str(report)
    assert report.manifest["truncated"] == {"pairs": 56, "share": 1.0, "max_length": 8}
    assert "truncated: 56 training pairs (100.0%)" in str(report)
    assert load_scorer(str(out), engine="torch").spec.max_tokens == 64  # not the 8 that it was trained on


def test_bad_data_stops_a_run_before_it_leaves_anything(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """One class, leaks, parts of different shapes, and lengths that the model doesn't have are errors."""
    data, out = lists(6), tmp_path / "out"
    for message, train, validation in (
        ("labels of two values or more, and all", as_pairs([1], 6), 0.5),
        ("no question may be in train and validation, and 6 are", data, data),
        ("must have the shape of the training data, lists", data, as_pairs([1, 0], 6)),
    ):
        with pytest.raises(InputError, match=message):
            finetune(str(tiny_torch_folder), train, out, validation=validation, settings=QUICK)
    with pytest.raises(ConfigurationError, match="max_length must be at most the model's 64 tokens, got 65"):
        finetune(str(tiny_torch_folder), data, out, settings=replace(QUICK, max_length=65))
    assert not out.exists()


LONGER = replace(QUICK, epochs=2, evaluate_every=10, patience=None)
SCRIPT = """
import os, signal, sys
from pathlib import Path
tests = Path(sys.argv[3])
sys.path[:0] = [str(tests), str(tests.parent)]
from secondpass.training import finetune, trainer
from test_finetune import LONGER, lists
end = trainer._EvaluateAtTheEnd.on_step_end
def on_step_end(self, arguments, state, control, **rest):
    if state.global_step == 45:
        os.kill(os.getpid(), signal.SIGKILL)
    end(self, arguments, state, control, **rest)
trainer._EvaluateAtTheEnd.on_step_end = on_step_end
finetune(sys.argv[2], lists(), Path(sys.argv[1]) / "tuned", settings=LONGER)
"""


def test_a_killed_run_goes_on_from_its_last_evaluation(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Called again, it takes up its last complete checkpoint, and ends with the weights of a run in one go."""
    arguments = [str(tmp_path), str(tiny_torch_folder), str(Path(__file__).parent)]
    killed = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    out = tmp_path / "tuned"
    last = out / "checkpoints" / "checkpoint-40"
    with pytest.raises(ConfigurationError, match="a run with other data or settings"):
        finetune(str(tiny_torch_folder), lists(), out, settings=replace(LONGER, seed=2))
    good = (last / "model.safetensors").read_bytes()
    (last / "model.safetensors").write_bytes(good[:1000])
    with pytest.raises(ConfigurationError, match=r"can't be resumed from its last checkpoint, .*checkpoint-40"):
        finetune(str(tiny_torch_folder), lists(), out, settings=LONGER)
    (last / "model.safetensors").write_bytes(good)
    (out / "checkpoints" / "checkpoint-50").mkdir()  # a kill while it was written
    resumed, whole = (
        finetune(str(tiny_torch_folder), lists(), tmp_path / name, settings=LONGER) for name in ("tuned", "whole")
    )
    steps = [entry["step"] for entry in resumed.manifest["training"]["history"]]
    assert steps == [entry["step"] for entry in whole.manifest["training"]["history"]]
    assert resumed.measures_before == pytest.approx(whole.measures_before)
    group = lists().groups[0]
    assert values(resumed.folder, group.query, group.texts, "torch") == pytest.approx(
        values(whole.folder, group.query, group.texts, "torch"), abs=1e-3
    )
    with pytest.raises(ConfigurationError, match="a finished run"):
        finetune(str(tiny_torch_folder), lists(), out, settings=LONGER)


def test_a_folder_with_something_else_is_refused(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Nobody's files end up among checkpoints."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="must be empty or new"):
        finetune(str(tiny_torch_folder), lists(6), tmp_path, settings=QUICK)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
