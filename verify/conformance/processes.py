"""Whether a member reaches other processes as it is, and gives the same exact values there."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import Executor

from verify.attention.contract import Member
from verify.conformance.subject import Subject, guarded
from verify.errors import CertificationError, UndefinedWeightsError
from verify.parallel.executors import worker_pool
from verify.problem import Problem
from verify.truth import reference

DIGITS = 30

# So many cases have their exact values worked out in another process.
FEW = 3


def unpicklable(subject: Subject) -> Iterator[str]:
    """Yield members that are not the same after a round trip through pickle."""
    for member in subject.members:
        yield from guarded(member.name, _round_trip, subject, member)


def _round_trip(subject: Subject, member: Member) -> Iterator[str]:
    found = pickle.loads(pickle.dumps(member))  # noqa: S301  # what was pickled just now
    # a mechanism that was found somewhere is found there again; another one comes back as a copy
    if found.name != member.name or (found != member and member.mechanism.origin is not None):
        yield f"comes back as {found.name}"
    for case in subject.all_cases[:FEW]:
        if _exact(case.problem, member) != _exact(case.problem, found):
            yield f"comes back with another exact value on {case.name!r}"


def unlike_elsewhere(subject: Subject) -> Iterator[str]:
    """Yield members whose exact values differ in a spawned process, or do not come back from it."""
    with worker_pool(1) as pool:
        for member in subject.members:
            yield from guarded(member.name, _elsewhere, subject, pool, member)


def _elsewhere(subject: Subject, pool: Executor, member: Member) -> Iterator[str]:
    for case in subject.all_cases[:FEW]:
        if pool.submit(_exact, case.problem, member).result() != _exact(case.problem, member):
            yield f"another exact value on {case.name!r} in a spawned process"


def _exact(problem: Problem, member: Member) -> bytes:
    """Return the exact values; nothing where there are none."""
    try:
        return reference(problem, DIGITS, member).value.tobytes()
    except (CertificationError, UndefinedWeightsError):
        return b""
