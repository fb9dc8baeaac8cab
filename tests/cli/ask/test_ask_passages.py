"""What ``ask`` searches: a folder's files in passages that lose no line, and Python's reference."""

import builtins
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass.errors import ConfigurationError

pytest.importorskip("typer", reason="the extra cli isn't installed")
from secondpass.cli.ask.passages import LONGEST, python_reference, read_folder, split_file, split_topic


def words(text: str) -> list[str]:
    return text.split()


def texts(topic: str) -> list[str]:
    return list(split_topic(topic))


def test_reference_is_cut_into_passages_of_useful_length() -> None:
    """No passage is longer than the limit, and nearly all are a few hundred characters."""
    lengths = [len(text) for text in python_reference().values()]
    assert len(lengths) > 300
    assert max(lengths) <= LONGEST
    assert sum(length < 200 for length in lengths) < len(lengths) / 10


def test_same_passages_each_time_with_topic_and_number_as_id() -> None:
    """The corpus is deterministic, and its ids name the topic and a number in it, from 1."""
    assert list(python_reference().items()) == list(python_reference().items())
    assert next(iter(python_reference())).endswith("#1")
    assert {"with#1", "with#2"} <= python_reference().keys()


def test_no_word_is_lost_and_headings_lead_each_passage() -> None:
    """Every word of a topic comes out, in order; a section's heading opens each of its passages."""
    body = "\n\n".join(f"Paragraph {number} says something.  " + "It goes on. " * 20 for number in range(6))
    passages = texts(f"Title\n*****\n\n{body}\n\nOther\n=====\n\nLast words.\n")
    assert [passage.partition("\n\n")[0] for passage in passages] == ["Title"] * (len(passages) - 1) + ["Other"]
    found = [word for passage in passages for word in words(passage.partition("\n\n")[2])]
    assert found == [*words(body), "Last", "words."]


def test_long_paragraph_is_cut_at_sentence_ends() -> None:
    """A paragraph over the limit is cut between sentences."""
    passages = texts("This is one sentence of many. " * 60)
    assert len(passages) > 1
    assert all(passage.endswith("many.") for passage in passages)


def test_block_without_sentences_is_cut_at_line_ends() -> None:
    """A table or a grammar over the limit is cut between lines, and a line over the limit at the longest length."""
    lines = texts("\n".join(f"rule_{number:03} ::= item" for number in range(100)))
    assert all(passage.startswith("rule_") and passage.endswith("item") for passage in lines)
    assert [len(passage) for passage in texts("x" * (LONGEST + 10))] == [LONGEST, 10]


def test_definition_stays_with_what_it_defines() -> None:
    """A signature, or the line before an example, never ends a passage."""
    text = ("Filler sentence. " * 30).rstrip() + "\n\nobject.method(self)\n\n   " + "Does things. " * 20
    assert texts(text)[-1].startswith("object.method(self)\n\n   Does things.")


@pytest.mark.parametrize("text", ["", "\n\n", "Title\n*****\n"])
def test_topic_without_text_gives_no_passage(text: str) -> None:
    """An empty topic or section is left out."""
    assert texts(text) == []


def test_python_without_its_reference_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slim Python without pydoc_data gets an error that says what to do."""
    monkeypatch.delitem(sys.modules, "pydoc_data.topics", raising=False)
    original = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return original(name, *rest, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match="complete Python"):
        python_reference()


@given(st.text(st.sampled_from("ab .#\n`é~"), max_size=3000) | st.just("x" * 5000) | st.just("word " * 3000))
def test_passages_of_files_are_bounded_and_lose_nothing(text: str) -> None:
    """No passage is longer than the limit, none is blank, and all that is no blank is in one, in its order."""
    for suffix in (".md", ".txt"):
        passages = list(split_file(text, suffix))
        assert all(passage.strip() and len(passage) <= LONGEST for passage in passages)
        found = iter("".join("".join(passages).split()))
        assert all(character in found for character in "".join(text.split()))


def test_lines_with_a_hash_in_a_text_file_are_lines() -> None:
    """Only Markdown has headings: a configuration file's comments are its text."""
    text = "# keyserver options\n#keyserver hkps://example.org\n\n# charset\ncharset utf-8\n"
    assert list(split_file(text, ".txt")) == [text.strip()]


