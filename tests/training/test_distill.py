"""Distillation from end to end, on tiny models: it learns, it survives a kill, and what it leaves can be used."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_store import Counting
from tiny_models import WORDS

from secondpass import load_scorer
from secondpass.errors import ConfigurationError, InputError
from secondpass.optimize import Bounds, OptimizeSettings
from secondpass.scores import Score
from secondpass.training import About, DistillSettings, Group, Student, TrainingData, distill
from secondpass.training.data import read_groups
from secondpass.training.students import make_student
from secondpass.training.validation import StudentEvaluator

LOOSE = OptimizeSettings(int8=Bounds(mean_difference=0.2, agreement=0.8, batch_effect=0.02))  # 32 wide: int8 is coarse
QUICK = DistillSettings(
    epochs=3, evaluate_every=20, batch_tokens=256, learning_rate=3e-3, precision="float32", export=LOOSE, progress=False
)

LONGER = replace(QUICK, epochs=6)


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
def data(tmp_path: Path) -> TrainingData:
    """Return 60 questions to learn from and 10 others to be judged by."""
    train = write_groups(tmp_path / "train.jsonl", 60, 1, first="what")
    validation = write_groups(tmp_path / "validation.jsonl", 10, 2, first="how")
    return TrainingData(read_groups(train), read_groups(validation))


def values(model: str | Path, query: str, texts: tuple[str, ...], engine: str = "auto") -> list[float]:
    outcomes = load_scorer(str(model), engine=engine, device="cpu").score(query, texts)  # type: ignore[arg-type]
    return [outcome.value for outcome in outcomes if isinstance(outcome, Score)]


def test_a_student_learns_the_teachers_view_and_can_be_loaded(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """One layer of two, hidden states matched, comes to agree with the teacher; both forms open and agree."""
    report = distill(
        str(tiny_torch_folder), data, tmp_path / "student", student=Student(layers=(1,)), settings=QUICK,
        about=About(name="tiny student", license="apache-2.0", notes="For tests."),
    )  # fmt: skip
    history = [entry["eval_agreement"] for entry in report.manifest["training"]["history"]]
    assert report.measures["agreement"] == pytest.approx(max(history), abs=0.02)
    untaught = make_student(Student(layers=(1,)), str(tiny_torch_folder), None)
    teacher = [values(tiny_torch_folder, group.query, group.texts) for group in data.validation]
    start = StudentEvaluator(data.validation, teacher, 8, torch.float32)(untaught)
    assert report.measures["agreement"] > start["agreement"] + 0.05
    assert report.measures["error"] < start["error"]
    assert report.teacher_measures["agreement"] == pytest.approx(1)
    group = data.validation[0]
    floats, whole = (values(report.folder, group.query, group.texts, engine) for engine in ("torch", "onnx"))
    assert floats == pytest.approx(whole, abs=0.5)
    assert load_scorer(str(report.folder / "onnx")).spec.batch_invariant
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    assert "# tiny student" in card
    assert "license: apache-2.0" in card
    assert "For tests." in card
    assert not (report.folder / "checkpoints").exists()


def test_the_manifest_tells_what_the_student_came_from(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """Base and teacher, data hashes, settings with their seed, versions, measures, and hashes of what was left."""
    report = distill(str(tiny_torch_folder), data, tmp_path / "student", student=Student(layers=(0,)), settings=QUICK)
    manifest = json.loads((report.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == report.manifest
    assert manifest["base"]["layers"] == 1
    assert set(manifest["base"]["sha256"]) == {"model.safetensors"}
    assert manifest["teacher"]["fingerprint"] == load_scorer(str(tiny_torch_folder)).spec.fingerprint
    assert manifest["data"]["train"]["groups"] == 60
    assert manifest["data"]["train"]["pairs"] == 480
    assert len(manifest["data"]["validation"]["sha256"]) == 64
    assert manifest["settings"]["seed"] == QUICK.seed
    assert {"torch", "sentence-transformers", "secondpass"} <= set(manifest["packages"])
    assert set(manifest["measures"]["student"]) == {"agreement", "error", "nDCG@10", "RR@10"}
    left = {str(path.relative_to(report.folder)) for path in report.folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == {"model.safetensors", "onnx/model.onnx", "tokenizer.json", "onnx/tokenizer.json"}
    assert set(manifest["files"]) < left
    assert manifest["processes"] == 1
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_student_whose_int8_form_loses_too_much_is_kept_without_it(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """The weights aren't thrown away; the report and the card say what was refused and why."""
    strict = OptimizeSettings(int8=Bounds(mean_difference=1e-9, agreement=1, batch_effect=0))
    settings = replace(QUICK, epochs=0.1, export=strict)
    report = distill(str(tiny_torch_folder), data, tmp_path / "out", student=Student(layers=(0,)), settings=settings)
    assert report.refused is not None
    assert "loses too much" in report.refused
    assert report.refused in (report.folder / "README.md").read_text(encoding="utf-8")
    assert not (report.folder / "onnx").exists()
    assert values(report.folder, "what", ("cat",), "torch")


