"""The corpus's reading of pages: headings with the prose under them."""

import pytest

from recipes.corpus.markup import heading, sections

LONG = "The heron stands still for a long time, and then it takes a fish out of the shallow water. " * 4


def told(markup: str) -> list[str]:
    return [paragraph for section in sections(markup) for paragraph in section.paragraphs]


@pytest.mark.parametrize(
    "noise",
    [
        "<nav><p>Home</p></nav>",
        "<header><p>Banner</p></header>",
        "<footer><p>Bottom</p></footer>",
        "<aside><p>Beside</p></aside>",
        "<script>var p = '<p>x</p>';</script>",
        "<style>p { color: red }</style>",
        "<pre><p>a = 1</p></pre>",
        "<programlisting><para>a = 1</para></programlisting>",
        "<screen><para>$ ls</para></screen>",
        "<table><tr><td><p>1</p></td><td><p>2</p></td></tr></table>",
        "<informaltable><para>1</para></informaltable>",
        "<figure><figcaption><p>A heron</p></figcaption></figure>",
        '<div class="sphinxsidebar"><ul><li>Next topic</li></ul></div>',
        '<div class="toc"><p>Contents</p></div>',
        '<div class="highlight-python"><p>a = 1</p></div>',
        '<div class="navfooter"><p>Prev Next</p></div>',
        '<p class="copyright">All rights reserved.</p>',
    ],
)
def test_navigation_code_and_tables_are_dropped(noise: str) -> None:
    """What is navigation, code, a table or a notice goes; the paragraphs around it stay."""
    assert told(f"<h1>Birds</h1><p>Before it.</p>{noise}<p>After it.</p>") == ["Before it.", "After it."]


def test_a_table_that_only_places_text_is_read() -> None:
    """Old pages lay their columns out with a table: its long paragraphs are prose."""
    assert told(f"<table><tr><td><p>Home</p></td><td><p>{LONG}</p></td></tr></table>") == ["Home", LONG.strip()]


def test_noise_inside_a_paragraph_leaves_its_sentence() -> None:
    """Footnote marks, pictures and paragraph signs vanish out of a sentence without a trace."""
    markup = '<p>Herons<sup>1</sup> eat fish<img src="x.png">[2], and frogs.<a class="headerlink">¶</a></p>'
    assert told(markup) == ["Herons eat fish, and frogs."]


def test_sections_carry_their_heading_and_the_title_of_the_page() -> None:
    """Each heading opens a section; the page's title is the topic of them all; a section without text is none."""
    markup = "<title>T</title><h1>2. Birds</h1><p>One.</p><h2>2.1. Herons ¶</h2><p>Two.</p><h2>Empty</h2>"
    found = [(section.topic, section.heading, section.paragraphs) for section in sections(markup)]
    assert found == [("Birds", "Birds", ["One."]), ("Birds", "Herons", ["Two."])]


def test_text_of_nested_elements_is_told_once() -> None:
    """A list inside a quotation gives its items, and the quotation doesn't give them again."""
    assert told("<blockquote><ul><li><p>One.</p></li><li>Two.</li></ul></blockquote>") == ["One.", "Two."]


def test_docbook_is_read_like_html() -> None:
    """A DocBook page gives titles and paragraphs without a warning, its own entities as the names they stand for."""
    markup = """<?xml version="1.0"?><chapter><chapterinfo/><title>The &kstars; Handbook</title>
    <para>Use &kstars; &amp; a telescope &eacute;.</para><screen>ls</screen>
    <indexterm><primary>x</primary></indexterm></chapter>"""
    (section,) = sections(markup)
    assert section.heading == "The kstars Handbook"
    assert section.paragraphs == ["Use kstars & a telescope é."]


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("3.1. The Basics ¶", "The Basics"),
        ("Chapter 4. Money", "Money"),
        ("Appendix B. Names:", "Names"),
        ("Part of speech", "Part of speech"),
        ("Section", "Section"),
        ("  How   to\nswim ", "How to swim"),
    ],
)
def test_headings_lose_their_numbers(written: str, plain: str) -> None:
    """Numbers and marks go off a heading, and none of its words."""
    assert heading(written) == plain


@pytest.mark.parametrize("markup", ["", "plain text", "<h1>Only a heading</h1>", "<p></p>", "<p>  </p>", "<ul><li>"])
def test_page_without_prose_gives_no_section(markup: str) -> None:
    """An empty, broken or bare page is no reason to stop."""
    assert list(sections(markup)) == []
