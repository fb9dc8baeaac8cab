"""The worker: one thread for all forward passes of a device."""

import multiprocessing
import os
import sys

import pytest
from fake_engine import FakeEngine

from secondpass import Call
from secondpass.errors import ConfigurationError
from secondpass.scores import Pair
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engines.base import Encoded
from secondpass.scoring.worker import Job, Worker

PAIRS = [Pair("query", "two words"), Pair("query", "word")]


def test_every_forward_pass_runs_on_the_workers_thread() -> None:
    """All calls of an engine run on one thread, which isn't the caller's."""
    engine = FakeEngine()
    scorer = CrossEncoder(engine)
    for _ in range(3):
        scorer.score_pairs(PAIRS)
    assert engine.threads == {"secondpass-cpu_0"}


def test_release_runs_on_the_workers_thread() -> None:
    """Release waits for the jobs in the queue, and is done when it returns."""
    engine = FakeEngine()
    CrossEncoder(engine).release()
    assert engine.released == 1


def test_two_engines_may_share_a_worker() -> None:
    """Two engines on one thread each get their own pairs, and each job has its own results."""
    worker, one, other = Worker("shared"), FakeEngine(), FakeEngine()
    jobs = [Job(engine, [Encoded(length, 0, {})], Call()) for length, engine in ((1, one), (2, other))]
    for job in jobs:
        worker.submit(job)
    for job in jobs:
        job.done.result()
    assert [job.rows for job in jobs] == [[[1.0]], [[2.0]]]
    assert (one.batches, other.batches) == ([[1]], [[2]])


def test_a_job_has_no_results_before_it_runs() -> None:
    """A new job has None for each pair."""
    assert Job(FakeEngine(), [Encoded(1, 0, {})] * 2, Call()).rows == [None, None]


def _score_in_child(scorer: CrossEncoder, results: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        scorer.score_pairs(PAIRS)
    except ConfigurationError as error:
        results.put(str(error))
    else:
        results.put("scored")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_use_in_a_forked_process_is_an_error() -> None:
    """In a forked child, which has no worker thread, a call raises at once instead of waiting for ever."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_score_in_child, args=(CrossEncoder(FakeEngine()), results))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 0
    assert "forked after it was created: create it there" in results.get()
