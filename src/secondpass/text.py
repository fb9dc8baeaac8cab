"""Boundaries and well-formedness of text: what scoring and selection both need to know."""

from itertools import accumulate


def well_formed(text: str) -> str:
    """Return the text with every lone surrogate replaced by ``?``, so that any tokeniser can encode it.

    Lengths and positions don't change. A text without lone surrogates is returned as it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def sentence_ends(text: str, language: str = "en") -> list[int]:
    """Return where each sentence ends, as character offsets in rising order; the last is ``len(text)``.

    Blanks after a sentence belong to it, so that the pieces between the offsets add up to the text.

    :param text: Any text, also an empty one.
    :param language: The two-letter code whose abbreviations the splitter knows.
    """
    import sentencex  # a compiled splitter: loaded when a text is cut, not when the package is imported

    return list(accumulate(len(piece) for piece in sentencex.segment(language, well_formed(text))))
