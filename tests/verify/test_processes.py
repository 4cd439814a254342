"""Exact values in processes, and the memory they are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest

from tests.cases import PROBLEMS, named
from verify.errors import CertificationError, InvalidRequestError, TooLargeError, WorkerDiedError
from verify.parallel.executors import worker_pool
from verify.problem import Problem
from verify.truth import reference
from verify.truth.in_blocks import memory_estimate

DIGITS = 40


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with worker_pool(2) as executor:
        yield executor


@pytest.mark.parametrize(("mechanism", "order"), [("softmax", None), ("logexp", None), ("taylor", 3)])
def test_processes_make_the_same_balls(mechanism: str, order: int | None, pool: Executor) -> None:
    rng = np.random.default_rng(32)
    q, k, v = rng.standard_normal((2, 2, 600, 2)), rng.standard_normal((2, 1, 9, 2)), rng.standard_normal((2, 1, 9, 3))
    problem = Problem(q, k, v, causal=True, alignment="top-left")
    told: list[tuple[int, int]] = []
    truth = reference(problem, DIGITS, named(mechanism, order), executor=pool, progress=lambda *news: told.append(news))
    alone = reference(problem, DIGITS, named(mechanism, order))
    for name, column in vars(truth.balls).items():
        np.testing.assert_array_equal(column, getattr(alone.balls, name), err_msg=name)
    for name in ("digits", "absolute", "normaliser_sign"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(alone, name), err_msg=name)
    assert told[0] == (0, 2400)
    assert told[-1] == (2400, 2400)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_first_element_without_digits_is_named_whoever_finds_it(pool: Executor) -> None:
    # logits -1 and -2, which no ball shows to be that after multiplying by 1/sqrt(9): P_3(-1) + P_3(-2) = 0
    q, k = np.zeros((2, 1300, 9)), np.zeros((2, 2, 9))
    q[0, 700, 0] = q[1, [7, 600, 1290], 0] = 3.0  # in four blocks of the six
    k[:, :, 0] = [-1.0, -2.0]
    problem = Problem(q, k, np.ones((2, 2, 1)))
    message = None
    for executor in (None, pool):
        with pytest.raises(CertificationError, match=r"element \[0, 700, 0\] reached 0") as caught:
            reference(problem, 15, "taylor:order=3", executor=executor)
        assert message in (None, str(caught.value))
        message = str(caught.value)


def test_a_dead_worker_is_said() -> None:
    with worker_pool(1) as executor:
        executor.submit(os._exit, 1)
        with pytest.raises(WorkerDiedError, match="died"):
            reference(PROBLEMS[0], executor=executor)


def test_threads_are_refused() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(InvalidRequestError, match="an executor of threads"):
        reference(PROBLEMS[0], executor=executor)


def test_memory_is_asked_for_before_it_is_taken() -> None:
    tokens = np.zeros((1 << 14, 64))
    problem = Problem(tokens, tokens, tokens)
    needed = memory_estimate(problem, 1, 1000, 1) / 2**30
    assert needed > 16  # two copies of a million elements with a thousand digits of four bytes, twice each
    with pytest.raises(TooLargeError, match=rf"would need about {needed:.3g} GiB; expected at most 4 GiB"):
        reference(problem, 1000)
    with pytest.raises(TooLargeError, match=r"at most 0\.0009"):
        reference(PROBLEMS[0], memory_limit=10**6)


GROWTH = """
import resource, sys
import numpy as np
from verify.problem import Problem
from verify.truth import reference
from verify.truth.in_blocks import memory_estimate

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

rng = np.random.default_rng(34)
reference(Problem(*rng.standard_normal((3, 4, 4))), 50)
queries, keys, size = map(int, sys.argv[1:])
problem = Problem(rng.standard_normal((queries, size)), *rng.standard_normal((2, keys, size)))
before = peak()
reference(problem, 50)
print(peak() - before, memory_estimate(problem, 1, 50, 1))
"""


def test_memory_does_not_grow_with_pairs_and_stays_below_the_estimate() -> None:
    grown = []
    for shape in ((128, 1500, 8), (128, 6000, 8), (2, 40_000, 64)):
        # a process starts with its parent's peak: a shell in between is small
        command = ["sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", GROWTH, *map(str, shape)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        growth, estimate = map(int, done.stdout.split())
        assert 0 < growth < estimate
        grown.append(growth)
    # a tile is 1,700 keys here; four times the pairs may take the allocator's slack, not four times the memory
    assert grown[1] < 2 * grown[0]
