"""The configuration file: what it states, what is refused, and what is meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from secondpass import Cached, Cascade, ContextBudget, Fallback, LargestGap, Selection, WeightedSum, Windowed
from secondpass.config import AuditTable, CacheTable, CascadeTable, Config, load, read_config
from secondpass.errors import ConfigurationError
from secondpass.observe import AuditLog, read_records
from secondpass.scoring.scorer import OverlapScorer

EXAMPLE = Path(__file__).parents[1] / "examples" / "secondpass.toml"


def written(folder: Path, text: str) -> Path:
    """Write a configuration file."""
    path = folder / "secondpass.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_states_every_part_of_a_reranker(tmp_path: Path) -> None:
    """The commented example is a reranker with each of its parts, and it reranks and records."""
    path = written(tmp_path, EXAMPLE.read_text("utf-8"))
    reranker = load(path)
    assert isinstance(reranker.scorer, Fallback)
    windowed, other = reranker.scorer.scorers
    assert isinstance(other, Cached)
    assert isinstance(windowed, Windowed)
    assert (windowed.windows.max_windows, windowed.windows.overlap) == (16, 0.2)
    assert isinstance(windowed.scorer, Cascade)
    assert (windowed.scorer.keep, windowed.scorer.first_stage_weight) == ((30,), 0.25)
    assert [scorer.spec.name for scorer in windowed.scorer.scorers] == ["nano", "small"]
    assert reranker.fusion == WeightedSum(0.2)
    assert reranker.selection == Selection(
        top_n=10,
        min_probability=0.02,
        min_keep=1,
        duplicates="near",
        max_per_source=3,
        adaptive=LargestGap(0.3),
        budget=ContextBudget(1500),
    )
    assert (reranker.deadline_ms, reranker.on_error) == (2000, "degrade")
    assert reranker.rerank("how long does a flea live?", ["Fleas live for months.", "A market hall."]).kept
    assert (tmp_path / "scores.db").is_file()  # relative to the file
    [log] = reranker.observers
    assert isinstance(log, AuditLog)
    log.flush()
    assert [record["query"] for record in read_records(tmp_path / "audit.db")]


def test_an_empty_file_is_the_default_reranker(tmp_path: Path) -> None:
    """What isn't stated has the defaults of ``Reranker``."""
    config = read_config(written(tmp_path, ""))
    assert config == Config()
    reranker = config.reranker()
    assert (reranker.selection, reranker.fusion, reranker.observers) == (Selection(), None, ())
    assert (reranker.deadline_ms, reranker.on_error, reranker.scorer.spec.name) == (None, "degrade", "small")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[selection]\ntop_k = 3",
            r"\[selection\] has the unknown key 'top_k': did you mean top_n\? \(allowed: ",
        ),
        ("[selections]\ntop_n = 3", r"the file has the unknown key 'selections': did you mean selection\?"),
        ("top_n = 3", r"the file has the unknown key 'top_n': it stands in \[selection\]"),
        ("[model]\ndeadline_ms = 3", r"\[model\] has the unknown key 'deadline_ms': it stands at the top level"),
        ("[budget]\nmax_tokns = 3", r"\[budget\] has the unknown key 'max_tokns': did you mean max_tokens\?"),
        ("[model]\nzzz = 3", r"\[model\] has the unknown key 'zzz' \(allowed: engine, "),
        ("[budget]\ntemplate = '{text}'", r"\[budget\] needs max_tokens"),
        ("[selection]\ntop_n = '3'", r"selection.top_n must be a valid integer, got '3'"),
        ("[selection]\ntop_n = true", r"selection.top_n must be a valid integer, got True"),
        ("[selection]\ntop_n = 0", r"\[selection\] top_n must be a whole number from 1"),
        (
            "[selection]\norder = 'relevence'",
            r"selection.order must be 'relevance', .*, got 'relevence'; did you mean 'relevance'\?",
        ),
        ("on_error = 'ignore'", r"on_error must be 'degrade' or 'raise', got 'ignore'"),
        ("selection = 3", r"selection must be a table, got 3"),
        ("[cascade]\nmodels = 'nano'", r"cascade.models must be a valid array, got 'nano'"),
        (
            "[cascade]\nmodels = ['nano']\nkeep = 'x'",
            r"keep must be a valid integer or a valid number or a valid array, got",
        ),
        ("[cascade]\nmodels = ['nano', 1]", r"cascade.models must be a valid string, got 1"),
        ("[selection]\nbudget = 9", r"\[selection\] has the unknown key 'budget': it stands at the top level"),
        ("[fusion]\nk = 3", r"fusion must be a table with the rule 'reciprocal_rank' or 'weighted_sum', got {'k': 3}"),
        ("[fusion]\nrule = 'weighted_sum'\nweights = {a = 'x'}", r"fusion.weights.a must be a valid number, got 'x'"),
        ("[fusion]\nrule = 'weighted_sum'\nalpha = 2", r"\[fusion\] alpha must be within 0"),
        ("[fusion]\nrule = 'weighted_sum'\nk = 2", r"\[fusion\] has the unknown key 'k' \(allowed: alpha, weights\)"),
        ("[windows]\noverlap = 0.9", r"\[windows\] the overlap of windows must be within 0 and 0.5"),
        ("[selection.adaptive]\nrule = 'gap'", r"selection.adaptive must be .* 'largest_gap' or 'covered_mass', got"),
        (
            "[selection]\ntop_n = 'x'\n[audit]\nfile = 'a'",
            r"got 'x'; \[audit\] needs path; \[audit\] .* 'file'",
        ),
        ("top_n", r"secondpass.toml can't be read: .*at end of document"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    """A wrong key or value is an error with the file, the table, what is allowed, and what was probably meant."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as raised:
        read_config(path)
    assert str(path) in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, and bytes that aren't UTF-8 are errors of the configuration."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "no.toml", tmp_path, tmp_path / "bytes.toml"):
        with pytest.raises(ConfigurationError, match="must be a TOML file"):
            load(path)


def test_parts_fail_with_the_settings_that_they_are_made_from(tmp_path: Path) -> None:
    """A model, a tokenizer and an audit file that can't be opened are errors when the reranker is made."""
    for text, message in [
        ("[model]\nname = 'smal'", "did you mean 'small'"),
        ("[budget]\nmax_tokens = 9\ntokenizer = 'no.json'", "no.json can't be opened"),
        ("[audit]\npath = '.'", "must be one that can be written"),
        ("deadline_ms = -1", "deadline_ms"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            load(written(tmp_path, text))


def test_other_models_have_the_machines_settings_and_not_the_models_own(tmp_path: Path) -> None:
    """A cascade's cheap model runs on the same device, and isn't checked against the other's hash."""
    text = f"[model]\ndevice = 'cpu'\nthreads = 2\nsha256 = '{'0' * 64}'\nmax_length = 128"
    model = read_config(written(tmp_path, text)).model
    other = model.other("nano")
    assert (other.name, other.device, other.threads) == ("nano", "cpu", 2)
    assert (other.sha256, other.max_length) == (None, None)


def test_a_folder_with_a_dot_is_relative_to_the_file(tmp_path: Path, reranker_folder: Path) -> None:
    """A model beside the configuration is found from any current folder."""
    (tmp_path / "model").symlink_to(reranker_folder)
    reranker = load(written(tmp_path, "[model]\nname = './model'\n"))
    assert reranker.rerank("fox", ["a fox", "a whale"]).kept[0].candidate.text == "a fox"


def test_a_bundled_cascade_is_cached_inside(tmp_path: Path) -> None:
    """The scores of each of its models are cached, since those of a cascade depend on the other candidates."""
    scorer = read_config(written(tmp_path, "[model]\nname = 'fast'\n[cache]\n")).scorer()
    assert isinstance(scorer, Cascade)
    assert [type(inner) for inner in scorer.scorers] == [Cached, Cached]
    assert scorer.spec.name == "fast"


def test_every_path_is_relative_to_the_file(tmp_path: Path) -> None:
    """Of models only those that begin with a dot are paths; an absolute path stays as it is."""
    text = "[model]\nname = './m'\n[cascade]\nmodels = ['./c', 'nano']\n[cache]\npath = 'c.db'\n[audit]\npath = '/a.db'"
    config = read_config(written(tmp_path, text))
    assert (config.cache, config.audit) == (CacheTable(str(tmp_path / "c.db")), AuditTable("/a.db"))
    assert config.model.name == str(tmp_path / "m")
    assert config.cascade == CascadeTable((str(tmp_path / "c"), "nano"))


def test_overlap_needs_no_model(tmp_path: Path) -> None:
    """The scorer of shared words is there by name, as on the command line."""
    assert isinstance(load(written(tmp_path, "[model]\nname = 'overlap'")).scorer, OverlapScorer)


def test_pydantic_is_missed_by_name() -> None:
    """Without pydantic the module says what to install."""
    code = (
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pydantic' else find(name, *a)\n"
        "import secondpass.config"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'a configuration file needs pydantic, which is not installed: pip install "secondpass[cli]"' in done.stderr
