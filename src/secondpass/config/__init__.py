"""One configuration file for a reranker: model, stages around it, selection, budget, fusion and deadline, as TOML.

``examples/secondpass.toml`` shows every table; ``Reranker.from_config(path)`` and ``--config`` read such a file.
"""

from secondpass.config.read import config_from, read_config, to_data
from secondpass.config.tables import Config

__all__ = ["Config", "config_from", "read_config", "to_data"]