def test_what_can_not_be_exported_costs_no_training(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """Too few pairs to verify an int8 form on are a reason to leave it out, not to lose the student."""
    few = TrainingData(data.train, [Group("how long", ("a cat", "a cat"))])
    settings = replace(QUICK, epochs=0.1)
    report = distill(str(tiny_torch_folder), few, tmp_path / "out", student=Student(layers=(0,)), settings=settings)
    assert report.refused
    assert values(report.folder, "what", ("cat",), "torch")


def test_a_teacher_with_an_int8_form_beside_its_weights_teaches_by_its_weights(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """A student can teach the next one: what judges that is the weights, not the int8 form that a CPU would load."""
    short = replace(QUICK, epochs=0.1)
    first = distill(str(tiny_torch_folder), data, tmp_path / "first", student=Student(layers=(0, 1)), settings=short)
    assert load_scorer(str(first.folder)).spec.fingerprint.startswith("onnx|")
    second = distill(str(first.folder), data, tmp_path / "second", student=Student(layers=(0,)), settings=short)
    assert second.manifest["teacher"]["fingerprint"].startswith("torch|")


@pytest.mark.parametrize("objective", ["mse", "margin-mse"])
def test_any_scorer_teaches_scores_and_is_asked_once(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path, objective: str
) -> None:
    """Without hidden states any kind will do; a second run with the same file of scores asks it for nothing."""
    settings = DistillSettings(
        objective=objective, hidden_weight=0, score_weight=1, epochs=1, evaluate_every=50, learning_rate=1e-3,
        precision="float32", export=LOOSE, progress=False,
    )  # type: ignore[arg-type]  # fmt: skip
    scores = tmp_path / "scores.sqlite"
    for run, asked in (("first", 560), ("second", 0)):
        teacher = Counting()
        student = Student(base=str(tiny_torch_folder), layers=(0,), freeze_word_embeddings=False)
        report = distill(teacher, data, tmp_path / run, student=student, settings=settings, scores=scores)
        assert len(teacher.asked) == asked
        assert report.manifest["teacher"]["name"] == "counting"


def test_a_scorer_alone_gives_no_base_and_no_hidden_states(data: TrainingData, tmp_path: Path) -> None:
    """Both are said before anything is done."""
    with pytest.raises(ConfigurationError, match="a student needs a base"):
        distill(Counting(), data, tmp_path / "out", settings=QUICK)


def test_hidden_states_need_a_teacher_with_weights(data: TrainingData, tiny_torch_folder: Path, tmp_path: Path) -> None:
    """A scorer has none to match; the error says which setting leaves them out."""
    with pytest.raises(ConfigurationError, match="hidden_weight=0"):
        distill(Counting(), data, tmp_path / "out", student=Student(base=str(tiny_torch_folder)), settings=QUICK)


def test_bad_data_stops_a_run_before_it_leaves_anything(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Empty data, leaks and texts longer than the model are found before the folder is made."""
    group, long = Group("what is it", ("a cat", "a dog")), Group("how long", ("cat " * 100,))
    other, wordy = Group("how old", ("a cat", "a dog")), Group("how far", ("a cat", "cat " * 100))
    for train, validation in (
        ([], [group]), ([group], []), ([group], [group]), ([long], [group]), ([other], [long]), ([group], [wordy])
    ):  # fmt: skip
        with pytest.raises(InputError):
            distill(str(tiny_torch_folder), TrainingData(train, validation), tmp_path / "out", settings=QUICK)
    assert not (tmp_path / "out").exists()


SCRIPT = """
import sys
from pathlib import Path
tests = Path(sys.argv[3])
sys.path[:0] = [str(tests), str(tests.parent)]
from secondpass.training import Student, TrainingData, distill, read_groups
from test_distill import LONGER
folder = Path(sys.argv[1])
data = TrainingData(read_groups(folder / "train.jsonl"), read_groups(folder / "validation.jsonl"))
distill(sys.argv[2], data, folder / "student", student=Student(layers=(1,)), settings=LONGER)
"""


def wait_for(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def complete(checkpoints: Path) -> list[int]:
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in checkpoints.glob("*/trainer_state.json"))


def test_a_killed_run_goes_on_from_its_last_evaluation(
    data: TrainingData, tiny_torch_folder: Path, tmp_path: Path
) -> None:
    """Called again, it takes up its last checkpoint, and ends with the weights of a run in one go."""
    arguments = [str(tmp_path), str(tiny_torch_folder), str(Path(__file__).parent)]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "student" / "checkpoints"
    wait_for(lambda: len(complete(checkpoints)) > 1 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    last = complete(checkpoints)[-1]
    resumed, whole = (
        distill(str(tiny_torch_folder), data, tmp_path / name, student=Student(layers=(1,)), settings=LONGER)
        for name in ("student", "whole")
    )
    steps = [entry["step"] for entry in resumed.manifest["training"]["history"]]
    assert last in steps[:-1]
    assert steps == [entry["step"] for entry in whole.manifest["training"]["history"]]
    group = data.validation[0]
    assert values(resumed.folder, group.query, group.texts, "torch") == pytest.approx(
        values(whole.folder, group.query, group.texts, "torch"), abs=1e-3
    )


def test_two_processes_share_the_work(data: TrainingData, tiny_torch_folder: Path, tmp_path: Path) -> None:
    """Under torchrun each process takes a share of the batches, and one of them writes the student."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    arguments = [script, tmp_path, tiny_torch_folder, Path(__file__).parent]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((tmp_path / "student" / "manifest.json").read_text())
    assert manifest["training"]["processes"] == 2
    assert manifest["training"]["epochs"] == pytest.approx(LONGER.epochs)
    assert manifest["measures"]["student"]["agreement"] > 0


def test_processes_know_of_each_other_before_the_trainer_is_made(tmp_path: Path) -> None:
    """What one of them prepares for all, the others wait for, with or without an accelerator."""
    script = tmp_path / "count.py"
    script.write_text(
        "from pathlib import Path\nfrom secondpass.training.trainer import processes\n"
        f"state = processes()\nPath({str(tmp_path)!r}, str(state.process_index)).write_text(str(state.num_processes))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / name).read_text() for name in ("0", "1")] == ["2", "2"]
