"""The demo's corpus: Python's reference in passages that can stand alone."""

import builtins
import sys

import pytest

from secondpass.demo.corpus import LONGEST, python_reference, split_topics
from secondpass.errors import ConfigurationError


def words(text: str) -> list[str]:
    return text.split()


def test_reference_is_cut_into_passages_of_useful_length() -> None:
    """No passage is longer than the limit, and nearly all are a few hundred characters."""
    lengths = [len(passage.text) for passage in python_reference()]
    assert len(lengths) > 300
    assert max(lengths) <= LONGEST
    assert sum(length < 200 for length in lengths) < len(lengths) / 10


def test_same_passages_each_time_with_unique_ids() -> None:
    """The corpus is deterministic, and its ids name the topic and a number in it."""
    first = python_reference()
    assert first == python_reference()
    assert len({passage.id for passage in first}) == len(first)
    assert all(passage.id.startswith(f"{passage.topic}#") for passage in first)


def test_no_word_is_lost_and_headings_lead_each_passage() -> None:
    """Every word of a topic comes out, in order; a section's heading opens each of its passages."""
    body = "\n\n".join(f"Paragraph {number} says something.  " + "It goes on. " * 20 for number in range(6))
    passages = split_topics({"topic": f"Title\n*****\n\n{body}\n\nOther\n=====\n\nLast words.\n"})
    assert [passage.text.partition("\n\n")[0] for passage in passages] == ["Title"] * (len(passages) - 1) + ["Other"]
    told = [word for passage in passages for word in words(passage.text.partition("\n\n")[2])]
    assert told == [*words(body), "Last", "words."]


def test_long_paragraph_is_cut_at_sentence_ends() -> None:
    """A paragraph over the limit is cut between sentences."""
    passages = split_topics({"t": "This is one sentence of many. " * 60})
    assert len(passages) > 1
    assert all(passage.text.endswith("many.") for passage in passages)


def test_block_without_sentences_is_cut_at_line_ends() -> None:
    """A table or a grammar over the limit is cut between lines, and a line over the limit where the room ends."""
    lines = split_topics({"t": "\n".join(f"rule_{number:03} ::= item" for number in range(100))})
    assert all(passage.text.startswith("rule_") and passage.text.endswith("item") for passage in lines)
    assert [len(passage.text) for passage in split_topics({"t": "x" * (LONGEST + 10)})] == [LONGEST, 10]


def test_definition_stays_with_what_it_defines() -> None:
    """A signature, or the line before an example, never ends a passage."""
    text = ("Filler sentence. " * 30).rstrip() + "\n\nobject.method(self)\n\n   " + "Does things. " * 20
    assert split_topics({"t": text})[-1].text.startswith("object.method(self)\n\n   Does things.")


@pytest.mark.parametrize("text", ["", "\n\n", "Title\n*****\n"])
def test_topic_without_text_gives_no_passage(text: str) -> None:
    """An empty topic or section is left out."""
    assert split_topics({"t": text}) == ()


def test_python_without_its_reference_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slim Python without pydoc_data is told so, with what to do."""
    monkeypatch.delitem(sys.modules, "pydoc_data.topics", raising=False)
    original = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return original(name, *rest, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match="complete Python"):
        python_reference()
