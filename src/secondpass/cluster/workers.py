"""The actors of a cluster: their processors and GPUs, and the model that each loads."""

from dataclasses import dataclass

from secondpass.errors import ConfigurationError
from secondpass.scoring.load import LoadOptions, load_scorer
from secondpass.scoring.overlap import OverlapScorer
from secondpass.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Workers:
    """The actors that rerank.

    :param count: How many, each with a model of its own.
    :param cpus: Processors of each; they are also the threads of its model.
    :param gpus: GPUs of each; with any, its model runs on one.
    """

    count: int = 1
    cpus: int = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.count >= 1 and self.cpus >= 1 and self.gpus >= 0):
            raise ConfigurationError(f"workers need a count and cpus from 1 and gpus from 0, got {self}")

    def resources(self) -> dict[str, float]:
        """Return what Ray reserves for each."""
        return {"num_cpus": self.cpus} | ({"num_gpus": self.gpus} if self.gpus else {})

    def scorer(self, model: str) -> Scorer:
        """Load a model on an actor's processors or GPU; ``overlap`` counts shared words."""
        if model == "overlap":
            return OverlapScorer()
        device = "cuda" if self.gpus else "cpu"
        return load_scorer(model, device=device, options=LoadOptions(threads=self.cpus))
