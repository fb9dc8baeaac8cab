"""``secondpass ask`` on small folders: real Chroma, a stand-in for the bi-encoder, shared words as the model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
pytest.importorskip("chromadb", reason="the extra demo isn't installed")
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from secondpass.cli import app
from secondpass.cli.ask import run
from secondpass.cli.ask.files import split_text, text_files
from secondpass.samples import bi_encoder
from secondpass.samples.corpus import LONGEST

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
    monkeypatch.setattr(run, "fetch_bi_encoder", lambda cache, _report: cache)
    monkeypatch.setattr(bi_encoder, "BiEncoder", LetterEncoder)
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
    return CliRunner().invoke(app, ["ask", str(folder), question, "--model", "overlap", *arguments])


def test_the_context_goes_to_stdout_and_the_reasons_to_stderr(notes: Path) -> None:
    """The best passage is the context; stderr has the index, what was dropped, and what isn't supported."""
    result = ask(notes, "red fox")
    assert result.exit_code == 0
    assert result.stdout == "Foxes\n\nA red fox sleeps by day.\n"
    assert "2 files, 3 passages (2 files embedded now, 0 removed)" in result.stderr
    skipped = " ".join(result.stderr.split())
    assert all(part in skipped for part in ("skipped 3 unsupported files", "1 .pdf", "1 unreadable", "1 empty"))
    assert "below threshold" in result.stderr


def test_json_has_ranking_context_and_index(notes: Path) -> None:
    """``--json`` prints one object, with the file of each passage as its source."""
    answer = json.loads(ask(notes, "red fox", "--json").stdout)
    assert answer["context"] == "Foxes\n\nA red fox sleeps by day."
    assert [(item["id"], item["source"]) for item in answer["kept"]] == [("animals/fox.md#1", "animals/fox.md")]
    assert answer["index"] == {
        "files": 2,
        "skipped": {".pdf": 1, "empty": 1, "unreadable or not in UTF-8": 1},
        "passages": 3,
        "embedded_files": 2,
        "removed_files": 0,
    }
    facts = answer["stages"][-1]["facts"]
    assert (facts["max_tokens"], facts["counter"]) == (1500, "estimate")


def test_later_runs_embed_what_changed(notes: Path) -> None:
    """The index is kept: a second run embeds nothing, a changed file is embedded anew, and a deleted one is removed."""
    ask(notes, "red fox")
    assert len(LetterEncoder.embedded) == 3
    assert json.loads(ask(notes, "red fox", "--json").stdout)["index"]["embedded_files"] == 0
    assert len(LetterEncoder.embedded) == 3
    (notes / "animals" / "fox.md").write_text("The grey fox climbs trees.")
    (notes / "whale.txt").unlink()
    answer = json.loads(ask(notes, "grey fox", "--json").stdout)
    assert LetterEncoder.embedded[3:] == ["The grey fox climbs trees."]
    assert (answer["index"]["passages"], answer["index"]["removed_files"]) == (1, 1)
    assert answer["context"] == "The grey fox climbs trees."


def test_a_file_whose_passages_were_cut_off_by_a_kill_is_embedded_again(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that died between two groups of passages leaves an incomplete file, which the next run completes."""
    from secondpass.cli.ask import index

    monkeypatch.setattr(index, "_GROUP", 1)
    written: list[object] = []
    write = index.FolderIndex._write

    def dies(self: Any, group: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(group)
        write(self, group)

    with monkeypatch.context() as patch:
        patch.setattr(index.FolderIndex, "_write", dies)
        ask(notes, "red fox")
    answer = json.loads(ask(notes, "red fox", "--json").stdout)
    assert answer["index"]["passages"] == 3
    assert answer["context"].startswith("Foxes")


def test_two_folders_have_an_index_each(notes: Path, tmp_path: Path) -> None:
    """Another folder's passages are never returned."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.md").write_text("A red fox in another folder.")
    ask(notes, "red fox")
    assert json.loads(ask(other, "red fox", "--json").stdout)["index"]["passages"] == 1
    assert json.loads(ask(notes, "red fox", "--json").stdout)["index"]["passages"] == 3


def test_nothing_relevant_is_exit_code_1(notes: Path) -> None:
    """Where no passage passes the threshold, stdout stays empty."""
    result = ask(notes, "unrelated")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no passage is relevant" in result.stderr


def test_a_configuration_states_model_and_budget(notes: Path, tmp_path: Path) -> None:
    """``--config`` replaces the command's own defaults."""
    config = tmp_path / "c.toml"
    config.write_text('[model]\nname = "overlap"\n[selection]\ntop_k = 2\n[budget]\nmax_tokens = 30\n')
    result = CliRunner().invoke(app, ["ask", str(notes), "red fox", "--config", str(config), "--json"])
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
        ("missing", "fox", [], "FOLDER must be a folder"),
        ("notes/.git/hooks", "fox", [], "FOLDER must be a folder"),
        ("papers", "fox", [], "has none; skipped 1 unsupported files: 1 .pdf"),
        ("notes", "fox", ["--candidates", "0"], "--candidates must be 1 or more"),
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


def test_a_cache_folder_that_cannot_be_written_is_one_line(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index can't be kept, the error names its folder."""
    (notes.parent / "file").touch()
    monkeypatch.setenv("SECONDPASS_CACHE", str(notes.parent / "file"))
    result = ask(notes, "red fox")
    assert result.exit_code == 2
    assert "file/folders can't be used" in result.stderr


@given(st.text(st.sampled_from("ab .#\n`é"), max_size=3000) | st.just("x" * 5000) | st.just("word " * 3000))
def test_passages_are_bounded_and_lose_no_letters(text: str) -> None:
    """No passage is longer than the limit, none is blank, and every letter below a heading is in one."""
    passages = list(split_text(text))
    assert all(passage.strip() and len(passage) <= LONGEST for passage in passages)
    body = "".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = "".join(passages)
    assert all(joined.count(letter) >= body.count(letter) for letter in "abx")


def test_headings_in_code_blocks_are_code() -> None:
    """A line that begins with # in a fenced block belongs to the block."""
    text = "# Title\n\n```sh\n# a comment\nls\n```\n\n## Next ##\n\nmore\n"
    assert list(split_text(text)) == ["Title\n\n```sh\n# a comment\nls\n```", "Next\n\nmore"]


def test_links_to_folders_are_not_followed(notes: Path) -> None:
    """A link to the folder itself doesn't lead in circles."""
    (notes / "loop").symlink_to(notes)
    assert list(text_files(notes).digests) == ["whale.txt", "animals/fox.md"]
