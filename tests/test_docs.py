"""The documentation site: every code block runs and prints what the page shows, and every link has a target."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml
from bs4 import BeautifulSoup
from shown_output import blocks, same_output
from test_readme import TEXTS
from tiny_models import WORDS
from typer.testing import CliRunner

from secondpass import Candidate
from secondpass.models import bundled_models

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "recipes")  # those are written by programs
RUN = [page for page in PAGES if re.search("```python|<!-- run: ", page.read_text(encoding="utf-8"))]
FILES = {"toml": "secondpass.toml", "json": "questions.jsonl"}
QUERY = "how long does a flea live?"
LONG_TEXT = " ".join([*(f"Chapter {number} is about the hall and its history." for number in range(80)), *TEXTS[:1]])


def name(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


def write_groups(path: Path, first: str, count: int) -> Path:
    texts = [" ".join(WORDS[start : start + 5]) for start in range(0, 40, 5)]
    lines = [{"query": f"{first} {WORDS[place]}", "texts": texts, "labels": [1] + [0] * 7} for place in range(count)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the pages call yours: a query, texts, documents, nodes, stores, a tokenizer, folders, a teacher."""
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore
    from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
    from llama_index.core.llms import MockLLM
    from llama_index.core.schema import NodeWithScore, TextNode
    from tokenizers import Tokenizer

    from secondpass.langchain import CrossEncoderModel

    monkeypatch.setattr(Settings, "_llm", MockLLM())
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    store.add_texts(TEXTS, ids=[str(number) for number in range(len(TEXTS))])
    fields = [{"title": "Life", "source": "insects", "date": f"2026-0{3 + number}-01"} for number in range(len(TEXTS))]
    nodes = [TextNode(text=text, id_=str(number)) for number, text in enumerate(TEXTS)]
    return {
        "__name__": "page",
        "query": QUERY,
        "texts": TEXTS,
        "long_text": LONG_TEXT,
        "candidates": [
            Candidate(TEXTS[1], id="insect", score=0.9, source="insects", metadata={"title": "Insects"}),
            Candidate(TEXTS[4], id="hall", score=0.8, source="city", metadata={"title": "Hall"}),
            Candidate(TEXTS[0], id="life", score=0.7, source="insects", metadata={"title": "Life"}),
        ],
        "documents": [Document(text, id=str(number), metadata=fields[number]) for number, text in enumerate(TEXTS)],
        "nodes": [NodeWithScore(node=node, score=0.9 - place / 10) for place, node in enumerate(nodes)],
        "vectorstore": store,
        "index": VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=8)),
        "tokenizer": Tokenizer.from_file(str(bundled_models()["nano"] / "tokenizer.json")),
        "cross_encoder": CrossEncoderModel(model="nano"),
        "messages": ["What is a flea?", "A wingless insect."],
        "model": str(bundled_models()["nano"]),
        "folder": tmp_path,
        "folder_with_a_model": bundled_models()["nano"],
        "train_file": write_groups(tmp_path / "train.jsonl", "what", 24),
        "validation_file": write_groups(tmp_path / "validation.jsonl", "how", 6),
    }


@pytest.mark.parametrize("page", RUN, ids=name)
def test_code_runs_and_prints_what_the_page_shows(
    page: Path,
    names: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A page's Python blocks run in order, as one program; a text block behind one is what it prints.

    So do commands that are marked so. What they read is the page's too: TOML is the file ``secondpass.toml``, and JSON
    Lines are ``questions.jsonl``.
    """
    monkeypatch.chdir(names["folder"])
    monkeypatch.delenv("COLUMNS", raising=False)
    text = page.read_text(encoding="utf-8")
    if "teacher," in text:
        names["teacher"] = str(request.getfixturevalue("tiny_torch_folder"))
    printed = ""
    for language, code, mark in blocks(text):
        if language == "python":
            assert mark in ("", "not run")
            program = compile(code, f"{page.name}: {code[:40]!r}", "exec")
            if not mark:
                exec(program, names)
                printed = capsys.readouterr().out
        elif language == "sh" and mark == "run":
            printed = "".join(run_command(line) for line in code.splitlines())
        elif language in FILES:
            Path(FILES[language]).write_text(code, encoding="utf-8")
        elif language == "text":
            assert same_output(code, printed), f"shown:\n{code}\nprinted:\n{printed}"


def run_command(line: str) -> str:
    from secondpass.cli import app

    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1), result.stderr
    return result.stdout


def commands() -> Iterator[tuple[str, str]]:
    for page in [*PAGES, ROOT / "README.md"]:
        for language, code, _ in blocks(page.read_text(encoding="utf-8")):
            if language == "sh":
                lines = code.replace("\\\n", " ").splitlines()
                yield from ((page.name, line) for line in lines if line.startswith("secondpass "))


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_commands_have_the_options_that_pages_name(page: str, line: str) -> None:
    """Each ``secondpass`` command of a page exists, with each of its options."""
    from secondpass.cli import app

    _, command, *arguments = shlex.split(line, comments=True)
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {argument for argument in arguments if argument.startswith("--")} <= options


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site from a copy, strictly."""
    folder = tmp_path_factory.mktemp("docs")
    for part in ("docs", "src"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.onnx", "__pycache__"))
    shutil.copy(ROOT / "zensical.toml", folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "build" / "site"


def test_every_page_is_in_the_navigation() -> None:
    """The navigation lists each page once, and no page that isn't there."""

    def listed(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for part in entry.values() if isinstance(entry, dict) else entry:
                yield from listed(part)

    navigation = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(listed(navigation)) == pages


@pytest.mark.slow
def test_links_lead_somewhere_and_nothing_is_fetched(site: Path) -> None:
    """Every link of the built site to a page, a file or a heading has its target; no file comes from elsewhere."""
    parsed = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in site.rglob("*.html")}
    anchors = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in parsed.items()}
    broken, fetched = set(), set()
    for path, soup in parsed.items():
        if path.name == "404.html":
            continue
        for tag in soup.find_all(["script", "img", "link"]):
            address = str(tag.get("src") or (tag.get("href") if "stylesheet" in (tag.get("rel") or ()) else ""))
            fetched |= {address} if urlsplit(address).netloc else set()
        for tag in soup.find_all("a", href=True):
            url = urlsplit(str(tag["href"]))
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (url.fragment and unquote(url.fragment) not in anchors.get(target, ())):
                broken.add(f"{path.relative_to(site)}: {tag['href']}")
    assert not broken
    assert not fetched


def test_the_reference_describes_the_public_names(site: Path) -> None:
    """Every public name of the package has its entry in the API reference."""
    import secondpass

    described = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    entries = {tag["id"].rpartition(".")[2] for tag in BeautifulSoup(described, "html.parser").find_all(id=True)}
    assert set(secondpass.__all__) <= entries


def test_the_project_files_agree_with_the_package() -> None:
    """The citation names the package's version, LlamaHub's table its class, and the forge's files are YAML."""
    import secondpass
    from secondpass.llama_index import SecondPassRerank

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == secondpass.__version__
    hub = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["llamahub"]
    assert (hub["import_path"], [*hub["class_authors"]]) == (SecondPassRerank.__module__, [SecondPassRerank.__name__])
    for path in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8")), path
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["all"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "bash .ci/run" in [step.get("run") for step in job["steps"]]
