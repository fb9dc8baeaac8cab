"""The public names, and what importing them costs."""

import subprocess
import sys

import pytest

import secondpass

HEAVY = (
    "numpy",
    "onnxruntime",
    "torch",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "sentencex",
    "google.protobuf",
    "pydantic",
    "langchain_core",
    "llama_index",
    "chromadb",
)


def test_the_public_names_are_sorted_and_true() -> None:
    """``__all__`` is sorted, and every name in it is there."""
    assert secondpass.__all__ == sorted(secondpass.__all__)
    assert [name for name in secondpass.__all__ if not hasattr(secondpass, name)] == []


def test_there_are_at_most_a_dozen_public_names() -> None:
    """What people have to learn fits on one screen."""
    assert 1 <= len(secondpass.__all__) <= 12


@pytest.fixture(scope="module")
def loaded_by_import() -> set[str]:
    """Return what ``sys.modules`` holds after ``import secondpass`` in a fresh interpreter."""
    script = "import secondpass, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize("library", HEAVY)
def test_importing_the_package_loads_no_library(loaded_by_import: set[str], library: str) -> None:
    """``import secondpass`` leaves every third-party library to those who use it."""
    assert "secondpass.reranker" in loaded_by_import
    assert library not in loaded_by_import
