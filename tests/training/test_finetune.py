"""Fine-tuning from end to end, on tiny models: every shape of data, a kill, a full disk, and what it leaves."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_distill import complete, values, wait_for
from tiny_models import WORDS

from secondpass import load_scorer
from secondpass.errors import ConfigurationError, InputError, ModelError
from secondpass.optimize import Bounds, OptimizeSettings
from secondpass.training import About, Examples, FinetuneSettings, examples_of, finetune

LOOSE = OptimizeSettings(int8=Bounds(mean_difference=0.5, agreement=0.6, batch_effect=0.1))  # 32 wide: int8 is coarse
QUICK = FinetuneSettings(
    epochs=4, learning_rate=1e-2, batch_tokens=256, precision="float32", export=LOOSE, progress=False
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
    data, settings = as_pairs([1, 0, 0, 0]), replace(QUICK, epochs=6, patience=None)
    report = finetune(str(tiny_torch_folder), data, tmp_path / "tuned", settings=settings, about=about)
    assert report.improved
    assert report.measures["average_precision"] > report.measures_before["average_precision"] + 0.1
    assert {"f1", "precision", "recall"} <= set(report.measures)
    assert not report.refused
    query, texts = data.groups[0].query, data.groups[0].texts
    whole, small = (values(report.folder, query, texts, engine) for engine in ("torch", "onnx"))
    assert whole == pytest.approx(small, abs=0.2 * (max(whole) - min(whole)) + 0.3)
    manifest = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["task"], manifest["loss"], manifest["truncated"]["pairs"]) == ("binary", "bce", 0)
    assert manifest["data"]["train"]["groups"] + manifest["data"]["validation"]["groups"] == 60
    assert manifest["base"]["sha256"].keys() == {"model.safetensors"}
    assert str(tmp_path) not in json.dumps(manifest)
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    for part in (
        "# tiny animals",
        "license: apache-2.0",
        "For tests.",
        "loss bce",
        "average_precision",
        "MB, with fixed",
    ):
        assert part in card
    assert not (report.folder / "checkpoints").exists()
    assert "loss bce" in str(report)


@pytest.mark.parametrize(
    ("shape", "loss"),
    [
        ("lists", "lambda"),
        ("lists", "listnet"),
        ("triplets", "ranknet"),
        ("triplets", "multiple-negatives"),
        ("margins", "margin-mse"),
        ("similarity", "mse"),
    ],
)
def test_every_shape_is_learned_with_its_loss(tiny_torch_folder: Path, tmp_path: Path, shape: str, loss: str) -> None:
    """Lists, triplets, a teacher's margins and similarities each raise the measure that fits them."""
    if shape == "similarity":
        data = as_pairs([4.5, 1, 0.5, 0])
    elif shape == "lists":
        data = lists()
    else:
        margin = {"margin": 5.0} if shape == "margins" else {}
        triplets = [
            {"query": row["query"], "positive": row["texts"][0], "negative": row["texts"][1], **margin}  # type: ignore[index]
            for row in rows(100)
        ]
        data = examples_of(located(triplets))
    settings = replace(QUICK, loss=loss)  # type: ignore[arg-type]
    report = finetune(str(tiny_torch_folder), data, tmp_path / "tuned", validation=0.2, settings=settings)
    metric = report.manifest["metric"]
    assert metric == ("spearman" if shape == "similarity" else "nDCG@10")
    assert report.measures[metric] > report.measures_before[metric]
    assert report.manifest["loss"] == loss


def test_classes_are_learned_and_measured_by_class(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """A model with one score gets a new head; one with these classes keeps its own order of them."""
    data = as_pairs(["entailment", "neutral", "neutral", "contradiction"])
    with_head = tiny("torch", num_labels=3, id2label={0: "contradiction", 1: "entailment", 2: "neutral"})
    for name, base in (("new", tiny("torch")), ("own", with_head)):
        report = finetune(str(base), data, tmp_path / name, settings=replace(QUICK, epochs=8, patience=None))
        accuracies = {f"accuracy {each}" for each in ("contradiction", "entailment", "neutral")}
        assert set(report.measures) == {"f1_macro", "accuracy", *accuracies}
        assert report.measures["f1_macro"] > report.measures_before["f1_macro"]
        assert values(report.folder, data.groups[0].query, data.groups[0].texts, "torch")  # entailment, by its name


def test_low_rank_adapters_are_merged(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """The folder is one of a model without adapters, and only what they change is another than before."""
    pytest.importorskip("peft", reason="the extra lora isn't installed")
    from safetensors.torch import load_file

    settings = replace(QUICK, lora=4)
    report = finetune(str(tiny_torch_folder), lists(), tmp_path / "tuned", settings=settings)
    assert report.improved
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_torch_folder, report.folder))
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert not any("embeddings" in name or "LayerNorm" in name for name in changed)
    history = [entry["eval_nDCG@10"] for entry in report.manifest["training"]["history"]]
    assert report.measures["nDCG@10"] == pytest.approx(max(history), abs=1e-6)


