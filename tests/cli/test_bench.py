"""``secondpass bench``: measures by hand, workloads, and the whole command on a few candidates."""

import json
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass.cli import app
from secondpass.cli.bench.measure import Cell, Workload, kendall, model_flops, ndcg, open_sides, peak_memory, run
from secondpass.cli.bench.page import advice
from secondpass.cli.bench.sides import Side, all_sides
from secondpass.cli.bench.workloads import Topic, tasks, topics_of
from secondpass.errors import ConfigurationError

TOPICS = [Topic("one", ("a b c", "d e"), {0: 2, 1: 1}), Topic("two", ("f", "g h"), {0: 0, 1: 1})]


def count_words(texts: object) -> list[int]:
    """Count each text's words."""
    return [len(text.split()) for text in texts]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("order", "tau"), [([0, 1, 2], 1.0), ([2, 1, 0], -1.0), ([1, 0, 2], 1 / 3), ([0], 1.0)], ids=str
)
def test_kendall_by_hand(order: list[int], tau: float) -> None:
    """Of three pairs one is swapped: (2 - 1) / 3."""
    assert kendall(order, sorted(order)) == pytest.approx(tau)


def test_ndcg_by_hand() -> None:
    """The gains 0 and 2 at ranks 1 and 2, against the ideal order."""
    assert ndcg([1, 0], {0: 2, 1: 0}) == pytest.approx((2 / 1.5849625) / 2)
    assert ndcg([0, 1], {0: 2, 1: 0}) == 1.0


def test_flops_of_a_small_model(tmp_path: Path) -> None:
    """Two operations for each weight and token, and those of attention; unknown without a configuration."""
    (tmp_path / "config.json").write_text('{"hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 1}')
    assert model_flops(str(tmp_path), [5]) == 5 * (8 * 4 + 4 * 2 * 3) + 4 * 25 * 2
    assert model_flops(str(tmp_path / "none"), [5]) != model_flops(str(tmp_path / "none"), [5])


def test_passages_are_the_questions_own_and_then_others() -> None:
    """A task has the question's texts first, filled up with others; each task takes the next question."""
    first, second = islice(tasks(TOPICS, "passages", 3), 2)
    assert (first.query, first.texts[:2], len(first.texts), first.grades) == ("one", ("a b c", "d e"), 3, {0: 2, 1: 1})
    assert second.query == "two"


def test_chunks_have_the_stated_lengths() -> None:
    """Chunks have 150 to 512 tokens, as words by the usual ratio."""
    topics = [Topic("q", (" ".join(["word"] * 2000),))]
    lengths = [len(text.split()) for text in next(tasks(topics, "chunks", 50)).texts]
    assert 150 / 1.35 - 1 <= min(lengths) < max(lengths) <= 512 / 1.35


def test_texts_come_from_a_file_or_from_pythons_documentation(tmp_path: Path) -> None:
    """JSON Lines with queries and texts, else Python's reference; a file with one question is refused."""
    file = tmp_path / "texts.jsonl"
    file.write_text('{"query": "q1", "texts": ["a"]}\n\n{"query": "q2", "texts": ["b", "c"]}\n')
    assert topics_of(file, None)[1] == [Topic("q1", ("a",)), Topic("q2", ("b", "c"))]
    assert topics_of(None, tmp_path)[0] == "Python's documentation"
    file.write_text('{"query": "q1", "texts": ["a"]}\n')
    with pytest.raises(ConfigurationError, match="at least two questions"):
        topics_of(file, None)


