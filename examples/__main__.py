"""Runs the examples and writes programs and outputs into their pages: ``python -m examples [NAME ...]``.

``python -m examples --programs`` writes the programs alone. The table of all systems: ``python -m benchmarks.recipes``.
"""

import io
import os
import re
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "recipes"
NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if path.stem[0] != "_" and path.stem != "common"
)
ON_ASSETS = {"evaluate_and_fine_tune": ("models/nano", "data/scifact")}  # needs a checkpoint and a collection


def run(name: str) -> str | None:
    """Return what an example prints, or None where what it needs isn't there."""
    arguments: tuple[str, ...] = ()
    if name in ON_ASSETS:
        assets = os.environ.get("SECONDPASS_ASSETS")
        if not assets:
            return None
        arguments = (*(str(Path(assets) / part) for part in ON_ASSETS[name]), str(ROOT / "build" / name))
    out = io.StringIO()
    with redirect_stdout(out):
        import_module(f"examples.{name}").main(*arguments)
    return out.getvalue()


def write_block(kind: str, name: str, language: str, text: str) -> None:
    """Replace the block of an example's page that follows ``<!-- kind: name -->``."""
    block = re.compile(rf"(<!-- {kind}: {name} -->\n)```{language}\n.*?^```$", re.DOTALL | re.MULTILINE)
    for page in PAGES.glob("*.md"):
        content = page.read_text(encoding="utf-8")
        written = block.sub(lambda found: f"{found.group(1)}```{language}\n{text.rstrip()}\n```", content)
        page.write_text(written, encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Write programs, then run the examples and write what they print."""
    for name in NAMES:
        write_block("program", name, "python", (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))
    for name in [] if "--programs" in arguments else arguments or NAMES:
        print(f"== {name}", flush=True)
        output = run(name)
        print(output or "skipped: SECONDPASS_ASSETS names no folder with models and data", flush=True)
        if output:
            write_block("output", name, "text", output)


if __name__ == "__main__":
    main(sys.argv[1:])
