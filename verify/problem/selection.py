"""Parts of a problem as problems of their own: a head, some queries, one query with the keys that it sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.integers import INTEGER, how_many
from verify.problem.head import Head
from verify.problem.problem import Problem


def chosen_rows(text: str, queries: int) -> tuple[int, ...]:
    """Return the queries that a text such as 0,17,-4: names, each once, in the order given.

    Numbers as in Python: negative ones count from the end, and first:last leaves out the last.  Raises
    InvalidRequestError for anything else, or a query that does not exist.

        chosen_rows("0,-2:", 9)     # (0, 7, 8)
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        ends = part.strip().split(":")
        if len(ends) > 2 or not all((end == "" and len(ends) == 2) or INTEGER.fullmatch(end) for end in ends):
            raise InvalidRequestError(f"rows {part.strip()!r}", "numbers and ranges, as in 0,17,-4:", "correct them")
        numbers = [None if end == "" else int(end) for end in ends]
        for number in numbers:
            if number is not None and not -queries <= number < queries + (len(ends) == 2):
                raise InvalidRequestError(
                    f"row {number} of {how_many(queries, 'query', 'queries')}", "one that exists", "correct the rows"
                )
        own = [numbers[0] % queries] if len(ends) == 1 and numbers[0] is not None else range(queries)[slice(*numbers)]
        found.update(dict.fromkeys(own))
    if not found:
        raise InvalidRequestError(f"rows {text!r}, which are none", "at least one", "correct the rows")
    return tuple(found)


def of_head(problem: Problem, head: Head, name: str) -> Problem:
    """Return the problem of one head by itself."""
    own = head.attendance
    return Problem(
        head.q,
        head.k,
        head.v,
        problem.scale,
        problem.causal,
        own.mask,
        window=problem.window,
        lengths=None if problem.lengths is None else own.existing,
        segments=own.segments,
        positions=own.positions,
        softcap=problem.softcap,
        bias=head.bias,
        alibi_slopes=head.slope,
        sinks=head.sink,
        dropout_mask=head.kept,
        dropout=problem.dropout,
        name=name,
    )


def of_query(problem: Problem, head: Head, row: int, name: str, key: int | None = None) -> Problem:
    """Return the problem of one query of a head, with the keys that it sees alone, or with one of them.

    With slopes all keys stay, and a mask hides those that it does not see: distances count.
    """
    alone = of_rows(of_head(problem, head, name), [row])
    own = next(alone.each_head())
    seen = own.attendance.rows()[0]
    seen = seen if key is None else seen & (np.arange(len(seen)) == key)
    if head.slope is not None:
        return alone.but(mask=seen)
    return Problem(
        own.q,
        own.k[seen],
        own.v[seen],
        problem.scale,
        softcap=problem.softcap,
        bias=None if own.bias is None else own.bias[:, seen],
        sinks=own.sink,
        dropout_mask=None if own.kept is None else own.kept[:, seen],
        dropout=problem.dropout,
        name=name,
    )


def of_rows(problem: Problem, rows: Sequence[int]) -> Problem:
    """Return the problem of some queries, over the same keys: what they see is what it was.

    Negative numbers count from the end.  Raises InvalidRequestError for a query that does not exist.

        of_rows(problem, [0, 17, -1])
    """
    for row in rows:
        if not -problem.queries <= row < problem.queries:
            raise InvalidRequestError(f"query {row} of {problem.queries}", "one that exists", "correct the rows")
    chosen = np.array([row % problem.queries for row in rows], dtype=np.int64)

    def some(array: NDArray[Any] | None) -> NDArray[Any] | None:
        return array if array is None or array.ndim < 2 or array.shape[-2] == 1 else array[..., chosen, :]

    batch = problem.q.shape[:-3]
    positions = np.array([problem.standing[index][0][chosen] for index in np.ndindex(*batch)], dtype=np.int64)
    segments = problem.segments
    found = problem.but(
        q=problem.q[..., chosen, :],
        mask=some(problem.mask),
        bias=some(problem.bias),
        dropout_mask=some(problem.dropout_mask),
        segments=None if segments is None else (segments[0][..., chosen], segments[1]),
        positions=positions.reshape((*batch, len(chosen))),
        alignment=None,
    )
    object.__setattr__(found, "formats", problem.formats)  # of the same arrays
    return found
