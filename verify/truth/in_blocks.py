"""The blocks of a problem, enclosed here or in the processes of an executor, in memory that is known beforehand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from itertools import islice
from typing import Any

from verify.attention.contract import Member
from verify.attention.tiles import TILE_BYTES, bytes_of_ball
from verify.errors import MechanismError, TooLargeError, WorkerDiedError
from verify.integers import how_many
from verify.mechanisms.loading import explained
from verify.numbers.precision import bits_for
from verify.parallel.blocks import Block, blocks_of
from verify.parallel.executors import cores, submitted, workers_of
from verify.problem import Problem
from verify.problem.rows import BLOCK_ROWS
from verify.truth.enclosure import GUARD_BITS, Enclosure, enclose

# What a request may take by default: well below what machines have, for results are copied and printed too.
MEMORY_LIMIT = 4 * 2**30

# Pairs, as often as they are gone through, from which processes save more time than they take to start.
WORTH_A_POOL = 1 << 21

# Balls of flint that stand for an output of a block: a numerator, a quotient, and what is on its way.
_BALLS_PER_OUTPUT = 3


def enclosures(
    problem: Problem, members: Sequence[Member], digits: int, executor: Executor | None
) -> Iterator[tuple[Block, dict[Member, Enclosure]]]:
    """Yield every block with its enclosure per member, in order, whatever the processes finish first.

    Raises what `enclose` raises, for the first block at fault, MechanismError for what somebody else's formula raises,
    and WorkerDiedError if a process dies.
    """
    blocks = blocks_of(problem)
    if executor is None:
        for block in blocks:
            yield block, _enclosed(block, members, digits)
        return
    pending: deque[tuple[Block, Future[dict[Member, Enclosure]]]] = deque()
    try:
        while True:
            for block in islice(blocks, in_flight(workers_of(executor)) - len(pending)):
                pending.append((block, submitted(executor, _enclosed, block, members, digits)))
            if not pending:
                return
            block, future = pending.popleft()
            # a mechanism that is found nowhere comes back as a copy, which is another one
            yield block, dict(zip(members, future.result().values(), strict=True))
    except BrokenExecutor as error:
        raise WorkerDiedError(
            f"a process that worked out exact values of {problem.name} died (out of memory, or an abort inside a "
            "library); use fewer processes or a smaller problem"
        ) from error
    finally:
        for _, future in pending:
            future.cancel()


def _enclosed(block: Block, members: Sequence[Member], digits: int) -> dict[Member, Enclosure]:
    with explained(members[0].mechanism):
        return enclose(block, members, digits)


def processes_for(problem: Problem, member: Member) -> int:
    """Return how many processes are worth their start-up: up to one for each core, or none (0) for a small problem.

    A pair takes a few microseconds each time it is gone through, a process about a second to start.  Raises
    MechanismError unless the mechanism says how many times that is.
    """
    work = problem.heads * problem.queries * problem.keys * times_of(member)
    processes = min(cores(), problem.heads * -(-problem.queries // BLOCK_ROWS))
    return processes if work >= WORTH_A_POOL and processes > 1 else 0


def times_of(member: Member) -> int:
    """Return how often the balls of a pair are gone through; MechanismError unless the mechanism says so."""
    times: Any = member.mechanism.work(member)
    if type(times) is not int or times < 1:
        raise MechanismError(f"work() of {member.name} gives {times!r}", "an integer of at least 1", "mend it")
    return times


def in_flight(workers: int) -> int:
    """Return how many blocks are handed out at once: two for each worker, so that none waits for work."""
    return 2 * workers


def memory_estimate(problem: Problem, members: int, digits: int, processes: int, *, decimals: bool = True) -> int:
    """Return about how many bytes it takes to enclose so many members of a problem, in all processes together.

    Outputs: an integer of the bits kept and eight numbers, and the balls of a block in flint; with decimals, as they
    are written to files, their digits too, and copies on the way.  Each process: a tile of pairs.  In flight: the keys
    and values of each block, sent and received, and what comes back.
    """
    bits = bits_for(digits) + GUARD_BITS
    integer, number, pointer, character = 28 + bits // 7, 8, 8, 4
    elements = problem.heads * problem.queries * (problem.value_size + 1)  # and a logarithm for each row
    rows = min(BLOCK_ROWS, problem.queries) if elements else 0
    handed_out = 2 * in_flight(processes) if processes > 1 else 1
    if decimals:
        outputs = 2 * elements * (integer + pointer + 7 * number + 2 * character * digits)
    else:
        held, in_block = integer + pointer + 7 * number + 2, rows * (problem.value_size + 1)
        outputs = elements * held + in_block * (_BALLS_PER_OUTPUT * bytes_of_ball(bits) + (handed_out - 1) * held)
    keys = number * problem.keys * (problem.head_size + problem.value_size) + BLOCK_ROWS * problem.keys
    return members * outputs + processes * TILE_BYTES + handed_out * keys


def members_at_once(problem: Problem, digits: int, memory_limit: int = MEMORY_LIMIT) -> int:
    """Return of how many members the exact values, kept but not written, fit into memory; at least 1."""
    none, one = (memory_estimate(problem, members, digits, 1, decimals=False) for members in (0, 1))
    return max(1, (memory_limit - none) // max(1, one - none))


def seconds_estimate(problem: Problem, members: Sequence[Member]) -> float:
    """Return about how many seconds the exact values of some members of one mechanism take in this process.

    A pair takes a microsecond and more each time it is gone through, and longer with larger values.  The powers of
    nested polynomials are gone through once for all.
    """
    times = [times_of(member) for member in members]
    mechanism = members[0].mechanism
    shared = getattr(mechanism, "nested", False)  # by name: a change of polynomials is none of what is imported here
    pairs = problem.heads * problem.queries * problem.keys
    return pairs * (max(times) if shared else sum(times)) * (1.2 + problem.value_size / 40) * 1e-6


def check_time(problem: Problem, members: Sequence[Member], seconds: float) -> None:
    """Raise TooLargeError if exact values take more than so many seconds by estimate."""
    estimate = seconds_estimate(problem, members)
    if estimate > seconds:
        raise TooLargeError(
            f"exact values of {problem.name}, the first {how_many(len(members), 'member')} of {members[0].of}, that"
            f" would take about {estimate:.3g} seconds",
            f"at most {seconds:g}",
            "take fewer tokens or heads, or allow more seconds (seconds, --seconds)",
        )
