"""Reading the files that test collections come in; every error names the file and the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secondpass.errors import InputError

_ID_KEYS = ("_id", "id", "docid", "qid", "query_id", "doc_id")


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Return each line that isn't blank as where it stands and what it says, without its end (also CRLF).

    :raises InputError: If there is no such file, or it isn't UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path} must be a file, and there is none")
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", line.rstrip("\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} must be UTF-8 text: {error}") from error


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    :raises InputError: If there is no such file, or it isn't JSON.
    """
    if not path.is_file():
        raise InputError(f"{path} must be a file, and there is none")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} must be JSON in UTF-8: {error!s:.200}") from error


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Return pairs of id and text from JSON Lines (``.jsonl``), or from lines of ``id<TAB>text``.

    In JSON Lines the id stands under ``_id``, ``id``, ``docid`` or ``qid``; a ``title`` comes before the text, on a
    line of its own. (BEIR's own evaluation joins them with a blank; to models and to BM25 that is the same.)

    :raises InputError: If a line can't be read.
    """
    for where, line in lines(path):
        yield _from_json(where, line) if path.suffix == ".jsonl" else _from_tabs(where, line)


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return judgements from a BEIR file (query, text, grade, with or without a header) or a TREC one (four columns).

    :raises InputError: If a line can't be read, or two of them disagree.
    """
    found: dict[str, dict[str, int]] = {}
    for position, (where, line) in enumerate(lines(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if position == 0 and len(columns) == 3 and not _is_whole(columns[2]):
            continue
        if len(columns) not in (3, 4) or not _is_whole(columns[-1]):
            raise InputError(f"{where}: must be query, text and grade (or TREC's four columns), got {line!r:.80}")
        query, text, grade = columns[0], columns[-2], int(columns[-1])
        if found.setdefault(query, {}).setdefault(text, grade) != grade:
            raise InputError(f"{where}: text {text!r} was judged {found[query][text]} for query {query!r} before")
    if not found:
        raise InputError(f"{path} must hold at least one judgement, and holds none")
    return found


def _is_whole(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def _from_tabs(where: str, line: str) -> tuple[str, str]:
    key, tab, text = line.partition("\t")
    if not tab or not key.strip():
        raise InputError(f"{where}: must be id, tab and text, got {line!r:.80}")
    return key.strip(), text


def _from_json(where: str, line: str) -> tuple[str, str]:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: must be JSON: {error!s:.200}") from error
    key = next((item[name] for name in _ID_KEYS if name in item), None) if isinstance(item, dict) else None
    if key is None or not isinstance(item.get("text"), str):
        raise InputError(f'{where}: must be an object with "_id" and a string "text", got {line!r:.80}')
    title = item.get("title") or ""
    return str(key), f"{title}\n{item['text']}".strip() if title else item["text"]