def test_sides_take_turns_on_fresh_questions() -> None:
    """Every side gets the same tasks, each repetition another one, and the order rotates; the first is a warm-up."""
    log: list[tuple[str, str]] = []

    def side(name: str) -> object:
        def rerank(query: str, texts: object) -> list[int]:
            log.append((name, query))
            return [0, 1]

        return rerank

    sides = {Side(name, name, "", "int8", 1): side(name) for name in ("a", "b")}
    clock = iter(range(100))
    work = Workload(TOPICS, "passages", 2, 2, count_words, lambda: float(next(clock)))
    cells, grades = run(sides, work)  # type: ignore[arg-type]
    assert log == [("a", "one"), ("b", "one"), ("b", "two"), ("a", "two"), ("a", "one"), ("b", "one")]
    assert [cell.seconds for cell in cells.values()] == [[1.0, 1.0]] * 2
    assert grades == [{0: 0, 1: 1}, {0: 2, 1: 1}]


def test_figures_by_hand() -> None:
    """Percentiles, ratio to the reference, rates, share of the peak, and agreement of two repetitions."""
    reference = Cell([2.0, 4.0], [10, 20], [100.0, 200.0], [[0, 1], [0, 1]])
    cell = Cell([1.0, 1.0], [10, 20], [100.0, 200.0], [[0, 1], [1, 0]])
    figures = cell.figures(reference, [{0: 1, 1: 0}, {0: 0, 1: 0}], peak=1000.0)
    assert figures == {
        "repetitions": 2,
        "p50_ms": 1000.0,
        "p95_ms": 1000.0,
        "p99_ms": 1000.0,
        "least_ms": 1000.0,
        "most_ms": 1000.0,
        "ratio": 3.0,
        "tokens_a_second": 15.0,
        "share_of_peak": 0.15,
        "top_10_agreement": 1.0,
        "kendall_tau": 0.0,
        "ndcg_10": 1.0,
    }


def test_what_is_missing_is_skipped_with_its_reason() -> None:
    """Without a checkpoint what runs on torch is skipped, and an unknown model too, each with its reason."""
    _, skipped = open_sides([*all_sides(["nano"], None, 1)[-4:], Side("x", "secondpass", "./nope", "int8", 1)])
    assert "needs --checkpoint" in skipped["sentence-transformers predict"] or "installed" in str(skipped)
    assert "is none of these" in skipped["x"]


def test_the_command_writes_figures_tables_and_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few candidates the command writes JSON and a page with tables, what was skipped, and advice."""
    monkeypatch.delenv("SECONDPASS_ASSETS", raising=False)
    command = ["bench", "--models", "nano,fast", "--candidates", "3", "--kinds", "passages", "--repetitions", "2"]
    result = CliRunner().invoke(app, [*command, "--no-memory", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "out" / "bench.json").read_text("utf-8"))
    assert list(figures["workloads"][0]["sides"])[:2] == ["secondpass nano", "secondpass fast"]
    page = (tmp_path / "out" / "bench.md").read_text("utf-8")
    for part in ("## 3 passages", "| secondpass nano |", "## Skipped", "- secondpass nano on passages: about"):
        assert part in page
    assert len(advice(figures)) == 2
    drawn = (tmp_path / "out" / "bench.png").is_file()
    assert drawn is (find_spec("matplotlib") is not None)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--kinds", "poems"], "--kinds must be among passages, chunks; got poems"),
        (["--candidates", "ten"], "--candidates must be whole numbers"),
        (["--candidates", "1"], "--candidates must be 2 or more"),
        (["--models", "./nope", "--candidates", "2"], "there is nothing to measure"),
    ],
)
def test_invalid_options_are_one_line(option: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid option ends in one line and exit code 2."""
    monkeypatch.delenv("SECONDPASS_ASSETS", raising=False)
    result = CliRunner().invoke(app, ["bench", *option])
    assert result.exit_code == 2
    assert message in result.stderr


def test_peak_memory_is_that_of_the_side_alone() -> None:
    """What the benchmark's own process held before doesn't count: each side runs in a process of its own."""
    held = bytearray(800 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    megabytes = peak_memory(Side("nano", "secondpass", "nano", "int8", 1), Topic("a question", ("a text",)))
    assert megabytes is not None
    assert megabytes < 600
    del held
