"""Distillation from end to end, on tiny models: from weights or any scorer to a student that can be used."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import WORDS

from secondpass import Cached, load_scorer
from secondpass.errors import ConfigurationError, InputError, ScoringError
from secondpass.optimize import Bounds, OptimizeSettings
from secondpass.records import LOGIT, Call, Pair, Score, Scored, Spec, Unscored, UnscoredReason
from secondpass.scoring.scorer import BaseScorer
from secondpass.training import About, DistillSettings, Examples, Group, distill, read_table

pytestmark = pytest.mark.slow


LOOSE = OptimizeSettings(int8=Bounds(mean_difference=0.2, agreement=0.8, batch_effect=0.02))  # 32 wide: int8 is coarse
QUICK = DistillSettings(
    layers=(1,),
    batch_size=16,
    epochs=3,
    evaluate_every=30,
    learning_rate=3e-3,
    precision="float32",
    export=LOOSE,
    progress=False,
)


class Counting(BaseScorer):
    """Scores a pair by its length, and remembers which pairs it was asked for."""

    def __init__(self, *, fails: bool = False) -> None:
        self.spec = Spec("counting", LOGIT, "f", batch_invariant=True)
        self.asked: list[Pair] = []
        self._fails = fails

    def score_pairs(self, pairs: Sequence[Pair], *, call: Call | None = None) -> Scored:
        self.asked += pairs
        outcomes = [Unscored(UnscoredReason.INVALID) if self._fails else Score(len("".join(p)) / 10) for p in pairs]
        return Scored(tuple(outcomes), self.spec)


def write_groups(path: Path, count: int, seed: int, *, first: str) -> Path:
    """Write questions that start with a word of their own, so that two files never share one."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            query = " ".join([first, *draw.sample(WORDS, 4)])
            texts = [" ".join(draw.sample(WORDS, draw.randint(3, 12))) for _ in range(8)]
            file.write(json.dumps({"query": query, "texts": texts, "labels": [1] + [0] * 7}) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[Examples, Examples]:
    """Return 60 questions to learn from and 10 others to be judged by."""
    train = write_groups(tmp_path / "train.jsonl", 60, 1, first="what")
    return read_table(train), read_table(write_groups(tmp_path / "validation.jsonl", 10, 2, first="how"))


def values(model: str | Path, query: str, texts: tuple[str, ...], engine: str = "auto") -> list[float]:
    outcomes = load_scorer(str(model), engine=engine, device="cpu").score(query, texts)  # type: ignore[arg-type]
    return [outcome.value for outcome in outcomes if isinstance(outcome, Score)]


def test_a_student_learns_the_teachers_view_and_can_be_loaded(
    data: tuple[Examples, Examples], tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """One layer of two comes to agree with the teacher; both forms open and agree, card and manifest say what it is."""
    about = About(name="tiny student", license="apache-2.0", notes="For tests.")
    train, validation = data
    report = distill(
        str(tiny_torch_folder), train, tmp_path / "student", validation=validation, settings=QUICK, about=about
    )
    history = [entry["eval_agreement"] for entry in report.manifest["training"]["history"]]
    assert report.measures["agreement"] == pytest.approx(max(history), abs=0.02)
    assert report.improved
    assert report.measures["agreement"] > report.measures_before["agreement"] + 0.05
    assert report.measures["error"] < report.measures_before["error"]
    assert report.teacher_measures["agreement"] == pytest.approx(1)
    group = validation.groups[0]
    floats, whole = (values(report.folder, group.query, group.texts, engine) for engine in ("torch", "onnx"))
    assert floats == pytest.approx(whole, abs=0.5)
    assert load_scorer(str(report.folder / "onnx")).spec.batch_invariant
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    for part in ("# tiny student", "license: apache-2.0", "For tests.", "| before | after | teacher |"):
        assert part in card
    manifest = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == report.manifest
    assert set(manifest["base"]["sha256"]) == {"model.safetensors"}
    assert manifest["teacher"]["fingerprint"] == load_scorer(str(tiny_torch_folder)).spec.fingerprint
    assert manifest["data"]["train"]["groups"] == 60
    assert manifest["data"]["train"]["pairs"] == 480
    assert manifest["settings"]["seed"] == QUICK.seed
    assert {"torch", "sentence-transformers", "secondpass"} <= set(manifest["packages"])
    assert set(manifest["measures"]["after"]) == {"agreement", "error", "nDCG@10", "RR@10"}
    assert set(manifest["files"]) == {"model.safetensors", "onnx/model.onnx", "tokenizer.json", "onnx/tokenizer.json"}
    assert not (report.folder / "checkpoints").exists()
    assert str(tmp_path) not in json.dumps(manifest)
    assert "(the teacher: 1.0000)" in str(report)


def test_any_scorer_teaches_scores_and_is_asked_once(
    data: tuple[Examples, Examples], tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """Without hidden states any kind will do; a cache shares its scores between runs, and both objectives learn."""
    strict = OptimizeSettings(int8=Bounds(mean_difference=1e-9, agreement=1, batch_effect=0))
    settings = replace(
        QUICK, base=str(tiny_torch_folder), hidden_weight=0, epochs=1, freeze_word_embeddings=False, export=strict
    )
    for objective, asked in (("mse", 560), ("margin-mse", 0)):
        teacher = Counting()
        cached = Cached(teacher, tmp_path / "scores.sqlite")
        own = replace(settings, objective=objective)  # type: ignore[arg-type]
        report = distill(cached, data[0], tmp_path / objective, validation=data[1], settings=own)
        assert len(teacher.asked) == asked
        assert report.manifest["teacher"]["name"] == "counting"
        assert report.improved
        assert report.refused is not None
        assert "loses too much" in report.refused
        assert report.refused in (report.folder / "README.md").read_text(encoding="utf-8")
        assert not (report.folder / "onnx").exists()
        assert values(report.folder, "what", ("cat",), "torch")


def test_a_teacher_that_can_not_teach_is_refused(
    data: tuple[Examples, Examples], tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """A scorer alone gives no base and no hidden states, and one that leaves pairs out no labels."""
    based = replace(QUICK, base=str(tiny_torch_folder))
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match="a student needs a base"):
        distill(Counting(), data[0], out, settings=QUICK)
    with pytest.raises(ConfigurationError, match="hidden_weight=0"):
        distill(Counting(), data[0], out, settings=based)
    assert not out.exists()
    with pytest.raises(ScoringError, match=r"left out query .*: invalid"):
        distill(Counting(fails=True), data[0], out, settings=replace(based, hidden_weight=0))


def test_bad_data_stops_a_run_before_it_leaves_anything(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Leaks and questions of one text, which has no order, are found before the folder is made."""
    two, one = Group("what is it", ("a cat", "a dog")), Group("how long", ("a cat",))
    for train, validation, message in (
        (two, two, "no question may be in train and validation"),
        (two, one, "the validation data must hold a question with two texts"),
        (one, two, "the train data must hold a question with two texts"),
    ):
        parts = Examples((train,)), Examples((validation,))
        with pytest.raises(InputError, match=message):
            distill(str(tiny_torch_folder), parts[0], tmp_path / "out", validation=parts[1], settings=QUICK)
    assert not (tmp_path / "out").exists()
