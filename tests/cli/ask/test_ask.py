"""``secondpass ask`` on small folders: real Chroma, a stand-in for the bi-encoder, shared words as the model."""

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
pytest.importorskip("chromadb", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass.cli import app
from secondpass.cli import ask as command

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class LetterEncoder:
    """Counts letters in place of the bi-encoder, and how many passages it embeds."""

    fingerprint = "letters"
    embedded: list[str] = []  # noqa: RUF012  # reset by the fixture

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def embed_query(self, question: str) -> Any:
        return np.array([question.count(letter) + 0.1 for letter in LETTERS])

    def embed_passages(self, texts: Sequence[str]) -> Any:
        self.embedded.extend(texts)
        return np.stack([self.embed_query(text) for text in texts])


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDPASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "fetch_bi_encoder", lambda cache, _report: cache)
    monkeypatch.setattr(command, "BiEncoder", LetterEncoder)
    monkeypatch.setattr(LetterEncoder, "embedded", [])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Return a folder with notes, and files of other kinds."""
    folder = tmp_path / "notes"
    (folder / "animals").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("hidden red fox")
    (folder / "animals" / "fox.md").write_text("# Foxes\n\nA red fox sleeps by day.\n\n## Food\n\nIt eats mice.\n")
    (folder / "whale.txt").write_text("A blue whale sings.")
    (folder / "paper.pdf").write_bytes(b"%PDF-1.7")
    (folder / "latin.txt").write_bytes("größe".encode("latin-1"))
    (folder / "empty.md").write_text("\n")
    return folder


def ask(folder: Path, question: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["ask", question, str(folder), "--model", "overlap", *arguments])


def test_the_context_goes_to_stdout_and_the_reasons_to_stderr(notes: Path) -> None:
    """The best passage is the context; stderr has the index, what was dropped, and what was skipped."""
    result = ask(notes, "red fox")
    assert result.exit_code == 0
    assert result.stdout == "# Foxes\n\nA red fox sleeps by day.\n"
    assert f"3 passages of {notes}, 3 embedded now" in " ".join(result.stderr.split())
    assert "skipped, not named .md, .markdown, .rst, .text, .txt: paper.pdf\n" in result.stderr
    assert "skipped, not in UTF-8: latin.txt\n" in result.stderr
    assert "animals/fox.md#1  # Foxes A red fox" in result.stderr
    assert "dropped 2: 2 below threshold" in result.stderr


def test_json_has_ranking_context_and_index(notes: Path) -> None:
    """``--json`` prints one object, with the file of each passage as its source."""
    answer = json.loads(ask(notes, "red fox", "--json").stdout)
    assert answer["context"] == "# Foxes\n\nA red fox sleeps by day."
    assert [(item["id"], item["source"]) for item in answer["kept"]] == [("animals/fox.md#1", "animals/fox.md")]
    assert answer["index"] == {
        "corpus": str(notes),
        "passages": 3,
        "embedded": 3,
        "skipped": {
            "empty.md": "empty",
            "latin.txt": "not in UTF-8",
            "paper.pdf": "not named .md, .markdown, .rst, .text, .txt",
        },
    }
    facts = answer["stages"][-1]["facts"]
    assert (facts["max_tokens"], facts["counter"]) == (1500, "estimate")


def test_later_runs_embed_what_changed(notes: Path) -> None:
    """The index is kept: a second run embeds nothing, a changed file is embedded anew, and a deleted one is removed."""
    first = ask(notes, "red fox")
    assert len(LetterEncoder.embedded) == 3
    assert "embedding new and changed passages ...\n" in first.stderr
    again = ask(notes, "red fox")
    assert "0 embedded now" in " ".join(again.stderr.split())
    assert "..." not in again.stderr.partition("red fox")[0]
    (notes / "animals" / "fox.md").write_text("The grey fox climbs trees.")
    (notes / "whale.txt").unlink()
    answer = json.loads(ask(notes, "grey fox", "--json").stdout)
    assert LetterEncoder.embedded[3:] == ["The grey fox climbs trees."]
    assert len(answer["kept"]) + len(answer["dropped"]) == 1
    assert answer["context"] == "The grey fox climbs trees."


def test_without_a_folder_the_python_reference_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question goes to the reference, and without one the example is asked; both have one index."""
    reference = {"try#1": "an exception is raised inside a finally block", "with#1": "blue whales sing"}
    monkeypatch.setattr(command, "python_reference", lambda: reference)
    result = CliRunner().invoke(app, ["ask", "--model", "overlap"])
    assert result.exit_code == 0
    assert result.stdout == reference["try#1"] + "\n"
    assert command.EXAMPLE in result.stderr
    assert "2 passages of the language reference of Python 3." in result.stderr
    asked = CliRunner().invoke(app, ["ask", "blue whales", "--model", "overlap", "--json"])
    assert json.loads(asked.stdout)["context"] == "blue whales sing"
    assert len(LetterEncoder.embedded) == 2


