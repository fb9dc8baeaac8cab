"""Comparison of outputs that pages and notebooks show with those of a fresh run."""

import math
import re
from collections.abc import Iterator

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")
_TIMES = re.compile(r"^(score|fuse|select|cache|cascade|windows|fallback): .*$", re.MULTILINE)  # a report's last lines
_MOMENTS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:\+00:00)?")
_PIECE = re.compile(
    r"(?:<!-- (?P<mark>[\w ]+): (?P<note>[^>]*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield a page's fenced blocks in order: language, content, and the marker before it, or an empty string."""
    for piece in _PIECE.finditer(page):
        yield piece["language"], piece["code"], piece["mark"] or ""


def same_output(shown: str, fresh: str, tolerance: float = 0.02) -> bool:
    """Return whether two outputs agree: the same text, fractions within the tolerance, times left out.

    Static int8 scores are the same on all processors but for rare roundings, hence the tolerance.
    """
    first, second = (_MOMENTS.sub("", _TIMES.sub("", text)).strip() for text in (shown, fresh))
    if _NUMBER.sub("#", first) != _NUMBER.sub("#", second):
        return False
    pairs = zip(_NUMBER.findall(first), _NUMBER.findall(second), strict=True)
    return all(a == b or ("." in a + b and math.isclose(float(a), float(b), abs_tol=tolerance)) for a, b in pairs)
