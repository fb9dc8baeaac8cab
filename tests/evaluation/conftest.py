"""Tests of evaluation read real runs through the benchmarks' reader."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
