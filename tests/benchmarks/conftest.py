"""Puts the repository's root on the path: benchmarks are scripts over the library, not a part of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
