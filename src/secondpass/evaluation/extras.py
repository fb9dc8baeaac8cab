"""The libraries of the extra ``eval``: looked for before they are imported, so that a missing one says its name."""

from importlib.util import find_spec

from secondpass.errors import MissingExtra

PACKAGES = {
    "bm25s": "bm25s",
    "Stemmer": "PyStemmer",
    "ir_measures": "ir-measures",
    "pytrec_eval": "pytrec-eval-terrier",
    "scipy": "scipy",
}
"""From a library's module to the distribution that brings it."""


def require(*modules: str) -> None:
    """Raise unless every one of these libraries is installed; nothing is imported to find out.

    :param modules: Keys of ``PACKAGES``.
    :raises MissingExtra: If one isn't there.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra("secondpass.evaluation", PACKAGES[module], "eval")
