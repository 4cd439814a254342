"""How many rows of a problem are worked on at once: the same wherever that is, and by the problem alone."""

from __future__ import annotations

from verify.problem.problem import Problem

# Products of fewer rows than about 60 leave flint's fast algorithms; a block of more rows takes long to come back, and
# is no faster.  With more keys than these a block has FEWEST_ROWS.
BLOCK_ROWS, FEWEST_ROWS, MANY_KEYS = 256, 64, 1 << 14

# Pairs of a query and a key of which arrays are held at once: some tens of MiB.
PAIRS = 1 << 20


def block_rows(problem: Problem) -> int:
    """Return how many rows a block has, but for the last one of a head: a power of two."""
    return BLOCK_ROWS if problem.keys <= MANY_KEYS else FEWEST_ROWS


def rows_at_once(problem: Problem, pairs: int) -> int:
    """Return of how many rows, with so many pairs each, arrays over pairs are held at once: a power of two.

    No more than a block of enclosures has: blocks that are measured, of any size, consist of the same strips.
    """
    return min(block_rows(problem), 1 << max(1, PAIRS // max(1, pairs)).bit_length() - 1)
