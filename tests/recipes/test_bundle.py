"""What goes into the package: a student's int8 form, a card that names its texts, a manifest of what is there."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import WORDS

from recipes.bundle import RESTORED, TEACHER, WEIGHTS, bundle, texts
from secondpass import load_scorer
from secondpass.errors import ModelError
from secondpass.optimize import OptimizeSettings
from secondpass.optimize.records import Bounds
from secondpass.training import About, DistillSettings, Group, Student, TrainingData, distill

CORPUS = {
    "sources": [
        {"data set": "SciFact, training claims", "licence": "CC BY 4.0"},
        {"package": "git-doc", "version": "1:2.39", "licence": "GPL-2"},
        {"package": "harden-doc", "version": "3.19", "licence": "GPL-2"},
        {"package": "git-doc", "version": "1:2.39", "licence": "GPL-2"},
    ]
}
COARSE = OptimizeSettings(int8=Bounds(mean_difference=0.5, agreement=0.5, batch_effect=0.02))  # 32 wide


def groups(first: str, count: int) -> list[Group]:
    draw = random.Random(first)
    return [
        Group(" ".join([first, *draw.sample(WORDS, 4)]), tuple(" ".join(draw.sample(WORDS, 8)) for _ in range(6)))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def trained(tiny_torch_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a short distillation from a local folder left."""
    out = tmp_path_factory.mktemp("students") / "mini"
    settings = DistillSettings(epochs=0.5, evaluate_every=5, batch_tokens=256, export=COARSE, progress=False)
    distill(
        str(tiny_torch_folder),
        TrainingData(groups("what", 30), groups("how", 6)),
        out,
        student=Student(layers=(0,), match=(1,)),
        settings=settings,
        about=About(name="mini", license="apache-2.0", notes="A note."),
    )
    return out


@pytest.fixture
def student(trained: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "student")


def manifest(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return read


def test_the_bundled_folder_scores_as_the_students_int8_form(student: Path, tmp_path: Path) -> None:
    """What lies in the package is the int8 form itself, with card and manifest and nothing else."""
    bundle(student, CORPUS, tmp_path / "out", restored=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*WEIGHTS, "README.md", "manifest.json"}
    before, after = (load_scorer(str(folder)) for folder in (student / "onnx", tmp_path / "out"))
    assert after.score(WORDS[0], WORDS) == before.score(WORDS[0], WORDS)


def test_the_manifest_records_the_files_that_are_there(student: Path, tmp_path: Path) -> None:
    """Each file's checksum is that of the file beside the manifest; what the run recorded otherwise stays."""
    bundle(student, CORPUS, tmp_path / "out", restored=True)
    told = manifest(tmp_path / "out")
    assert told["files"] == {
        file: hashlib.sha256((tmp_path / "out" / file).read_bytes()).hexdigest() for file in WEIGHTS
    }
    assert {key: told[key] for key in ("settings", "data", "measures")} == {
        key: manifest(student)[key] for key in ("settings", "data", "measures")
    }


def test_a_teacher_in_a_folder_gets_its_published_name(student: Path, tmp_path: Path) -> None:
    """Card and manifest name the teacher as the hub does, and say how its weights were obtained."""
    folder = manifest(student)["teacher"]["name"]
    bundle(student, CORPUS, tmp_path / "out", restored=True)
    told = manifest(tmp_path / "out")
    assert (told["teacher"]["name"], told["teacher"]["weights"], told["base"]["name"]) == (TEACHER, RESTORED, TEACHER)
    assert folder not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_teacher_from_the_hub_keeps_its_name(student: Path, tmp_path: Path) -> None:
    """Where the run was given a hub id, nothing was restored and nothing is renamed."""
    told = manifest(student)
    told["teacher"]["name"] = "someone/reranker"
    (student / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    bundle(student, CORPUS, tmp_path / "out")
    assert manifest(tmp_path / "out")["teacher"] == told["teacher"]


def test_a_folder_that_nobody_can_name_is_not_bundled(student: Path, tmp_path: Path) -> None:
    """Unless it is said that the folder was restored from the published graph, the card would have to guess."""
    with pytest.raises(ModelError, match="must name the teacher as it was published"):
        bundle(student, CORPUS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_folder_of_the_makers_machine_is_told(student: Path, tmp_path: Path) -> None:
    """A student made from another one names that one, not where it lay."""
    told = manifest(student)
    told["student"]["base"] = str(tmp_path / "models" / "mini")
    (student / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    bundle(student, CORPUS, tmp_path / "out", restored=True)
    assert manifest(tmp_path / "out")["student"]["base"] == "mini"
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")


def test_the_card_names_every_text_under_its_licence(student: Path, tmp_path: Path) -> None:
    """Each source stands once in the card, with its version where it has one."""
    bundle(student, CORPUS, tmp_path / "out", restored=True)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert card.endswith(texts(CORPUS["sources"]))
    assert "- CC BY 4.0: SciFact, training claims\n- GPL-2: git-doc 1:2.39, harden-doc 3.19\n" in card
    assert "`model.onnx`, " in card


def test_what_was_bundled_before_is_replaced(student: Path, tmp_path: Path) -> None:
    """Nothing of an older model stays behind."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.bin").write_bytes(b"old")
    bundle(student, CORPUS, tmp_path / "out", restored=True)
    assert not (tmp_path / "out" / "old.bin").exists()


def test_a_student_whose_int8_form_was_refused_is_not_bundled(student: Path, tmp_path: Path) -> None:
    """There is nothing to bundle, and the error gives the run's reason."""
    told = manifest(student) | {"int8": {"accepted": False, "reason": "it lost 0.9 logit"}}
    (student / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ModelError, match=r"no int8 form to bundle: it lost 0\.9 logit"):
        bundle(student, CORPUS, tmp_path / "out", restored=True)


def test_a_graph_that_the_run_did_not_leave_is_not_bundled(student: Path, tmp_path: Path) -> None:
    """A file that was changed since is found before anything is replaced."""
    (student / "onnx" / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="isn't the file that its manifest records"):
        bundle(student, CORPUS, tmp_path / "out", restored=True)
    assert not (tmp_path / "out").exists()
