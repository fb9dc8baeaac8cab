"""Sections out of HTML, DocBook and Mallard pages: headings with the paragraphs under them, and nothing else."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from bs4 import BeautifulSoup, Tag, XMLParsedAsHTMLWarning

from recipes.corpus.passages import tidy

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6", "title", "dt", "term")
_TEXTS = ("p", "para", "simpara", "li", "dd", "blockquote")
_NOISE = """
script style nav header footer pre form svg math figure figcaption img sup button code-block screen programlisting
informaltable synopsis literallayout noscript aside info bookinfo articleinfo indexterm links subtitle authorgroup
legalnotice revhistory footnote toc index media mediaobject inlinemediaobject screenshot
"""
_NOISY_CLASS = re.compile(
    r"\b(?:nav\w*|toc|footer|header|sidebar\w*|sphinxsidebar\w*|related|breadcrumbs?|footnotes?|highlight\w*|"
    r"headerlink|navheader|navfooter|programlisting|screen|copyright|legalnotice|versionmodified|citetitle)\b"
)
_NUMBER = re.compile(
    r"^(?:(?:CDNE )?(?:chapter|section|appendix|part)\s+)?(?:[A-Z]\.)?(?:\d+\.)*\d*[.:)]?\s+(?:- )?(?=\S)",
    re.IGNORECASE,
)
_TRANSLATIONS = re.compile(r"\bES: .*\bFI: ?")  # a musical term in other languages
_LONG_PARAGRAPH = 250  # characters
_ENTITY = re.compile(r"&([a-zA-Z][\w.-]*);")
_KEPT_ENTITIES = frozenset(("amp", "lt", "gt", "quot", "apos", "nbsp"))


@dataclass(slots=True)
class Section:
    """A heading and what stands under it.

    :param topic: The title of the page.
    """

    topic: str
    heading: str
    paragraphs: list[str] = field(default_factory=list)


def sections(markup: str) -> Iterator[Section]:
    """Yield the sections of a page, in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # DocBook reads well enough as HTML
        soup = BeautifulSoup(_without_entities(markup), "html.parser")
    topic = _page_title(soup)
    _remove_noise(soup)
    current = Section(topic, "")
    for element in soup.find_all(_HEADINGS + _TEXTS):
        if element.name in _HEADINGS:
            if current.paragraphs:
                yield current
            current = Section(topic, heading(element.get_text(" ")))
        elif text := _own_text(element):
            current.paragraphs.append(text)
    if current.paragraphs:
        yield current


def heading(text: str) -> str:
    """Return a heading without its number and marks."""
    return _NUMBER.sub("", tidy(text).strip("¶ #")).rstrip(".:¶ ")


def _page_title(soup: BeautifulSoup) -> str:
    found = soup.find("h1") or soup.find("title")
    return heading(found.get_text(" ")) if isinstance(found, Tag) else ""


def _remove_noise(soup: BeautifulSoup) -> None:
    for element in soup.find_all(_NOISE.split()):
        element.decompose()
    for element in soup.find_all("div", class_="para"):
        element.name = "p"
    for table in soup.find_all("table"):
        if not table.decomposed and not _is_layout(table):
            table.decompose()
    for element in soup.find_all(class_=_NOISY_CLASS):
        if not element.decomposed and element.name not in ("body", "html", "a"):
            element.decompose()


def _is_layout(table: Tag) -> bool:
    """Tell a table that merely places long paragraphs on the page from one that holds figures."""
    return any(len(cell.get_text()) > _LONG_PARAGRAPH for cell in table.find_all(_TEXTS))


def _own_text(element: Tag) -> str:
    """Return an element's text, unless the elements inside it will give that themselves."""
    if element.find(_TEXTS):
        return ""
    text = tidy(element.get_text(" " if element.name == "dd" else ""))
    return "" if _TRANSLATIONS.search(text) else text


def _without_entities(markup: str) -> str:
    """Write a DocBook page's own entities out: &kstars; is a name, and most names read well as they are."""
    return _ENTITY.sub(
        lambda found: found[0] if found[1] in _KEPT_ENTITIES or _standard(found[1]) else found[1], markup
    )


def _standard(name: str) -> bool:
    from html.entities import html5

    return f"{name};" in html5