def test_it_ends_early_where_nothing_gets_better(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """With a learning rate too small to change an order, as many evaluations as the patience follow the first."""
    settings = replace(QUICK, learning_rate=1e-12, patience=2, epochs=10)
    report = finetune(str(tiny_torch_folder), lists(20), tmp_path / "tuned", validation=0.3, settings=settings)
    assert len(report.manifest["training"]["history"]) == 3
    assert not report.improved
    assert "keep the model that you have" in str(report)


def test_bad_data_stops_a_run_before_it_leaves_anything(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """One class, leaks and parts of different shapes are errors; long texts are counted, or refused where asked."""
    data, out = lists(6), tmp_path / "out"
    one_class = as_pairs([1], 6)
    claims = as_pairs(["yes", "no"], 6)
    cases = {
        "labels of two values or more, and all": (one_class, 0.5, QUICK),
        "no question may be in train and validation, and 6 are": (data, data, QUICK),
        "no pair may be in train and validation": (claims, claims, QUICK),
        "must have the shape of the training data, lists": (data, claims, QUICK),
        "at least one question": (replace(data, groups=()), data, QUICK),
        "8 are longer": (lists(2), 0.5, replace(QUICK, max_length=8, truncate=False)),
    }
    for message, (train, validation, settings) in cases.items():
        with pytest.raises(InputError, match=message.replace("8 are", r"\d are")):
            finetune(str(tiny_torch_folder), train, out, validation=validation, settings=settings)
    with pytest.raises(ModelError, match="the bundled nano is an int8 graph"):
        finetune("nano", data, out)
    assert not out.exists()
    report = finetune(str(tiny_torch_folder), data, out, settings=replace(QUICK, max_length=8, epochs=1))
    assert report.manifest["truncated"] == {"pairs": 20, "share": 1.0, "max_length": 8}
    assert "truncated: 20 training pairs (100.0%)" in str(report)
    assert load_scorer(str(out), engine="torch").spec.max_tokens == 64  # not the 8 that it was trained on


def test_a_full_disk_keeps_the_last_good_checkpoint(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """The error says what to do; with room again, the same call goes on from there."""
    data, out = lists(), tmp_path / "tuned"
    settings = replace(QUICK, evaluate_every=10)
    full = out / "checkpoints" / "checkpoint-20"

    def fill() -> None:
        full.mkdir(parents=True)
        (full / "optimizer.pt").symlink_to("/dev/full")

    with pytest.MonkeyPatch.context() as patch:
        from secondpass.training import trainer

        run = trainer.RowTrainer.run
        patch.setattr(trainer.RowTrainer, "run", lambda self, checkpoint: (fill(), run(self, checkpoint))[1])
        with pytest.raises(ConfigurationError, match=r"the disk is full: free some space, and run the same again"):
            finetune(str(tiny_torch_folder), data, out, settings=settings)
    assert complete(out / "checkpoints") == [10]
    (full / "optimizer.pt").unlink()
    report = finetune(str(tiny_torch_folder), data, out, settings=settings)
    assert report.manifest["training"]["history"][0]["step"] == 10
    assert load_scorer(str(report.folder), engine="torch").score("what", ["a cat"])


SCRIPT = """
import sys
from pathlib import Path
tests = Path(sys.argv[3])
sys.path[:0] = [str(tests), str(tests.parent)]
from secondpass.training import finetune
from test_finetune import LONGER, lists
finetune(sys.argv[2], lists(), Path(sys.argv[1]) / "tuned", settings=LONGER)
"""
LONGER = replace(QUICK, epochs=8, evaluate_every=10, patience=None)


def test_a_killed_run_goes_on_from_its_last_evaluation(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Called again, it takes up its last checkpoint, and ends with the weights of a run in one go."""
    arguments = [str(tmp_path), str(tiny_torch_folder), str(Path(__file__).parent)]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "tuned" / "checkpoints"
    wait_for(lambda: len(complete(checkpoints)) > 1 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    last = complete(checkpoints)[-1]
    resumed, whole = (
        finetune(str(tiny_torch_folder), lists(), tmp_path / name, settings=LONGER) for name in ("tuned", "whole")
    )
    steps = [entry["step"] for entry in resumed.manifest["training"]["history"]]
    assert last in steps[:-1]
    assert steps == [entry["step"] for entry in whole.manifest["training"]["history"]]
    assert resumed.measures_before == pytest.approx(whole.measures_before)
    group = lists().groups[0]
    assert values(resumed.folder, group.query, group.texts, "torch") == pytest.approx(
        values(whole.folder, group.query, group.texts, "torch"), abs=1e-3
    )
