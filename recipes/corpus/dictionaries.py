"""Dictionaries in the form of dictd: an index of headwords over a text, which gzip reads."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass

_DIGITS = {c: n for n, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}


@dataclass(frozen=True, slots=True)
class Entry:
    """A headword and the text that the index points to."""

    headword: str
    text: str


def entries(index: bytes, dictionary: bytes) -> Iterator[Entry]:
    """Yield each text once, under the headword that it begins with; the others merely point into it."""
    content = gzip.decompress(dictionary)
    headwords: dict[tuple[int, int], list[str]] = {}
    for line in index.decode("utf-8", "replace").splitlines():
        headword, offset, length = line.split("\t")[:3]
        if not headword.startswith("00"):
            headwords.setdefault((_number(offset), _number(length)), []).append(headword)
    for (start, length_), names in headwords.items():
        text = content[start : start + length_].decode("utf-8", "replace")
        first = text.lstrip().split("\n", 1)[0]
        own = [name for name in names if first.casefold().startswith(name.casefold())]
        if own:
            yield Entry(first[: len(max(own, key=len))], text)


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value


def gcide(text: str) -> str:
    """Return an entry of the Collaborative International Dictionary as prose; empty where it is obsolete."""
    if "[Obs.]" in text[:200]:
        return ""
    text = re.sub(r"\[(?:1913 Webster|PJC|WordNet|Webster|Century|RP|AS|mp)[^\]]*\]", "", text)
    blocks = [block for block in re.split(r"\n\s*\n", text) if not _is_quotation(block)]
    body = re.sub(r"\s+", " ", " ".join(blocks))
    found = _GCIDE_HEAD.match(body)
    body = body[found.end() :] if found else ""
    for _ in range(2):  # etymologies stand in brackets within brackets
        body = re.sub(r"\[[^\[\]]*\]", "", body)
    body = re.sub(r" --[A-Z][\w.]*(?: [A-Z][\w.]*)*", "", body)
    body = re.sub(r"\b(?:Syn|Note|Usage): ?-*", "", body)
    body = re.sub(r"\((?:[A-Z][a-z]*\.?[ ,&]*)+\)", "", body)  # the field, such as (Bot.)
    body = _plain(re.sub(r"^\s*\[[^\]]*\]", "", body))
    body = re.sub(r"^(?:[^.]{1,25}\.[ ;]*){1,4}(?=1\. )", "", body)  # plurals and the like before the first meaning
    return re.sub(r"^(?:(?:n|a|v|t|i|adv|pl|prop|E|F|L|G)\. ?)+", "", body)


_GCIDE_HEAD = re.compile(
    r"[^\\]{2,60}\\[^\\]{2,80}\\"  # the word, and how it is said
    r"(?:\([^()]*\)|, ?(?:n|a|v|v\. ?t|v\. ?i|adv|prep|p\. ?p|n\. ?pl)\.|[ ,;&]|\[[^\[\]]*\]|"
    r"(?:pl|imp|p\. ?p|p\. ?pr|vb\. ?n)\. ?\{[^{}]*\}"
    r"|\{[^{}]*\}|; pl\.|\\[^\\]*\\)*"
)
_QUOTATION_INDENT = " " * 9


def _is_quotation(block: str) -> bool:
    lines = [line for line in block.split("\n") if line.strip()]
    return bool(lines) and all(line.startswith(_QUOTATION_INDENT) for line in lines)


def foldoc(text: str) -> str:
    """Return an entry of the Free On-line Dictionary of Computing as prose."""
    body = text.split("\n\n", 1)[-1] if "\n\n" in text else text
    body = re.sub(r"\(\d{4}-\d\d-\d\d\)|\[[^\]]*\]|<[^>]*>|/[^/\s]+/", "", body)
    body = re.sub(r"\(https?:[^)]*\)|https?:\S+", "", body)
    return _plain(body)


def jargon(text: str) -> str:
    """Return an entry of the Jargon Lexicon as prose."""
    body = text.split("\n", 1)[-1]
    body = re.sub(r"^\s*(?:/[^\n]*/)?[ ,\w./\[\]-]*\n", "", body, count=1) if "\n\n" in body else body
    return _plain(re.sub(r"\[[^\]]*\]|https?:\S+", "", body))


def devil(text: str) -> str:
    """Return an entry of The Devil's Dictionary without its verses."""
    prose = _plain(" ".join(line for line in text.splitlines() if not line.startswith("    ")))
    return re.sub(r"^[A-Z' -]+, (?:n|adj|adv|v\.t|v\.i|pl|n\.pl|p\.p)\. *", "", prose)


def element(text: str) -> str:
    """Return an entry on a chemical element as sentences."""
    lines = text.strip().splitlines()
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    prose = " ".join(line for line in lines[1:] if ": " not in line)
    number, weight = facts.get("Atomic number", ""), facts.get("Atomic weight", "")
    if not (number and weight):
        return _plain(prose)
    head = f"{lines[0].capitalize()} ({facts.get('Symbol', '')}) is the element with atomic number {number}"
    return _plain(f"{head}; its atomic weight is {weight}. {prose}")


def _plain(text: str) -> str:
    text = re.sub(r"\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"\s+([,.;:])", r"\1", text).replace("_", "").strip(" -;,:")
