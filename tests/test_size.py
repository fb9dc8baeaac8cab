"""The size of the source: the core is what a newcomer reads, and both sums only go down."""

from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "secondpass"
CORE = (
    *("__init__", "records", "ranking", "errors", "text", "logs", "fields", "processes", "observers", "reranker"),
    *("fusion", "calibration", "integration", "llama_index"),
)
CORE_PACKAGES = ("selection", "scoring", "langchain")
MOST_OF_CORE = 9_600
MOST_AROUND = 15_400
LEAST = 40
"""A file below it belongs to its neighbour, unless its name is given by Python."""
GIVEN = ("__init__", "__main__")


def lines() -> dict[Path, int]:
    """Return the lines of each file, docstrings included."""
    return {path.relative_to(SOURCE): path.read_text("utf-8").count("\n") for path in SOURCE.rglob("*.py")}


def is_core(path: Path) -> bool:
    """Return whether a file is one of the core's."""
    return path.parts[0] in CORE_PACKAGES or (len(path.parts) == 1 and path.stem in CORE)


def test_the_source_does_not_grow() -> None:
    """The core and what is around it stay within their limits, which are lowered with what is cut."""
    found = lines()
    core = sum(count for path, count in found.items() if is_core(path))
    assert core <= MOST_OF_CORE
    assert sum(found.values()) - core <= MOST_AROUND


def test_no_file_is_too_small_to_stand_alone() -> None:
    """A file holds a responsibility that is worth its name."""
    small = [str(path) for path, count in lines().items() if count < LEAST and path.stem not in GIVEN]
    assert small == []