def test_many_skipped_files_are_counted_and_the_first_named(notes: Path) -> None:
    """Of each reason five files are named, whatever bytes their names have."""
    for number in range(7):
        (notes / f"picture{number}.png").touch()
    with open(os.fsencode(notes) + b"/caf\xe9.md", "wb") as file:  # noqa: PTH123  # a name of bytes
        file.write(b"A red fox in a cafe.")
    result = ask(notes, "fox cafe")
    assert result.exit_code == 0
    lines = " ".join(result.stderr.split())
    assert "skipped, not named .md, .markdown, .rst, .text, .txt: paper.pdf, picture0.png" in lines
    assert "picture3.png and 3 more" in lines
    assert "picture4" not in lines
    assert "caf\\xe9.md#1" in lines


def test_two_folders_have_an_index_each(notes: Path, tmp_path: Path) -> None:
    """Another folder's passages are never returned."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.md").write_text("A red fox in another folder.")
    ask(notes, "red fox")
    for folder, count in ((other, 1), (notes, 3)):
        answer = json.loads(ask(folder, "red fox", "--json").stdout)
        assert len(answer["kept"]) + len(answer["dropped"]) == count


def test_nothing_relevant_is_exit_code_1(notes: Path) -> None:
    """Where no passage passes the threshold, stdout stays empty."""
    result = ask(notes, "unrelated")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no passage is relevant" in result.stderr


def test_a_configuration_states_model_and_budget(notes: Path, tmp_path: Path) -> None:
    """``--config`` replaces the command's own defaults."""
    config = tmp_path / "c.toml"
    config.write_text('[model]\nname = "overlap"\n[selection]\ntop_n = 2\n[budget]\nmax_tokens = 30\n')
    result = CliRunner().invoke(app, ["ask", "red fox", str(notes), "--config", str(config), "--json"])
    answer = json.loads(result.stdout)
    assert (len(answer["kept"]), answer["stages"][-1]["facts"]["max_tokens"]) == (2, 30)


def test_a_terminal_of_40_columns(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables fit a narrow terminal, and the context isn't wrapped."""
    monkeypatch.setenv("COLUMNS", "40")
    (notes / "long.md").write_text("The red fox " + "runs " * 20)
    result = ask(notes, "red fox")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) > 100
    assert max(map(len, result.stderr.splitlines())) <= 40


@pytest.mark.parametrize(
    ("folder", "question", "arguments", "message"),
    [
        ("notes", " ", [], "the question must hold words"),
        ("missing", "fox", [], "must be a folder with text files"),
        ("notes/.git/hooks", "fox", [], "must be a folder with text files"),
        ("papers", "fox", [], "has none; skipped, not named"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    notes: Path, folder: str, question: str, arguments: list[str], message: str
) -> None:
    """Errors are one line on stderr, and the exit code is 2."""
    papers = notes.parent / "papers"
    papers.mkdir()
    (notes / "paper.pdf").rename(papers / "paper.pdf")
    result = ask(notes.parent / folder, question, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_candidates_are_a_wrong_option(notes: Path) -> None:
    """A number below 1 is refused as other wrong options are."""
    result = ask(notes, "red fox", "--candidates", "0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--candidates" in result.stderr


def test_a_cache_folder_that_cannot_be_written_is_one_line(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index can't be kept, the error names its folder."""
    (notes.parent / "file").touch()
    monkeypatch.setenv("SECONDPASS_CACHE", str(notes.parent / "file"))
    result = ask(notes, "red fox")
    assert result.exit_code == 2
    assert "file/index can't be used" in result.stderr


@pytest.mark.parametrize("package", ["chromadb", "platformdirs"])
def test_missing_package_names_the_extra(notes: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without the vector store or the cache folder's library, the error prints the exact install line."""
    monkeypatch.delenv("SECONDPASS_CACHE", raising=False)
    monkeypatch.setattr("secondpass.errors.find_spec", lambda name: None if name == package else find_spec(name))
    result = ask(notes, "red fox")
    assert result.exit_code == 2
    assert f"needs {package}" in result.stderr
    assert 'pip install "secondpass[cli]"' in result.stderr
