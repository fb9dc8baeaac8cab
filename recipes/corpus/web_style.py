"""Writes queries as people type them: mostly in lower case, seldom with a question mark, now and then with a slip."""

import random
import re

_LOWER = 0.92
_QUESTION_MARK = 0.06
_SLIP = 0.035
_DROPPED_ARTICLE = 0.15


def typed(query: str, rng: random.Random) -> str:
    """Return the query as a person might type it into a search box."""
    text = re.sub(r"\s+", " ", re.sub(r"[\"“”`*_]", "", query)).strip(" .,;:-!")
    if rng.random() < _LOWER:
        text = text.lower()
    if rng.random() < _DROPPED_ARTICLE:
        text = re.sub(r"\b(?:the|an?) (?=\w)", "", text)
    if rng.random() < _SLIP:
        text = _slip(text, rng)
    text = text.rstrip("? ")
    asks = re.match(r"(?:what|who|when|where|why|how|is|are|does|do|did|can)\b", text, re.IGNORECASE)
    return f"{text}?" if asks and rng.random() < _QUESTION_MARK else text


def _slip(text: str, rng: random.Random) -> str:
    """Swap, drop or double a letter inside one of the longer words."""
    places = [match.start() + 1 for match in re.finditer(r"[a-z]{5,}", text)]
    if not places:
        return text
    at = rng.choice(places) + rng.randint(0, 2)
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return rng.choice((swapped, text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]))
