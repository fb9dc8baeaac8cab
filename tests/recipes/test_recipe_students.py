"""One command makes both students: mini from the teacher, nano from mini."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import WORDS, tiny_torch

from recipes import students
from secondpass import load_scorer

LAYERS = {"mini": 6, "nano": 3}


def write(path: Path, first: str, count: int) -> None:
    draw = random.Random(first)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            texts = [" ".join(draw.sample(WORDS, 8)) for _ in range(6)]
            file.write(json.dumps({"query": " ".join([first, *draw.sample(WORDS, 4)]), "texts": texts}) + "\n")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["students", *arguments])
    students.main()


def manifest(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return read


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the command's arguments for a tiny teacher of 12 layers, the recipes' settings shortened."""
    write(tmp_path / "train.jsonl", "what", 24)
    write(tmp_path / "validation.jsonl", "how", 12)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    tiny_torch(teacher, layers=12)
    short = {
        name: replace(recipe, settings=replace(recipe.settings, epochs=0.5, max_length=64, progress=False))
        for name, recipe in students.RECIPES.items()
    }
    monkeypatch.setattr(students, "RECIPES", short)
    return ["--corpus", str(tmp_path), "--teacher", str(teacher), "--out", str(tmp_path / "models")]


def test_both_are_made_each_from_the_one_before(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six layers of the teacher's twelve, then three of those six; both open, and each card has its name."""
    run(monkeypatch, *arguments)
    for name, layers in LAYERS.items():
        folder = tmp_path / "models" / name
        assert manifest(folder)["base"]["layers"] == layers
        assert f"\n# {name}\n" in (folder / "README.md").read_text(encoding="utf-8")
        assert load_scorer(str(folder)).score("what is it", ["it is a fox"])
    assert manifest(tmp_path / "models" / "nano")["base"]["name"] == "mini"


def test_what_is_made_stays_and_the_rest_is_made(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--only`` makes that one; the whole command goes on from there, also after a kill between the two."""
    run(monkeypatch, *arguments, "--only", "mini")
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()] == ["mini"]
    made = manifest(tmp_path / "models" / "mini")
    run(monkeypatch, *arguments)
    assert manifest(tmp_path / "models" / "mini") == made
    assert manifest(tmp_path / "models" / "nano")["base"]["name"] == "mini"


def test_a_second_corpus_is_learned_from_and_the_first_judges(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two corpora teach together, for as many epochs as asked; validation stays that of the first alone."""
    second = tmp_path / "second"
    second.mkdir()
    write(second / "train.jsonl", "why", 10)
    arguments.insert(2, str(second))
    run(monkeypatch, *arguments, "--only", "mini", "--epochs", "0.25")
    told = manifest(tmp_path / "models" / "mini")
    assert (told["data"]["train"]["groups"], told["data"]["validation"]["groups"]) == (34, 2)
    assert told["settings"]["epochs"] == 0.25