def test_headings_lead_each_passage_of_their_section() -> None:
    """Headings that follow each other are together, and are repeated where their section is cut."""
    body = "\n\n".join(f"Paragraph {number} says something. " + "It goes on. " * 20 for number in range(6))
    passages = list(split_file(f"Before.\n\n# Title\n\n## Part ##\n{body}\n\n# Last\n", ".md"))
    assert passages[0] == "Before."
    assert len(passages) > 4
    assert all(passage.startswith("# Title\n\n## Part ##\n\nParagraph") for passage in passages[1:-1])
    assert passages[-1] == "# Last"


def test_a_heading_that_is_too_long_to_repeat_is_text() -> None:
    """A paragraph behind a hash stays, once."""
    heading = "# " + "word " * 100
    passages = list(split_file(f"{heading}\n\n" + "It goes on. " * 200, ".md"))
    assert len(passages) > 2
    assert sum("word" in passage for passage in passages) == 1


def test_headings_in_code_blocks_are_code() -> None:
    """A line that begins with # in a fenced block belongs to the block."""
    text = "# Title\n\n```sh\n# a comment\nls\n```\n\n## Next\n\nmore\n"
    assert list(split_file(text, ".md")) == ["# Title\n\n```sh\n# a comment\nls\n```", "## Next\n\nmore"]


def test_every_line_of_this_projects_pages_is_in_a_passage() -> None:
    """Of real Markdown files every line is found, at most cut between two passages that follow each other."""
    pages = [*(Path(__file__).parents[3] / "docs" / "how_to").glob("*.md")]
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        flat = [" ".join(passage.split()) for passage in split_file(text, ".md")]
        flat += [f"{first} {second}" for first, second in pairwise(flat)]
        lines = (" ".join(line.split()) for line in text.splitlines())
        assert [line for line in lines if len(line) < LONGEST and not any(line in passage for passage in flat)] == []


def test_files_that_are_not_read_are_named_with_the_reason(tmp_path: Path) -> None:
    """A file of another kind, in another encoding, empty, binary, a pipe or a broken link stops nothing."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "good.md").write_text("\ufeffGood.", encoding="utf-8")
    (tmp_path / "GOOD.TXT").write_text("Loud.")
    (tmp_path / ".hidden.md").write_text("hidden")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "latin.txt").write_bytes("größe".encode("latin-1"))
    (tmp_path / "sub" / "empty.md").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    corpus = read_folder(tmp_path)
    assert corpus.passages == {"GOOD.TXT#1": "Loud.", "sub/good.md#1": "Good."}
    assert corpus.skipped == {
        "binary.txt": "binary",
        "gone.md": "not a regular file",
        "latin.txt": "not in UTF-8",
        "paper.pdf": "not named .md, .markdown, .rst, .text, .txt",
        "pipe.txt": "not a regular file",
        "sub/empty.md": "empty",
    }


def test_a_folder_or_file_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is skipped with the system's words."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "file.md").write_text("text")
    scandir = os.scandir

    def refuse(path: object, *rest: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) if "locked" in str(path) else scandir(path))
    monkeypatch.setattr(Path, "read_text", refuse)
    assert read_folder(tmp_path).skipped == {"file.md": "Permission denied", "locked": "Permission denied"}


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    """The file is read, and its name can be printed and stored."""
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb") as file:  # noqa: PTH123  # a name of bytes
        file.write(b"A red fox.")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.pdf", "wb"):  # noqa: PTH123  # as above
        pass
    corpus = read_folder(tmp_path)
    assert corpus.passages == {"caf\\xe9.txt#1": "A red fox."}
    assert list(corpus.skipped) == ["caf\\xe9.pdf"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    """A link to the folder itself doesn't lead in circles."""
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(read_folder(tmp_path).passages) == ["a.md#1"]
