"""The demo's corpus: Python's reference in passages that can stand alone."""

import builtins
import sys

import pytest

from secondpass.errors import ConfigurationError
from secondpass.samples.corpus import LONGEST, python_reference, split_topics


def words(text: str) -> list[str]:
    return text.split()


def texts(topics: dict[str, str]) -> list[str]:
    return list(split_topics(topics).values())


def test_reference_is_cut_into_passages_of_useful_length() -> None:
    """No passage is longer than the limit, and nearly all are a few hundred characters."""
    lengths = [len(text) for text in python_reference().values()]
    assert len(lengths) > 300
    assert max(lengths) <= LONGEST
    assert sum(length < 200 for length in lengths) < len(lengths) / 10


def test_same_passages_each_time_with_topic_and_number_as_id() -> None:
    """The corpus is deterministic, and its ids name the topic and a number in it, from 1."""
    assert list(python_reference().items()) == list(python_reference().items())
    assert list(split_topics({"with": "Text.", "del": "One.\n\nTwo."})) == ["del#1", "with#1"]
    assert "with#1" in python_reference()


def test_no_word_is_lost_and_headings_lead_each_passage() -> None:
    """Every word of a topic comes out, in order; a section's heading opens each of its passages."""
    body = "\n\n".join(f"Paragraph {number} says something.  " + "It goes on. " * 20 for number in range(6))
    passages = texts({"topic": f"Title\n*****\n\n{body}\n\nOther\n=====\n\nLast words.\n"})
    assert [passage.partition("\n\n")[0] for passage in passages] == ["Title"] * (len(passages) - 1) + ["Other"]
    found = [word for passage in passages for word in words(passage.partition("\n\n")[2])]
    assert found == [*words(body), "Last", "words."]


def test_long_paragraph_is_cut_at_sentence_ends() -> None:
    """A paragraph over the limit is cut between sentences."""
    passages = texts({"t": "This is one sentence of many. " * 60})
    assert len(passages) > 1
    assert all(passage.endswith("many.") for passage in passages)


def test_block_without_sentences_is_cut_at_line_ends() -> None:
    """A table or a grammar over the limit is cut between lines, and a line over the limit at the longest length."""
    lines = texts({"t": "\n".join(f"rule_{number:03} ::= item" for number in range(100))})
    assert all(passage.startswith("rule_") and passage.endswith("item") for passage in lines)
    assert [len(passage) for passage in texts({"t": "x" * (LONGEST + 10)})] == [LONGEST, 10]


def test_definition_stays_with_what_it_defines() -> None:
    """A signature, or the line before an example, never ends a passage."""
    text = ("Filler sentence. " * 30).rstrip() + "\n\nobject.method(self)\n\n   " + "Does things. " * 20
    assert texts({"t": text})[-1].startswith("object.method(self)\n\n   Does things.")


@pytest.mark.parametrize("text", ["", "\n\n", "Title\n*****\n"])
def test_topic_without_text_gives_no_passage(text: str) -> None:
    """An empty topic or section is left out."""
    assert texts({"t": text}) == []


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
